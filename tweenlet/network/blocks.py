"""Small parts that several boxes of the network are made of.

Gate        x -> x * sigmoid(layers(mean of x over space))          which channels matter in this picture
SliceConv   (B, C, T, H, W) -> 3-D convolution, computed as a 2-D one over neighbouring time slices
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Gate(nn.Module):
    """Scale each channel by a number in (0, 1) that ``layers`` computes from the means of all channels."""

    def __init__(self, *layers: nn.Module):
        super().__init__()
        self.layers = nn.Sequential(*layers, nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, ...) -> the same shape."""
        means = x.mean(tuple(range(2, x.dim())), keepdim=True)
        scaled: Tensor = x * self.layers(means).reshape(means.shape)
        return scaled
