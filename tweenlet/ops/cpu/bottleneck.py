"""Bottleneck: a ResNeXt bottleneck in one pass, on a CPU, in native code.

    x --reduce, ReLU--> grouped, ReLU --expand--+
    x --shortcut------------------------------- + -> ReLU

``reduce`` and ``expand`` are 1x1; ``grouped`` is strided or transposed, and ``shortcut`` with it. A group of
few channels leaves most of a vector empty, so native code takes whole groups side by side as one. Nothing
between is ever whole. The features of MINI and of ST-MFNet take half the time of oneDNN's layers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor, nn

from tweenlet.ops.cpu import arena as region
from tweenlet.ops.cpu import library as native
from tweenlet.ops.cpu.bindings import Bottleneck, Image
from tweenlet.ops.cpu.packing import as_products_read, lanes, padded

Convolution: TypeAlias = nn.Conv2d | nn.ConvTranspose2d
LARGEST = 16
"""Channels of a group at most."""


def _shape(kind: type[Convolution], size: int, stride: int = 1, padding: int = 0) -> tuple[object, ...]:
    """What :func:`_shape_of` says of such a layer."""
    return kind, (size, size), (stride, stride), (padding, padding), (1, 1), (0, 0), "zeros"


def _shape_of(layer: Convolution) -> tuple[object, ...]:
    """Kind, kernel, stride, padding, dilation, padding of the output, and what is there beyond the border."""
    sides = layer.kernel_size, layer.stride, layer.padding, layer.dilation, layer.output_padding
    return type(layer), *sides, layer.padding_mode


POINT, POINT_UP = _shape(nn.Conv2d, 1), _shape(nn.ConvTranspose2d, 2, 2)
GROUPED = {
    *(_shape(nn.Conv2d, size, 1, size // 2) for size in (3, 5)),
    *(_shape(nn.Conv2d, size, 2, size // 2) for size in (3, 5, 7)),
    *(_shape(nn.ConvTranspose2d, size, 2, size // 2 - 1) for size in (4, 6, 8)),
}
"""Grouped layers that there is native code for; the output is ``step`` times smaller, or twice as large."""


@dataclass(frozen=True)
class Kernels:
    """The weights of a bottleneck as the native code reads them."""

    inputs: int
    inner: int
    """Places of the inner channels: whole vectors."""
    outputs: int
    group: int
    """Channels of a group."""
    taps: int
    """Of the grouped kernel, a side; of a transposed one those that one output pixel sees."""
    step: int
    """How many times smaller the outputs are, 1 or 2."""
    scale: int
    """How many times larger, 1 or 2."""
    first: tuple[int, int]
    """Where the first tap lies, from the pixel: of even and of odd output pixels."""
    reduce: Tensor
    expand: Tensor
    shortcut: Tensor
    grouped: Tensor
    reduce_bias: Tensor
    grouped_bias: Tensor
    bias: Tensor
    """What expand and shortcut add."""


def kernels(
    reduce: Convolution, grouped: Convolution, expand: Convolution, shortcut: Convolution
) -> Kernels | None:
    """Prepare four layers, norms folded into them; None where there is no native code for such ones.

    The 1x1 products are made in the layers' own type, float32 or bfloat16; all else is float32.
    """
    dtype = reduce.weight.dtype
    if reduce.weight.device.type != "cpu" or not native.takes(dtype):
        return None
    group, up = grouped.in_channels // grouped.groups, isinstance(grouped, nn.ConvTranspose2d)
    if not (
        _shape_of(reduce) == _shape_of(expand) == POINT
        and _shape_of(shortcut) == (POINT_UP if up else POINT)
        and _shape_of(grouped) in GROUPED
        and reduce.groups == expand.groups == shortcut.groups == 1
        and reduce.out_channels == grouped.in_channels == grouped.out_channels == expand.in_channels
        and (shortcut.in_channels, shortcut.out_channels) == (reduce.in_channels, expand.out_channels)
        and group <= LARGEST
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
        made = rows.new_zeros(inner, *rows.shape[1:])
        made[places] = rows
        return made

    def matrix(*by_input: Tensor) -> Tensor:
        """Of inputs x outputs."""
        return as_products_read(torch.stack([x.detach()[None] for x in by_input]), dtype)

    vectors = torch.stack([laid_out(x).view(-1, lanes(), *x.shape[1:]) for x in by_phase])
    return Kernels(
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
        padded(laid_out(_bias(reduce)), inner),
        padded(laid_out(_bias(grouped)), inner),
        padded(_bias(expand) + _bias(shortcut), expand.out_channels),
    )


def _bias(layer: Convolution) -> Tensor:
    return torch.zeros(layer.out_channels) if layer.bias is None else layer.bias.detach().float()


def _places(channels: int, group: int) -> tuple[Tensor, int]:
    """Where each inner channel lies: whole groups in a vector, or a part of one. And how many places."""
    channel, width = torch.arange(channels), lanes()
    number, within = channel // group, channel % group
    if group > width:
        spread = -(-group // width) * width
        return number * spread + within, channels // group * spread
    beside = width // group
    places = number // beside * width + number % beside * group + within
    return places, -(-(channels // group) // beside) * width


def convolve(x: Tensor, of: Kernels, into: Tensor | None = None) -> Tensor:
    """(B, C, h, w) -> (B, K, h', w'), written ``into`` that if given; no gradient.

    On a CPU, of the type of the products, the channels of a pixel side by side. ValueError for other tensors,
    MemoryError where there is not enough of it; there is native code where there are kernels.
    """
    library = native.library()
    assert library is not None
    batch, _, height, width = x.shape
    size = [-(-side // of.step) * of.scale for side in (height, width)]
    if into is None:
        into = region.pixels((batch, of.outputs, *size), x.dtype, x.device)
    for name, given, wanted in (
        ("x", x, (batch, of.inputs, height, width)),
        ("the result", into, (batch, of.outputs, *size)),
    ):
        on_cpu = given.device.type == "cpu" and given.dtype == of.reduce.dtype
        if not (on_cpu and given.shape == wanted and (given.shape[1] == 1 or given.stride(1) == 1)):
            raise ValueError(
                f"expected {name} of shape {wanted}, {of.reduce.dtype}, on the CPU, the channels of a pixel "
                f"side by side; got {tuple(given.shape)}, {given.dtype}, {given.device}, "
                f"strides {given.stride()}"
            )
    numbers = (of.inputs, of.inner, of.outputs, of.group, of.taps, of.step, of.scale)
    tensors = (of.reduce, of.expand, of.shortcut, of.grouped, of.reduce_bias, of.grouped_bias, of.bias)
    told = Bottleneck(*numbers, of.first, of.reduce.dtype == torch.bfloat16, *tensors)
    for picture, made in zip(x, into, strict=True):
        ends = (Image(t, t.stride(1), t.stride(2)) for t in (picture, made))
        library.bottleneck(told, *ends, height, width, torch.get_num_threads())
    return into
