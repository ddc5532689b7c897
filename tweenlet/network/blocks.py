"""Small parts that several boxes of the network are made of.

Gate        x -> x * sigmoid(layers(mean of x over space))    which channels matter in this picture
SliceConv   (B, C, T, H, W) -> (B, C', T, H', W')             3-D convolution, computed as a 2-D one
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Gate(nn.Module):
    """Scale each channel by a number in (0, 1) that ``layers`` make of the means of all channels."""

    def __init__(self, *layers: nn.Module):
        super().__init__()
        self.layers = nn.Sequential(*layers, nn.Sigmoid())

    def factors(self, x: Tensor) -> Tensor:
        """(B, C, ...) -> what each channel is scaled by, (B, C, 1, ...)."""
        means = x.mean(tuple(range(2, x.dim())), keepdim=True)
        factors: Tensor = self.layers(means)
        return factors.reshape(means.shape)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, ...) -> the same shape."""
        return x * self.factors(x)


class SliceConv(nn.Conv3d):
    """A 3-D convolution that keeps the number of time slices, as a 2-D one over neighbouring slices.

    The same numbers as ``nn.Conv3d``, whose float32 path on a CPU is up to 25 times slower on small inputs.
    """

    def forward(self, input: Tensor) -> Tensor:
        """(B, C, T, H, W) -> (B, C', T, H', W')."""
        batch, _, time = input.shape[:3]
        slices = F.pad(input, (0, 0, 0, 0, *[self.kernel_size[0] // 2] * 2)).transpose(1, 2)
        stacked = torch.cat([slices[:, k : k + time] for k in range(self.kernel_size[0])], 2).flatten(0, 1)
        weight = self.weight.transpose(1, 2).flatten(1, 2)
        out = F.conv2d(stacked, weight, self.bias, self.stride[1:], self.kernel_size[1] // 2)
        return out.view(batch, time, *out.shape[1:]).transpose(1, 2)
