"""Layers for inference: convolutions by oneDNN and by Winograd's method, with what stands around them."""

from __future__ import annotations

from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tweenlet.network.blocks import Gate, Tile, WholeFrameLayer
from tweenlet.ops.cpu import winograd
from tweenlet.ops.cpu.arena import empty_channels_last

TRANSPOSED = (nn.ConvTranspose2d, nn.ConvTranspose3d)
Cut: TypeAlias = tuple[bool, bool]
"""Whether there is more of a picture above and below, so that layers only look at the rows next to that."""
WHOLE = (False, False)


class Conv3d(nn.Module):
    """A 3-D convolution by oneDNN, which PyTorch does not ask for one float32 sample: ten times as fast."""

    def __init__(
        self, weight: Tensor, bias: Tensor | None, stride: tuple[int, ...], padding: tuple[int, ...]
    ):
        super().__init__()
        self.weight = nn.Parameter(weight.contiguous(memory_format=torch.channels_last_3d), False)
        self.bias = None if bias is None else nn.Parameter(bias, False)
        self.stride, self.padding = stride, padding

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T, H, W) -> (B, C', T', H', W')."""
        if x.device.type == "cpu" and x.dtype == torch.float32 and torch._C._has_mkldnn:
            made: Tensor = torch.ops.aten.mkldnn_convolution(
                x, self.weight, self.bias, self.padding, self.stride, (1, 1, 1), 1
            )
            return made
        return F.conv3d(x, self.weight, self.bias, self.stride, self.padding)


class Pointwise(nn.Module):
    """A 3-D convolution of 1x1x1, strided in space or not, as one matrix product."""

    def __init__(self, layer: nn.Conv3d):
        super().__init__()
        self.weight = nn.Parameter(layer.weight.detach().flatten(1).T.contiguous(), False)
        bias = torch.zeros(layer.out_channels).to(self.weight) if layer.bias is None else layer.bias.detach()
        self.bias, self.every = nn.Parameter(bias, False), layer.stride[-1]

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T, H, W) -> (B, K, T, H', W'), channels_last."""
        x = channels_last(x[..., :: self.every, :: self.every])
        made = empty_channels_last((len(x), len(self.bias), *x.shape[2:]), x.dtype, x.device)
        rows, into = (t.movedim(1, -1).flatten(0, -2) for t in (x, made))
        torch.addmm(self.bias, rows, self.weight, out=into)
        return made


Layer: TypeAlias = "nn.Conv2d | Conv3d | nn.ConvTranspose2d | nn.ConvTranspose3d"


class Abreast(nn.Module):
    """A convolution of few outputs, for several pixels side by side at once: fuller vectors, fewer reads."""

    PIXELS = 4

    def __init__(self, layer: nn.Conv2d):
        super().__init__()
        self.outputs, self.width = layer.out_channels, layer.kernel_size[1]
        moved = [F.pad(layer.weight, (pixel, self.PIXELS - 1 - pixel)) for pixel in range(self.PIXELS)]
        self.weight = nn.Parameter(channels_last(torch.cat(moved)), False)
        self.bias = None if layer.bias is None else nn.Parameter(layer.bias.repeat(self.PIXELS), False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H + h - 1, W + w - 1) -> (B, K, H, W) for a kernel of h x w."""
        width = x.shape[-1] - self.width + 1
        if width % self.PIXELS:
            x = F.pad(x, (0, -width % self.PIXELS))
        made = F.conv2d(x, self.weight, self.bias, (1, self.PIXELS))
        made = made.permute(0, 2, 3, 1).reshape(len(x), made.shape[2], -1, self.outputs)
        return made[:, :, :width].permute(0, 3, 1, 2)


class Winograd(nn.Module):
    """A convolution of 3x3 or 3x3x3, the leaky activations before and after it, and a sum after that.

    Of stride 1 or 2, or a transposed one of 4x4 or 3x4x4 that enlarges by 2. On a CPU by Winograd's method,
    where there is a compiler for it, with its products in the type ``products``.
    """

    def __init__(self, layer: Layer, products: torch.dtype):
        super().__init__()
        self.layer, self.products = layer, products
        self.makes: torch.dtype | None = None  # what it takes, if not told
        self.before: Tensor | None = None
        self.after: Tensor | None = None
        self.of_sum: Tensor | None = None
        self.form = torch.channels_last if layer.weight.dim() == 4 else torch.channels_last_3d
        self.transposed = isinstance(layer, TRANSPOSED)
        self.out_channels = layer.weight.shape[1 if self.transposed else 0]
        self.apart = layer.dilation[0] if isinstance(layer, nn.Conv2d) else 1
        self._kernels: winograd.PackedConvolution | None = None

    def forward(
        self,
        x: Tensor,
        added: Tensor | None = None,
        into: Tensor | None = None,
        cut: Cut = WHOLE,
        beside: Tensor | None = None,
    ) -> Tensor:
        """(B, C, H, W) or (B, C, T, H, W) -> (B, K, ...), plus ``added``; written ``into`` that if given.

        Where ``x`` is ``cut`` out, nothing is made of its outermost row (of stride 2: of two above). The
        channels of ``beside`` follow those of ``x``.
        """
        made = self._convolved(x, self.kernels(), added, into, cut, beside) if self._at_home(x) else None
        if made is not None:
            return made if into is None or made is into else into.copy_(made)
        x = x if beside is None else torch.cat((x, beside), 1)
        made = self.layer(x if self.before is None else _activated(x, self.before))
        made = _activated_(inside(made, self.layer, cut), self.after)
        made = _activated_(made if added is None else made.add_(added), self.of_sum)
        return made if into is None else into.copy_(made)

    def kernels(self) -> winograd.PackedConvolution:
        """The layer as native code reads it, prepared once."""
        if self._kernels is None:
            told = (self.layer.weight, self.layer.bias, self.before, self.after, self.of_sum, self.products)
            if self.transposed:
                self._kernels = winograd.pack_transposed(*told)
            else:
                self._kernels = winograd.pack_convolution(*told, self.layer.stride[-1])
        return self._kernels

    def _convolved(
        self,
        x: Tensor,
        kernels: winograd.PackedConvolution,
        added: Tensor | None,
        into: Tensor | None,
        cut: Cut,
        beside: Tensor | None,
    ) -> Tensor | None:
        """In native code; ``into`` that if it can be."""
        x = self._side_by_side(x)
        beside = None if beside is None else self._side_by_side(beside)
        if self.apart == 1:
            into = into if into is not None and self._side_by_side(into) is into else None
            if added is not None and into is None:
                added = added.contiguous(memory_format=self.form)
            elif added is not None and into is not None and added.stride() != into.stride():
                added = into.copy_(added)
            return winograd.convolve(x, kernels, added, into, self.makes, cut, beside)
        assert cut == WHOLE
        assert beside is None
        # a kernel spread over the picture sees pixels that lie as far apart, and each set of them by itself
        made = empty_channels_last((len(x), kernels.outputs, *x.shape[2:]), x.dtype, x.device)
        for top in range(min(self.apart, x.shape[2])):
            for left in range(min(self.apart, x.shape[3])):
                grid = (..., slice(top, None, self.apart), slice(left, None, self.apart))
                if winograd.convolve(x[grid], kernels, out=made[grid]) is None:
                    return None
        return made if added is None else made.add_(added)

    def _side_by_side(self, x: Tensor) -> Tensor:
        """The same, channels_last."""
        return x if x.stride(1) == 1 or x.shape[1] == 1 else x.contiguous(memory_format=self.form)

    def _at_home(self, x: Tensor) -> bool:
        """Whether the native code takes this."""
        return (
            x.device.type == "cpu"
            and x.dtype == self.layer.weight.dtype
            and x.dtype in (torch.float32, self.products)
            and not torch.is_autocast_enabled("cpu")
            and (x.dim() == 4 or x.shape[0] == 1)
        )


class GateInPlace(WholeFrameLayer):
    """A gate that overwrites what it scales."""

    def __init__(self, gate: Gate):
        super().__init__()
        self.gate = gate

    def forward(self, x: Tensor, tile: Tile | None = None) -> Tensor:
        """(B, C, ...) -> the same tensor."""
        return x.mul_(self.gate.factors(x, tile))


def _activated(x: Tensor, slope: Tensor) -> Tensor:
    if slope.numel() > 1:
        return F.prelu(x, slope.to(x))
    return F.leaky_relu(x, slope.item())


def _activated_(x: Tensor, slope: Tensor | None) -> Tensor:
    """In place, where that can be."""
    if slope is None:
        return x
    return F.leaky_relu_(x, slope.item()) if slope.numel() == 1 else F.prelu(x, slope.to(x))


def summed(
    layers: nn.Module,
    x: Tensor,
    added: Tensor | None = None,
    into: Tensor | None = None,
    cut: Cut = WHOLE,
) -> Tensor:
    """What ``layers`` make of ``x``, plus ``added``; written ``into`` that, or over what is added.

    Where ``x`` is ``cut`` out, each layer only looks at the rows next to that.
    """
    into = added if into is None else into
    *first, last = layers if isinstance(layers, nn.Sequential) else (layers,)
    for layer in first:
        x = layer(x, cut=cut) if isinstance(layer, Winograd) else inside(layer(x), layer, cut)
    if isinstance(last, Winograd):
        made: Tensor = last(x, added, into, cut)
        return made
    made = inside(last(x), last, cut)
    if into is None:
        return made
    return into.copy_(made) if added is None else torch.add(made, added, out=into)


def outputs_of(layers: nn.Module) -> int:
    """Channels that a layer makes, or the last of several."""
    last = layers[-1] if isinstance(layers, nn.Sequential) else layers
    assert isinstance(last, Winograd | nn.Conv2d)
    return last.out_channels


def inside(made: Tensor, layer: nn.Module, cut: Cut) -> Tensor:
    """Without the rows that a layer made as if there were nothing where its input was cut."""
    if not isinstance(layer, (nn.Conv2d, Conv3d, *TRANSPOSED)) or layer.weight.shape[-2] == 1:
        return made
    above, below = cut
    if isinstance(layer, TRANSPOSED):
        return made[..., 2 * above : made.shape[-2] - 2 * below, :]
    return made[..., above : made.shape[-2] - (below and layer.stride[-1] == 1), :]


def pixels(like: Tensor, channels: int, height: int | None = None, width: int | None = None) -> Tensor:
    """A picture (B, C, H, W), nothing in it yet, of the size of another if not told: channels last."""
    batch, _, *size = like.shape
    height, width = (own if told is None else told for own, told in zip(size, (height, width), strict=True))
    return empty_channels_last((batch, channels, height, width), like.dtype, like.device)


def channels_last(x: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """(B, C, ...), channels_last, in ``dtype`` if told; itself where it is so."""
    dtype = dtype or x.dtype
    if x.dtype == dtype and x.movedim(1, -1).is_contiguous():
        return x
    return empty_channels_last(x.shape, dtype, x.device).copy_(x)


def affine_of(norm: nn.BatchNorm2d | nn.BatchNorm3d) -> tuple[Tensor, Tensor]:
    """By what a norm multiplies in evaluation mode, and what it adds then, for each channel."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
    return scale, norm.bias - norm.running_mean * scale
