"""Bottleneck: a ResNeXt bottleneck in one pass, on a CPU, in native code.

    x --reduce, ReLU--> grouped, ReLU --expand--+
    x --shortcut------------------------------- + -> ReLU

``reduce`` and ``expand`` are 1x1; ``grouped`` is strided or transposed, and ``shortcut`` with it. A group of
few channels would leave most of a vector empty, so native code runs several groups side by side in one. No
intermediate tensor is ever held whole. MINI and ST-MFNet extract features in half the time that oneDNN takes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor, nn

from tweenlet.ops.cpu.arena import empty_channels_last
from tweenlet.ops.cpu.bindings import Bottleneck, Image
from tweenlet.ops.cpu.library import require_library
from tweenlet.ops.cpu.packing import pack_weights, pad_channels, vector_lanes
from tweenlet.ops.dispatch import has_native

Convolution: TypeAlias = nn.Conv2d | nn.ConvTranspose2d
MAX_GROUP = 16
"""Most channels per group."""


def _shape(kind: type[Convolution], size: int, stride: int = 1, padding: int = 0) -> tuple[object, ...]:
    """The result of :func:`_shape_of` for a layer with these settings."""
    return kind, (size, size), (stride, stride), (padding, padding), (1, 1), (0, 0), "zeros"


def _shape_of(layer: Convolution) -> tuple[object, ...]:
    """Type, kernel size, stride, padding, dilation, output padding and padding mode of a layer."""
    sides = layer.kernel_size, layer.stride, layer.padding, layer.dilation, layer.output_padding
    return type(layer), *sides, layer.padding_mode


POINT, POINT_UP = _shape(nn.Conv2d, 1), _shape(nn.ConvTranspose2d, 2, 2)
GROUPED = {
    *(_shape(nn.Conv2d, size, 1, size // 2) for size in (3, 5)),
    *(_shape(nn.Conv2d, size, 2, size // 2) for size in (3, 5, 7)),
    *(_shape(nn.ConvTranspose2d, size, 2, size // 2 - 1) for size in (4, 6, 8)),
}
"""Grouped layers that native code supports: stride 1 or 2, or transposed with stride 2."""


@dataclass(frozen=True)
class PackedBottleneck:
    """Packed weights of a bottleneck for native code."""

    inputs: int
    inner: int
    """Inner channels, rounded up to whole vectors."""
    outputs: int
    group: int
    """Channels per group."""
    taps: int
    """Taps per side of the grouped kernel; of a transposed one, those that reach one output pixel."""
    stride: int
    """Downsampling factor, 1 or 2."""
    scale: int
    """Upsampling factor, 1 or 2."""
    first: tuple[int, int]
    """Offset of the first tap from the pixel, for even and for odd output pixels."""
    reduce: Tensor
    expand: Tensor
    shortcut: Tensor
    grouped: Tensor
    reduce_bias: Tensor
    grouped_bias: Tensor
    bias: Tensor
    """The biases of expand and shortcut, summed."""


def pack_bottleneck(
    reduce: Convolution, grouped: Convolution, expand: Convolution, shortcut: Convolution
) -> PackedBottleneck | None:
    """Pack the weights of four layers, norms folded in; None if native code does not support them.

    The 1x1 products are computed in the layers' own dtype, float32 or bfloat16, everything else in float32.
    """
    dtype = reduce.weight.dtype
    if reduce.weight.device.type != "cpu" or not has_native(dtype):
        return None
    group, up = grouped.in_channels // grouped.groups, isinstance(grouped, nn.ConvTranspose2d)
    if not (
        _shape_of(reduce) == _shape_of(expand) == POINT
        and _shape_of(shortcut) == (POINT_UP if up else POINT)
        and _shape_of(grouped) in GROUPED
        and reduce.groups == expand.groups == shortcut.groups == 1
        and reduce.out_channels == grouped.in_channels == grouped.out_channels == expand.in_channels
        and (shortcut.in_channels, shortcut.out_channels) == (reduce.in_channels, expand.out_channels)
        and group <= MAX_GROUP
        and (dtype == torch.float32 or reduce.in_channels % 2 == 0)  # products of bfloat16 are of pairs
    ):
        return None
    size, weight = grouped.kernel_size[0], grouped.weight.detach().float()
    first = (-(size // 2), -(size // 2))
    if up:
        around = (size - 1) // 2
        first = (-((size - 1 - around) // 2), -((size - 2 - around) // 2))
        # by output, like the weight of one that is not transposed
        weight = weight.view(-1, group, *weight.shape[1:]).transpose(1, 2).flatten(0, 1)
        # an output pixel sees every other tap, backwards
        taps = [[around + odd - 2 * (first[odd] + tap) for tap in range(size // 2)] for odd in (0, 1)]
        by_phase = [weight[:, :, taps[down]][..., taps[right]] for down in (0, 1) for right in (0, 1)]
        shortcuts = [shortcut.weight[:, :, down, right] for down in (0, 1) for right in (0, 1)]
    else:
        by_phase, shortcuts = [weight], [shortcut.weight[:, :, 0, 0].T]
    places, inner = _places(grouped.in_channels, group)

    def laid_out(rows: Tensor) -> Tensor:
        """By inner channel -> by place."""
        by_place = rows.new_zeros(inner, *rows.shape[1:])
        by_place[places] = rows
        return by_place

    def matrix(*by_input: Tensor) -> Tensor:
        """Of inputs x outputs."""
        return pack_weights(torch.stack([x.detach()[None] for x in by_input]), dtype)

    vectors = torch.stack([laid_out(x).view(-1, vector_lanes(), *x.shape[1:]) for x in by_phase])
    return PackedBottleneck(
        reduce.in_channels,
        inner,
        expand.out_channels,
        group,
        size // 2 if up else size,
        1 if up else grouped.stride[0],
        2 if up else 1,
        first,
        matrix(laid_out(reduce.weight.detach()[..., 0, 0]).T),
        matrix(laid_out(expand.weight.detach()[..., 0, 0].T)),
        matrix(*shortcuts),
        vectors.permute(0, 1, 4, 3, 5, 2).contiguous(),  # phase, vector, tap down, input, tap right, lane
        pad_channels(laid_out(_bias(reduce)), inner),
        pad_channels(laid_out(_bias(grouped)), inner),
        pad_channels(_bias(expand) + _bias(shortcut), expand.out_channels),
    )


def _bias(layer: Convolution) -> Tensor:
    return torch.zeros(layer.out_channels) if layer.bias is None else layer.bias.detach().float()


def _places(channels: int, group: int) -> tuple[Tensor, int]:
    """Where each inner channel lies: whole groups in a vector, or a part of one. And how many places."""
    channel, width = torch.arange(channels), vector_lanes()
    number, within = channel // group, channel % group
    if group > width:
        spread = -(-group // width) * width
        return number * spread + within, channels // group * spread
    beside = width // group
    places = number // beside * width + number % beside * group + within
    return places, -(-(channels // group) // beside) * width


def bottleneck(x: Tensor, weights: PackedBottleneck, out: Tensor | None = None) -> Tensor:
    """Run a packed bottleneck; no gradient.

    Args:
        x: (B, C, h, w) on a CPU, channels_last, in the dtype of the products.
        weights: packed weights, from :func:`pack_bottleneck`.
        out: tensor for the result, channels_last.

    Returns:
        (B, K, h', w'), channels_last.

    Raises:
        ValueError: Tensors do not match.
        MemoryError: There is not enough memory.

    """
    batch, _, height, width = x.shape
    size = [-(-side // weights.stride) * weights.scale for side in (height, width)]
    if out is None:
        out = empty_channels_last((batch, weights.outputs, *size), x.dtype, x.device)
    _check("x", x, (batch, weights.inputs, height, width), weights.reduce.dtype)
    _check("the result", out, (batch, weights.outputs, *size), weights.reduce.dtype)
    packed = Bottleneck(
        *(weights.inputs, weights.inner, weights.outputs, weights.group, weights.taps),
        *(weights.stride, weights.scale, weights.first, weights.reduce.dtype == torch.bfloat16),
        *(weights.reduce, weights.expand, weights.shortcut),
        *(weights.grouped, weights.reduce_bias, weights.grouped_bias, weights.bias),
    )
    for source, target in zip(x, out, strict=True):
        images = (Image(t, t.stride(1), t.stride(2)) for t in (source, target))
        require_library().bottleneck(packed, *images, height, width, torch.get_num_threads())
    return out


def _check(name: str, x: Tensor, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    on_cpu = x.device.type == "cpu" and x.dtype == dtype
    if not (on_cpu and x.shape == shape and (x.shape[1] == 1 or x.stride(1) == 1)):
        raise ValueError(
            f"expected {name} of shape {shape}, {dtype}, on the CPU, channels_last; "
            f"got {tuple(x.shape)}, {x.dtype}, {x.device}, strides {x.stride()}"
        )
