"""Orientation: mirroring and rotation of a stored picture for display.

::

    EXIF      1        2        3        4        5        6        7        8
    stored   F F     mirrored  upside   both    along the  on its    across   on its
                               down             diagonal   left side          right side
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import av
import numpy as np
from numpy.typing import NDArray

from tweenlet.video.colour import side_data_of


@dataclass(frozen=True)
class Orientation:
    """Display transform: mirror left to right if ``mirrored``, then rotate by ``turns`` quarter turns
    counter-clockwise, 0 to 3.
    """

    mirrored: bool = False
    quarter_turns: int = 0

    @classmethod
    def of(cls, picture: av.VideoFrame) -> Orientation:
        """The orientation of a decoded picture, from its display matrix."""
        data = side_data_of(picture, "DISPLAYMATRIX")
        if data is None:
            return cls(quarter_turns=round(picture.rotation / 90) % 4)
        a, b, _, c, d, *_ = struct.unpack("9i", data)
        mirrored = a * d < b * c
        if mirrored:
            a, b = -a, -b
        return cls(mirrored, round(np.degrees(np.arctan2(-b, a)) / 90) % 4)

    @classmethod
    def of_exif(cls, number: int) -> Orientation:
        """The orientation of an EXIF number, 1 to 8; any other number counts as 1."""
        mirrored = number in (2, 4, 5, 7)
        return cls(mirrored, {3: 2, 4: 2, 5: 1, 8: 1, 6: 3, 7: 3}.get(number, 0))

    @property
    def sideways(self) -> bool:
        """Whether width and height are swapped."""
        return self.quarter_turns % 2 == 1

    def upright(self, rgb: NDArray[np.floating]) -> NDArray[np.floating]:
        """Transform RGB (3, H, W) for display."""
        return np.rot90(rgb[:, :, ::-1] if self.mirrored else rgb, self.quarter_turns, axes=(1, 2))


UPRIGHT = Orientation()
