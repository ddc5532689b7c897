"""Layers for inference: convolutions by oneDNN and Winograd's method, fused with activations and sums."""

from __future__ import annotations

from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tweenlet.network.blocks import ChannelGate, Tile, WholeFrameLayer
from tweenlet.ops.cpu import winograd
from tweenlet.ops.cpu.arena import empty_channels_last

TRANSPOSED = (nn.ConvTranspose2d, nn.ConvTranspose3d)
Halo: TypeAlias = tuple[bool, bool]
"""Whether the outermost rows above and below are a halo: read, but without output."""
NO_HALO = (False, False)


class Conv3d(nn.Module):
    """A 3-D convolution by oneDNN, ten times as fast as PyTorch's choice for one float32 sample."""

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
            result: Tensor = torch.ops.aten.mkldnn_convolution(
                x, self.weight, self.bias, self.padding, self.stride, (1, 1, 1), 1
            )
            return result
        return F.conv3d(x, self.weight, self.bias, self.stride, self.padding)


class Pointwise(nn.Module):
    """A 3-D convolution of 1x1x1, strided in space or not, as one matrix product."""

    def __init__(self, layer: nn.Conv3d):
        super().__init__()
        self.weight = nn.Parameter(layer.weight.detach().flatten(1).T.contiguous(), False)
        bias = torch.zeros(layer.out_channels).to(self.weight) if layer.bias is None else layer.bias.detach()
        self.bias, self.stride = nn.Parameter(bias, False), layer.stride[-1]

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T, H, W) -> (B, K, T, H', W'), channels_last."""
        x = channels_last(x[..., :: self.stride, :: self.stride])
        result = empty_channels_last((len(x), len(self.bias), *x.shape[2:]), x.dtype, x.device)
        rows, out = (t.movedim(1, -1).flatten(0, -2) for t in (x, result))
        torch.addmm(self.bias, rows, self.weight, out=out)
        return result


Layer: TypeAlias = "nn.Conv2d | Conv3d | nn.ConvTranspose2d | nn.ConvTranspose3d"


class MultiPixelConv(nn.Module):
    """A convolution with few outputs, PIXELS neighbouring pixels at once: fuller vectors, fewer reads."""

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
        result = F.conv2d(x, self.weight, self.bias, (1, self.PIXELS))
        result = result.permute(0, 2, 3, 1).reshape(len(x), result.shape[2], -1, self.outputs)
        return result[:, :, :width].permute(0, 3, 1, 2)


class Winograd(nn.Module):
    """A 3x3 or 3x3x3 convolution fused with activations before and after, a residual, and an activation last.

    Stride 1 or 2; or transposed, 4x4 or 3x4x4, which upsamples by 2. On a CPU with native code it runs by
    Winograd's method, multiplying in ``compute_dtype``.

    Attributes:
        out_dtype: dtype of the result; None = that of the input.
        slope_before, slope_after: slopes of the leaky activations around the convolution, 1 or C numbers;
            None = no activation.
        slope_sum: slopes of the activation after the residual is added.
        shuffle: factor of a pixel shuffle of the result, 1 or 2, from outputs ordered by row and column of a
            cell, then by channel.

    """

    def __init__(self, layer: Layer, compute_dtype: torch.dtype):
        super().__init__()
        self.layer, self.compute_dtype = layer, compute_dtype
        self.out_dtype: torch.dtype | None = None
        self.slope_before: Tensor | None = None
        self.slope_after: Tensor | None = None
        self.slope_sum: Tensor | None = None
        self.shuffle = 1
        self.memory_format = torch.channels_last if layer.weight.dim() == 4 else torch.channels_last_3d
        self.transposed = isinstance(layer, TRANSPOSED)
        self.out_channels = layer.weight.shape[1 if self.transposed else 0]
        self.dilation = layer.dilation[0] if isinstance(layer, nn.Conv2d) else 1
        self._packed: winograd.PackedConvolution | None = None

    def forward(
        self,
        x: Tensor,
        residual: Tensor | None = None,
        out: Tensor | None = None,
        halo: Halo = NO_HALO,
        concat_with: Tensor | None = None,
    ) -> Tensor:
        """Convolve.

        Args:
            x: (B, C, H, W) or (B, C, T, H, W).
            residual: tensor of the result's shape to add to it.
            out: tensor to write the result to; None = a new one.
            halo: where true, the outermost row of ``x`` (stride 2: two rows above, none below) is only read.
            concat_with: tensor whose channels follow those of ``x``.

        Returns:
            (B, K, ...), without the halo's rows.

        """
        if self.takes_native(x):
            result = self._run_native(x, self.pack(), residual, out, halo, concat_with)
            if result is not None:
                return result if out is None or result is out else out.copy_(result)
        x = x if concat_with is None else torch.cat((x, concat_with), 1)
        result = self.layer(x if self.slope_before is None else _activate(x, self.slope_before))
        result = _activate_(crop_halo(result, self.layer, halo), self.slope_after)
        result = _activate_(result if residual is None else result.add_(residual), self.slope_sum)
        result = result if self.shuffle == 1 else shuffle_cells(result)
        return result if out is None else out.copy_(result)

    def pack(self) -> winograd.PackedConvolution:
        """The weights as native code reads them, packed on the first call."""
        if self._packed is None:
            slopes = self.slope_before, self.slope_after, self.slope_sum
            arguments = (self.layer.weight, self.layer.bias, *slopes, self.compute_dtype)
            if self.transposed:
                self._packed = winograd.pack_transposed(*arguments, self.shuffle)
            else:
                self._packed = winograd.pack_convolution(*arguments, self.layer.stride[-1])
        return self._packed

    def _run_native(
        self,
        x: Tensor,
        weights: winograd.PackedConvolution,
        residual: Tensor | None,
        out: Tensor | None,
        halo: Halo,
        concat_with: Tensor | None,
    ) -> Tensor | None:
        """Run in native code, into ``out`` if its layout allows; None without native code."""
        x = self._channels_adjacent(x)
        concat_with = None if concat_with is None else self._channels_adjacent(concat_with)
        if self.dilation == 1:
            out = out if out is not None and self._channels_adjacent(out) is out else None
            if residual is not None and out is None:
                residual = residual.contiguous(memory_format=self.memory_format)
            elif residual is not None and out is not None and residual.stride() != out.stride():
                residual = out.copy_(residual)
            return winograd.convolve(x, weights, residual, out, self.out_dtype, halo, concat_with)
        assert halo == NO_HALO
        assert concat_with is None
        # a dilated convolution is a plain one on each phase of pixels that far apart
        result = empty_channels_last((len(x), weights.outputs, *x.shape[2:]), x.dtype, x.device)
        for top in range(min(self.dilation, x.shape[2])):
            for left in range(min(self.dilation, x.shape[3])):
                grid = (..., slice(top, None, self.dilation), slice(left, None, self.dilation))
                if winograd.convolve(x[grid], weights, out=result[grid]) is None:
                    return None
        return result if residual is None else result.add_(residual)

    def _channels_adjacent(self, x: Tensor) -> Tensor:
        """The same tensor with the channels of a pixel next to each other, copied only if needed."""
        return x if x.stride(1) == 1 or x.shape[1] == 1 else x.contiguous(memory_format=self.memory_format)

    def takes_native(self, x: Tensor) -> bool:
        """Whether native code may take this input."""
        return (
            x.device.type == "cpu"
            and x.dtype == self.layer.weight.dtype
            and x.dtype in (torch.float32, self.compute_dtype)
            and not torch.is_autocast_enabled("cpu")
            and (x.dim() == 4 or x.shape[0] == 1)
        )


class InPlaceGate(WholeFrameLayer):
    """A :class:`~tweenlet.network.blocks.ChannelGate` that overwrites its input."""

    def __init__(self, gate: ChannelGate):
        super().__init__()
        self.gate = gate

    def forward(self, x: Tensor, tile: Tile | None = None) -> Tensor:
        """(B, C, ...) -> the same tensor."""
        return x.mul_(self.gate.factors(x, tile))


def shuffle_cells(x: Tensor) -> Tensor:
    """Pixel shuffle by 2 of channels ordered by row and column of a cell: (B, 4 C, H, W) -> (B, C, 2 H, 2 W).

    The result is channels_last.
    """
    batch, _, height, width = x.shape
    by_row = x.permute(0, 2, 3, 1).reshape(batch, height, width, 2, 2, -1).transpose(2, 3)
    return by_row.reshape(batch, 2 * height, 2 * width, -1).permute(0, 3, 1, 2)


def _activate(x: Tensor, slope: Tensor) -> Tensor:
    if slope.numel() > 1:
        return F.prelu(x, slope.to(x))
    return F.leaky_relu(x, slope.item())


def _activate_(x: Tensor, slope: Tensor | None) -> Tensor:
    """Activate in place where possible."""
    if slope is None:
        return x
    return F.leaky_relu_(x, slope.item()) if slope.numel() == 1 else F.prelu(x, slope.to(x))


def run_and_add(
    layers: nn.Module,
    x: Tensor,
    residual: Tensor | None = None,
    out: Tensor | None = None,
    halo: Halo = NO_HALO,
) -> Tensor:
    """Run ``layers`` on ``x`` and add ``residual``, in ``out`` if given, else in ``residual`` itself.

    Each layer consumes one row of the ``halo``, as :class:`Winograd` does.
    """
    out = residual if out is None else out
    *first, last = layers if isinstance(layers, nn.Sequential) else (layers,)
    for layer in first:
        x = layer(x, halo=halo) if isinstance(layer, Winograd) else crop_halo(layer(x), layer, halo)
    if isinstance(last, Winograd):
        result: Tensor = last(x, residual, out, halo)
        return result
    result = crop_halo(last(x), last, halo)
    if out is None:
        return result
    return out.copy_(result) if residual is None else torch.add(result, residual, out=out)


def out_channels_of(layers: nn.Module) -> int:
    """Output channels of a layer, or of the last layer of a sequence."""
    last = layers[-1] if isinstance(layers, nn.Sequential) else layers
    assert isinstance(last, Winograd | nn.Conv2d | nn.ConvTranspose2d)
    return last.out_channels


def crop_halo(x: Tensor, layer: nn.Module, halo: Halo) -> Tensor:
    """Drop the output rows next to a halo, where the layer padded with zeros."""
    if not isinstance(layer, (nn.Conv2d, Conv3d, *TRANSPOSED)) or layer.weight.shape[-2] == 1:
        return x
    above, below = halo
    if isinstance(layer, TRANSPOSED):
        return x[..., 2 * above : x.shape[-2] - 2 * below, :]
    return x[..., above : x.shape[-2] - (below and layer.stride[-1] == 1), :]


def new_image(like: Tensor, channels: int, height: int | None = None, width: int | None = None) -> Tensor:
    """An uninitialised image (B, channels, height, width), channels_last, sized as ``like`` by default."""
    batch, _, *size = like.shape
    shape = (batch, channels, size[0] if height is None else height, size[1] if width is None else width)
    return empty_channels_last(shape, like.dtype, like.device)


def channels_last(x: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """Convert (B, C, ...) to channels_last and ``dtype``; returns the same tensor if nothing changes."""
    dtype = dtype or x.dtype
    if x.dtype == dtype and x.movedim(1, -1).is_contiguous():
        return x
    return empty_channels_last(x.shape, dtype, x.device).copy_(x)


def batchnorm_scale_shift(norm: nn.BatchNorm2d | nn.BatchNorm3d) -> tuple[Tensor, Tensor]:
    """Per-channel scale and shift of a batch norm in eval mode."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
    return scale, norm.bias - norm.running_mean * scale
