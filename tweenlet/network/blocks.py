"""Small parts that several boxes of the network are made of.

Gate        x -> x * sigmoid(layers(mean of x over space))    which channels matter in this picture
Enlarge     (B, C, h, w) -> (B, C, k h, k w)                  bilinear, corners on corners
PReLU       x -> x, or a learnt slope times x below zero      one slope, or one for each channel
SliceConv   (B, C, T, H, W) -> (B, C', T, H', W')             3-D convolution, of one sample as a 2-D one
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tweenlet.ops.prelu import prelu
from tweenlet.ops.reduce import means


class Gate(nn.Module):
    """Scale each channel by a number in (0, 1) that ``layers`` make of the means of all channels."""

    def __init__(self, *layers: nn.Module):
        super().__init__()
        self.layers = nn.Sequential(*layers, nn.Sigmoid())
        self.mean: Callable[[Tensor], Tensor] = means
        """May be another's than the input's own: for a piece of a frame, the mean of the whole."""

    def factors(self, x: Tensor) -> Tensor:
        """(B, C, ...) -> what each channel is scaled by, (B, C, 1, ...)."""
        return self.factors_of(self.mean(x))

    def factors_of(self, means: Tensor) -> Tensor:
        """The same, of the means (B, C, 1, ...)."""
        factors: Tensor = self.layers(means)
        return factors.reshape(means.shape)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, ...) -> the same shape."""
        return x * self.factors(x)


def joined(*parts: Tensor) -> Tensor:
    """(B, C, H, W) of one size side by side, (B, C + C' + ..., H, W), channels last.

    Laid out one by one: turning what is joined takes twice as long, once more for the gradient.
    """
    return torch.cat([part.contiguous(memory_format=torch.channels_last) for part in parts], 1)


class Enlargement(nn.Module):
    """What puts corners on corners: where a pixel lands depends on how large the whole is."""

    def __init__(self) -> None:
        super().__init__()
        self.piece: tuple[tuple[int, int, int], tuple[int, int, int]] | None = None
        """Where the input lies in the whole that it is a piece of, if it is: for rows and for columns the
        first, the one after the last, and how many there are, in any unit."""

    def places(self, axis: int, size: int, longer: int) -> Tensor:
        """Where ``longer`` rows (axis 0) or columns (1) lie among ``size``: (longer,) float64."""
        start, stop, whole = (0, size, size) if self.piece is None else self.piece[axis]
        first, full = (round(n * size / (stop - start)) for n in (start, whole))
        factor = longer // size
        rows = torch.arange(longer, dtype=torch.float64) + first * factor
        return (rows * ((full - 1) / (full * factor - 1)) - first).clamp(0, size - 1)


def spread(x: Tensor, places: Tensor, dim: int) -> Tensor:
    """Fetch from between the entries along ``dim`` (-2 or -1), linearly."""
    if x.shape[dim] == 1:
        return x.expand(*x.shape[:dim], len(places), *x.shape[dim:][1:])
    left = places.long().clamp(max=x.shape[dim] - 2)
    share = (places - left).to(x).view(-1, *[1] * (-1 - dim))
    left = left.to(x.device)
    return x.index_select(dim, left).lerp(x.index_select(dim, left + 1), share)


class Enlarge(Enlargement):
    """Bilinear, by a whole number."""

    def __init__(self, factor: int):
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C, k h, k w)."""
        if self.piece is None:
            return F.interpolate(x, scale_factor=self.factor, mode="bilinear", align_corners=True)
        for axis, dim in enumerate((-2, -1)):
            x = spread(x, self.places(axis, x.shape[dim], self.factor * x.shape[dim]), dim)
        return x


class PReLU(nn.PReLU):
    """``nn.PReLU``, whose gradient on a CPU takes one number at a time: this one's is many times as fast."""

    def forward(self, input: Tensor) -> Tensor:
        """(B, C, ...) -> the same shape."""
        learns = torch.is_grad_enabled() and self.weight.requires_grad
        if not learns or input.device.type != "cpu" or torch.compiler.is_compiling():
            return super().forward(input)
        return prelu(input, self.weight)


class SliceConv(nn.Conv3d):
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
