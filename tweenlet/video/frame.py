"""Frame: one picture of a stream, and when it is shown."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from tweenlet.video.conversion import to_rgb
from tweenlet.video.opacity import read_alpha


@dataclass(frozen=True)
class Frame:
    """One picture of a stream and when it is shown.

    ``time`` and ``duration`` are exact seconds, counted from the earliest packet of the file. ``picture`` is
    the decoder's own frame, and ``path`` the image file that it came from, if it did.
    """

    time: Fraction
    duration: Fraction
    picture: av.VideoFrame
    path: Path | None = None

    def rgb(self, clip: bool = True) -> NDArray[np.float32]:
        """The picture as float32 (3, H, W), RGB in [0, 1]; converted anew by each call. Alpha is left out.

        Without ``clip`` colours outside RGB are left there, as :func:`to_rgb` says.
        """
        return to_rgb(self.picture, clip)

    def rgba(self, clip: bool = True) -> NDArray[np.float32]:
        """As :meth:`rgb`, with the opacity as a fourth channel (4, H, W)."""
        return np.concatenate([self.rgb(clip), read_alpha(self.picture)[None]])
