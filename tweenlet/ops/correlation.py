"""Cost volume: how well each pixel of one feature map matches its neighbours in another.

first, second (B, C, H, W)  ->  (B, 81, H, W), channel t = displacement (t % 9 - 4, t // 9 - 4) = (dx, dy)
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

REACH = 4
"""Furthest displacement in pixels, each way."""
MATCHES = (2 * REACH + 1) ** 2
"""Displacements looked at, and so channels of the result."""


def correlation(first: Tensor, second: Tensor) -> Tensor:
    """Mean over channels of first(p) * second(p + d) for the 81 displacements d; zero outside the frame.

    Shapes (B, C, H, W) twice -> (B, 81, H, W). ValueError when the two shapes differ.
    """
    if first.shape != second.shape:
        raise ValueError(
            f"expected two feature maps of one shape, got {tuple(first.shape)} and {tuple(second.shape)}"
        )
    height, width = first.shape[-2:]
    around = F.pad(second, (REACH,) * 4)
    return torch.stack(
        [
            (first * around[..., y : y + height, x : x + width]).mean(1)
            for y in range(2 * REACH + 1)
            for x in range(2 * REACH + 1)
        ],
        1,
    )
