"""Blocks that several boxes of the network share.

ChannelGate      x -> x * sigmoid(layers(mean of x over space))    squeeze and excitation
AlignedUpsample  (B, C, h, w) -> (B, C, k h, k w)                  bilinear, corners aligned
PReLU            x -> x, or a learnt slope times x below zero      one slope, or one per channel
Tile             where a tile lies in its frame, for layers that depend on the whole: the first two
PerSliceConv3d   (B, C, T, H, W) -> (B, C', T, H', W')             3-D convolution; of one sample as a 2-D one
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tweenlet.ops.prelu import prelu
from tweenlet.ops.reduce import channel_mean

Extent = tuple[int, int, int]
"""Along one side of a frame, in pixels: start of a tile, its end, and length of the side."""


@dataclass(frozen=True)
class Tile:
    """A tile of a frame, for layers whose output depends on the whole frame."""

    rows: Extent
    columns: Extent
    mean: Callable[[ChannelGate, Tensor], Tensor]
    """From a gate and its input (B, C, ...), the channel means (B, C, 1, ...) of the whole frame."""


class WholeFrameLayer(nn.Module):
    """A layer whose output depends on the whole frame, so that it must know the tile it runs on."""

    def forward(self, x: Tensor, tile: Tile | None = None) -> Tensor:
        """(B, C, ...) -> the layer's output; ``tile`` is the part of the frame that ``x`` covers."""
        raise NotImplementedError


def run(layers: nn.Module, x: Tensor, tile: Tile | None = None) -> Tensor:
    """Run a layer or a sequence of layers, passing the tile to those that depend on the whole frame."""
    if tile is None:
        return layers(x)  # type: ignore[no-any-return]
    for layer in layers if isinstance(layers, nn.Sequential) else (layers,):
        x = layer(x, tile) if isinstance(layer, WholeFrameLayer) else layer(x)
    return x


class ChannelGate(WholeFrameLayer):
    """Squeeze and excitation: scale each channel by a factor in (0, 1) from the means of all channels."""

    def __init__(self, *layers: nn.Module):
        super().__init__()
        self.layers = nn.Sequential(*layers, nn.Sigmoid())

    def factors(self, x: Tensor, tile: Tile | None = None) -> Tensor:
        """(B, C, ...) -> scale factors (B, C, 1, ...)."""
        return self.factors_of(channel_mean(x) if tile is None else tile.mean(self, x))

    def factors_of(self, means: Tensor) -> Tensor:
        """Channel means (B, C, 1, ...) -> scale factors of the same shape."""
        factors: Tensor = self.layers(means)
        return factors.reshape(means.shape)

    def forward(self, x: Tensor, tile: Tile | None = None) -> Tensor:
        """(B, C, ...) -> the same shape."""
        return x * self.factors(x, tile)


def aligned_positions(axis: int, size: int, longer: int, tile: Tile | None = None) -> Tensor:
    """Positions (longer,) of ``longer`` rows (axis 0) or columns (1) among ``size``, corners aligned.

    Float64. Within a ``tile`` they depend on the size of the whole frame.
    """
    start, stop, whole = (0, size, size) if tile is None else (tile.rows, tile.columns)[axis]
    first, full = (round(n * size / (stop - start)) for n in (start, whole))
    factor = longer // size
    rows = torch.arange(longer, dtype=torch.float64) + first * factor
    return (rows * ((full - 1) / (full * factor - 1)) - first).clamp(0, size - 1)


def resample_linear(x: Tensor, places: Tensor, dim: int) -> Tensor:
    """Interpolate linearly between the entries along ``dim`` (-2 or -1)."""
    if x.shape[dim] == 1:
        return x.expand(*x.shape[:dim], len(places), *x.shape[dim:][1:])
    left = places.long().clamp(max=x.shape[dim] - 2)
    share = (places - left).to(x).view(-1, *[1] * (-1 - dim))
    left = left.to(x.device)
    return x.index_select(dim, left).lerp(x.index_select(dim, left + 1), share)


class AlignedUpsample(WholeFrameLayer):
    """Bilinear upsampling by a whole factor, corners aligned."""

    def __init__(self, factor: int):
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor, tile: Tile | None = None) -> Tensor:
        """(B, C, h, w) -> (B, C, k h, k w)."""
        if tile is None:
            return F.interpolate(x, scale_factor=self.factor, mode="bilinear", align_corners=True)
        for axis, dim in enumerate((-2, -1)):
            x = resample_linear(
                x, aligned_positions(axis, x.shape[dim], self.factor * x.shape[dim], tile), dim
            )
        return x


class PReLU(nn.PReLU):
    """``nn.PReLU`` with a vectorised CPU gradient, many times as fast as PyTorch's scalar one."""

    def forward(self, input: Tensor) -> Tensor:
        """(B, C, ...) -> the same shape."""
        learns = torch.is_grad_enabled() and self.weight.requires_grad
        if not learns or input.device.type != "cpu" or torch.compiler.is_compiling():
            return super().forward(input)
        return prelu(input, self.weight)


class PerSliceConv3d(nn.Conv3d):
    """A 3-D convolution that keeps the number of slices; for one sample it runs as a 2-D one over neighbours.

    It computes the same as ``nn.Conv3d``, whose float32 path on a CPU is up to 25 times slower for a single
    sample.
    """

    def forward(self, input: Tensor) -> Tensor:
        """(B, C, T, H, W) -> (B, C', T, H', W')."""
        batch, _, time = input.shape[:3]
        if batch > 1:
            around = tuple(size // 2 for size in self.kernel_size)
            return F.conv3d(input, self.weight, self.bias, self.stride, around)
        slices = F.pad(input, (0, 0, 0, 0, *[self.kernel_size[0] // 2] * 2)).transpose(1, 2)
        stacked = torch.cat([slices[:, k : k + time] for k in range(self.kernel_size[0])], 2).flatten(0, 1)
        weight = self.weight.transpose(1, 2).flatten(1, 2)
        out = F.conv2d(stacked, weight, self.bias, self.stride[1:], self.kernel_size[1] // 2)
        return out.view(batch, time, *out.shape[1:]).transpose(1, 2)
