"""Small parts that several boxes of the network are made of.

Gate        x -> x * sigmoid(layers(mean of x over space))    which channels matter in this picture
Enlarge     (B, C, h, w) -> (B, C, k h, k w)                  bilinear, corners on corners
PReLU       x -> x, or a learnt slope times x below zero      one slope, or one for each channel
Tile        where a piece lies in its frame, for layers that depend on the whole: Gate and Enlarge
SliceConv   (B, C, T, H, W) -> (B, C', T, H', W')             3-D convolution, of one sample as a 2-D one
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
"""Along one side of a frame, in pixels: where a tile starts, where it stops, and how long the side is."""


@dataclass(frozen=True)
class Tile:
    """A piece of a frame, for the layers whose output depends on the whole frame."""

    rows: Extent
    columns: Extent
    mean: Callable[[ChannelGate, Tensor], Tensor]
    """The channel means (B, C, 1, ...) that a gate goes by, from the gate and its input (B, C, ...)."""


class WholeFrameLayer(nn.Module):
    """A layer whose output depends on the whole frame: given a piece of one, it needs to know the tile."""

    def forward(self, x: Tensor, tile: Tile | None = None) -> Tensor:
        """(B, C, ...) -> what the layer makes of it; ``tile`` says which piece of the frame ``x`` is."""
        raise NotImplementedError


def run(layers: nn.Module, x: Tensor, tile: Tile | None = None) -> Tensor:
    """Run a layer or a sequence of them, and tell those that depend on the whole frame the tile."""
    if tile is None:
        return layers(x)  # type: ignore[no-any-return]
    for layer in layers if isinstance(layers, nn.Sequential) else (layers,):
        x = layer(x, tile) if isinstance(layer, WholeFrameLayer) else layer(x)
    return x


class ChannelGate(WholeFrameLayer):
    """Scale each channel by a number in (0, 1) that ``layers`` make of the means of all channels."""

    def __init__(self, *layers: nn.Module):
        super().__init__()
        self.layers = nn.Sequential(*layers, nn.Sigmoid())

    def factors(self, x: Tensor, tile: Tile | None = None) -> Tensor:
        """(B, C, ...) -> what each channel is scaled by, (B, C, 1, ...)."""
        return self.factors_of(channel_mean(x) if tile is None else tile.mean(self, x))

    def factors_of(self, means: Tensor) -> Tensor:
        """The same, of the means (B, C, 1, ...)."""
        factors: Tensor = self.layers(means)
        return factors.reshape(means.shape)

    def forward(self, x: Tensor, tile: Tile | None = None) -> Tensor:
        """(B, C, ...) -> the same shape."""
        return x * self.factors(x, tile)


def aligned_positions(axis: int, size: int, longer: int, tile: Tile | None = None) -> Tensor:
    """Where ``longer`` rows (axis 0) or columns (1) lie among ``size``, corners on corners.

    (longer,) float64. It depends on how large the frame is of which they are a ``tile``.
    """
    start, stop, whole = (0, size, size) if tile is None else (tile.rows, tile.columns)[axis]
    first, full = (round(n * size / (stop - start)) for n in (start, whole))
    factor = longer // size
    rows = torch.arange(longer, dtype=torch.float64) + first * factor
    return (rows * ((full - 1) / (full * factor - 1)) - first).clamp(0, size - 1)


def resample_linear(x: Tensor, places: Tensor, dim: int) -> Tensor:
    """Fetch from between the entries along ``dim`` (-2 or -1), linearly."""
    if x.shape[dim] == 1:
        return x.expand(*x.shape[:dim], len(places), *x.shape[dim:][1:])
    left = places.long().clamp(max=x.shape[dim] - 2)
    share = (places - left).to(x).view(-1, *[1] * (-1 - dim))
    left = left.to(x.device)
    return x.index_select(dim, left).lerp(x.index_select(dim, left + 1), share)


class AlignedUpsample(WholeFrameLayer):
    """Bilinear, by a whole number."""

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
    """``nn.PReLU``, whose gradient on a CPU takes one number at a time: this one's is many times as fast."""

    def forward(self, input: Tensor) -> Tensor:
        """(B, C, ...) -> the same shape."""
        learns = torch.is_grad_enabled() and self.weight.requires_grad
        if not learns or input.device.type != "cpu" or torch.compiler.is_compiling():
            return super().forward(input)
        return prelu(input, self.weight)


class PerSliceConv3d(nn.Conv3d):
    """A 3-D convolution that keeps the number of time slices, of one sample as a 2-D one over its neighbours.

    The same numbers as ``nn.Conv3d``, whose float32 path on a CPU is up to 25 times slower for one sample,
    but not for several.
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
