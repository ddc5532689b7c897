"""Motion: what a network of four frames knows before it touches anything of the frame's own size.

Tensors of PyTorch, or arrays of numpy where the lite engine runs the network.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor

PAIR_TIME = 0.5
"""When between its two frames the velocity of a pair is measured."""


class Motion(NamedTuple):
    """What is known of a window of four frames before anything of the frame's own size is touched.

    The coarse levels see a whole frame; what follows sees its surroundings, and a tile of this will do.
    """

    before: Tensor
    """The features of the frame before, (B, 3 + F, H/2, W/2), the frame itself first."""
    after: Tensor
    """Those of the frame after."""
    estimate: Tensor
    """What the coarse levels found of both, timed by four frames: (B, 5 + context, h, w), flows in pixels of
    the frame, mask, context."""
    acceleration: Tensor
    """(B, 2, h, w), pixels of the frame."""
    repeats: Tensor
    """Whether the first frame and the last are equal to their neighbours: (B, 2), bool."""
