"""Frame: one picture of a stream, with its time."""

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
    """One picture of a stream, with its time.

    ``time`` and ``duration`` are exact seconds from the earliest packet of the file. ``picture`` is the
    decoder's own frame; ``path`` is its image file, if any.
    """

    time: Fraction
    duration: Fraction
    picture: av.VideoFrame
    path: Path | None = None

    def rgb(self, clip: bool = True) -> NDArray[np.float32]:
        """Convert the picture to float32 (3, H, W), RGB in [0, 1], without alpha.

        Without ``clip``, out-of-gamut colours keep values outside [0, 1], as in :func:`to_rgb`.
        """
        return to_rgb(self.picture, clip)

    def rgba(self, clip: bool = True) -> NDArray[np.float32]:
        """As :meth:`rgb`, with opacity as a fourth channel (4, H, W)."""
        return np.concatenate([self.rgb(clip), read_alpha(self.picture)[None]])
