"""Motion: the result of the coarse levels of a network of four frames, before any full-size work.

PyTorch tensors, or numpy arrays with the lite engine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor

PAIR_TIME = 0.5
"""Time between the frames of a pair at which its velocity is measured."""


class Motion(NamedTuple):
    """Motion in a window of four frames.

    The coarse levels see whole frames; everything after them sees a neighbourhood, so it can run on tiles.
    """

    before: Tensor
    """Features of the frame before, (B, 3 + F, H/2, W/2), the downsampled frame first."""
    after: Tensor
    """Features of the frame after, of the same shape."""
    estimate: Tensor
    """Estimate of the coarse levels, timed by four frames: (B, 5 + context, h, w), flows in frame pixels,
    mask, context."""
    acceleration: Tensor
    """(B, 2, h, w), in pixels of the frame."""
    repeats: Tensor
    """Whether the first and the last frame equal their neighbours: (B, 2), bool."""
