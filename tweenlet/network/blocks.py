"""Small parts that several boxes of the network are made of.

Gate        x -> x * sigmoid(layers(mean of x over space))    which channels matter in this picture
Enlarge     (B, C, h, w) -> (B, C, k h, k w)                  bilinear, corners on corners
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
        self.means: Tensor | None = None
        """Taken instead of the input's own (B, C, 1, ...): a whole frame's, for a piece of it."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, ...) -> the same shape."""
        means = x.mean(tuple(range(2, x.dim())), keepdim=True) if self.means is None else self.means
        scaled: Tensor = x * self.layers(means).reshape(means.shape)
        return scaled


class Enlarge(nn.Upsample):
    """Bilinear enlargement that puts corners on corners, so that where a pixel lands depends on the whole."""

    def __init__(self, factor: int):
        super().__init__(scale_factor=factor, mode="bilinear", align_corners=True)
        self.factor = factor
        self.piece: tuple[tuple[int, int, int], tuple[int, int, int]] | None = None
        """What the input is a piece of, if of anything: for rows and for columns where it begins and ends,
        and how much there is, in any unit."""

    def forward(self, input: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C, k h, k w)."""
        if self.piece is None:
            return super().forward(input)
        for dim, (start, stop, whole) in zip((-2, -1), self.piece, strict=True):
            size = input.shape[dim]
            first, full = (round(n * size / (stop - start)) for n in (start, whole))
            place = torch.arange(size * self.factor, dtype=torch.float64) + first * self.factor
            place = (place * ((full - 1) / (full * self.factor - 1)) - first).clamp(0, size - 1)
            left = place.long().clamp(max=size - 2)
            share = (place - left).to(input).view(-1, *[1] * (-1 - dim))
            left = left.to(input.device)
            input = input.index_select(dim, left).lerp(input.index_select(dim, left + 1), share)
        return input


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
