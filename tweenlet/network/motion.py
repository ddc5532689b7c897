"""What a stream computes once and passes to a network: motion, or the features of two frames.

PyTorch tensors, or numpy arrays with the lite engine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from torch import Tensor

PAIR_TIME = 0.5
"""Time between the frames of a pair at which its velocity is measured."""


class Motion(NamedTuple):
    """Motion in a window of four frames: the result of the coarse levels.

    Of large frames it is estimated on downsampled ones, whose size is (H, W) here.
    """

    before: Tensor
    """Features of the frame before, (B, 3 + F, H/2, W/2), the downsampled frame first."""
    after: Tensor
    """Features of the frame after, of the same shape."""
    estimate: Tensor
    """Estimate of the coarse levels, timed by four frames: (B, 5 + context, h, w), flows in pixels of (H, W),
    mask, context."""
    acceleration: Tensor
    """(B, 2, h, w), in pixels of (H, W)."""
    repeats: Tensor
    """Whether the first and the last frame equal their neighbours: (B, 2), bool."""


class Estimate(NamedTuple):
    """Motion after all levels. All that follows sees a neighbourhood, so it can run on tiles."""

    finest: Tensor
    """(B, 5 + context, H/2, W/2): flows in pixels of the frames (H, W), mask, context."""
    repeats: Tensor
    """As in :class:`Motion`."""


class EncodedPair(NamedTuple):
    """Features of the frames before and after a new one, for a network of two frames.

    They are (B, 3 + F, H', W') each, the padded frame first.
    """

    before: Tensor
    after: Tensor


Precomputed: TypeAlias = Motion | Estimate | EncodedPair
"""What networks of four frames, and of two (the last), take beside the frames."""
