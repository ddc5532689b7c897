"""Winograd: 3x3 convolutions with a quarter of the multiplications, on a CPU, in native code.

    layer's weight --> PackedConvolution --+
                                           v
    x --> activation before ----------> convolve --> + bias --> activation after --> + residual

4x4 output pixels of a 3x3 convolution are 36 products instead of 144, of sums of 6x6 input pixels with sums
of the kernel: Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", 2016. The 2x2
kernels that a convolution of stride 2 and a transposed one consist of take tiles of 5x5 pixels. Rounding
errors are about five times those of a direct convolution: some 1e-6 of the values.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod, sqrt

import torch
from torch import Tensor
from torch.nn import functional as F

from tweenlet.ops.cpu.arena import empty, empty_channels_last
from tweenlet.ops.cpu.bindings import Convolution, Input, Layout, array
from tweenlet.ops.cpu.library import require_library
from tweenlet.ops.cpu.packing import group_outputs, pack_weights, pad_channels, vector_lanes
from tweenlet.ops.dispatch import has_native

POINTS = (0.0, sqrt(0.5), -sqrt(0.5), sqrt(2.0), -sqrt(2.0))
"""Points at which the polynomials are evaluated, besides infinity."""


@dataclass(frozen=True)
class PackedConvolution:
    """Packed weights of a layer for native code."""

    inputs: int
    outputs: int
    taps: int
    """Size of the kernel in time: 1 or 3."""
    tile: int
    """Side of a tile in output pixels."""
    enlarge: int
    """Factor of a transposed convolution, 1 or 2."""
    shrink: int
    """Stride, 1 or 2."""
    shuffle: int
    """Factor of a pixel shuffle of the outputs, 1 or 2."""
    points: Tensor
    """The weights in the Winograd domain."""
    bias: Tensor
    slope_before: Tensor | None
    """Slopes (C,) of a leaky activation of the inputs; None = no activation."""
    slope_after: Tensor | None
    """Slopes (K,) of an activation of the outputs, before a residual is added; None = none."""
    slope_sum: Tensor | None
    """Slopes (K,) of an activation after the residual is added; None = none."""

    @cached_property
    def struct(self) -> Convolution:
        """The same, for C."""
        return Convolution(
            *(self.inputs, self.outputs, self.taps, self.tile, self.points.dtype == torch.bfloat16),
            *(self.enlarge, self.shrink, self.shuffle, self.points, self.bias),
            *(self.slope_before, self.slope_after, self.slope_sum),
        )


def pack_convolution(
    weight: Tensor,
    bias: Tensor | None,
    slope_before: Tensor | None = None,
    slope_after: Tensor | None = None,
    slope_sum: Tensor | None = None,
    dtype: torch.dtype = torch.float32,
    stride: int = 1,
) -> PackedConvolution:
    """Pack a convolution, padded by one pixel.

    Args:
        weight: (K, C, 3, 3) or (K, C, 3, 3, 3).
        bias: (K,), or None.
        slope_before: slope of a leaky activation of the inputs, (1,) or (C,); None = no activation.
        slope_after: slope of an activation of the outputs, before a residual is added, (1,) or (K,); None =
            none.
        slope_sum: slope of an activation after the residual is added, (1,) or (K,); None = none.
        dtype: dtype of the products: float32, or bfloat16 where :func:`~tweenlet.ops.dispatch.has_native`
            says so. Sums are float32.
        stride: stride in space, 1 or 2; 2 is computed as a convolution over cells of 2x2 pixels.

    """
    outputs, inputs = weight.shape[:2]
    by_slice = weight.reshape(1, outputs, inputs, -1, 3, 3)
    if stride == 2:
        of_cells = F.pad(by_slice, (1, 0, 1, 0)).reshape(1, outputs, inputs, -1, 2, 2, 2, 2)
        by_slice = of_cells.permute(0, 1, 5, 7, 2, 3, 4, 6).flatten(2, 4)  # (1, K, 4 C, T, 2, 2)
        return _pack(by_slice, bias, slope_before, slope_after, slope_sum, dtype, shrink=2)
    return _pack(by_slice, bias, slope_before, slope_after, slope_sum, dtype)


def pack_transposed(
    weight: Tensor,
    bias: Tensor | None,
    slope_before: Tensor | None = None,
    slope_after: Tensor | None = None,
    slope_sum: Tensor | None = None,
    dtype: torch.dtype = torch.float32,
    shuffle: int = 1,
) -> PackedConvolution:
    """Pack a transposed convolution, of stride 2 and padding 1 in space, 1 and 1 in time.

    Each of the four output pixels of an input pixel is a convolution with 2x2 taps of the 4x4. ``weight`` is
    (C, K, 4, 4) or (C, K, 3, 4, 4). With ``shuffle`` 2 a pixel shuffle by 2 follows, from outputs ordered by
    row and column of a cell, then by channel. All other arguments are those of :func:`pack_convolution`.
    """
    inputs, outputs = weight.shape[:2]
    by_slice = weight.reshape(inputs, outputs, -1, 4, 4).transpose(0, 1).flip(2)
    parts = []
    for y in (0, 1):
        for x in (0, 1):
            parts.append(by_slice[..., [3 - y, 1 - y], :][..., [3 - x, 1 - x]])  # of pixels y - 1 and y
    weight = torch.stack(parts)
    return _pack(weight, bias, slope_before, slope_after, slope_sum, dtype, enlarge=2, shuffle=shuffle)


def _pack(
    weight: Tensor,
    bias: Tensor | None,
    slope_before: Tensor | None,
    slope_after: Tensor | None,
    slope_sum: Tensor | None,
    dtype: torch.dtype,
    enlarge: int = 1,
    shrink: int = 1,
    shuffle: int = 1,
) -> PackedConvolution:
    """``weight``: (enlarge^2, K, shrink^2 C, T, size, size)."""
    _, outputs, inputs, taps, size, _ = weight.shape
    matrix = torch.tensor(
        [[p**k / prod(p - q for q in POINTS if q != p) for k in range(size)] for p in POINTS]
        + [[*[0.0] * (size - 1), 1.0]],
        dtype=torch.float64,
    )
    # row by row of points, and the result in the arena: temporaries leave no holes
    by_row = []
    for row in matrix:
        points = torch.einsum("y,bx,ekctyx->btcek", row, matrix, weight.double().cpu())
        by_row.append(pack_weights(_pad_rows(points, shuffle).flatten(-2), dtype))
    padded = enlarge**2 * _pad_rows(torch.zeros(outputs), shuffle).numel()
    points = empty((len(matrix) * by_row[0].numel(),), dtype, torch.device("cpu"))
    start = 0
    shares = [count * by_row[0].shape[1] // padded for count in group_outputs(padded)]
    for group in zip(*(torch.split(row, shares, 1) for row in by_row), strict=True):
        end = start + len(matrix) ** 2 * group[0].shape[1]
        torch.cat(group, out=points[start:end].view(len(matrix) ** 2, -1))
        start = end

    def by_output(numbers: Tensor) -> Tensor:
        numbers = _pad_rows(numbers.expand(outputs), shuffle)
        return pad_channels(numbers, numbers.numel())

    return PackedConvolution(
        inputs // shrink**2,
        outputs,
        taps,
        len(matrix) + 1 - size,
        enlarge,
        shrink,
        shuffle,
        points,
        by_output(torch.zeros(1) if bias is None else bias),
        None if slope_before is None else pad_channels(slope_before, inputs // shrink**2),
        None if slope_after is None else by_output(slope_after),
        None if slope_sum is None else by_output(slope_sum),
    )


def _pad_rows(x: Tensor, shuffle: int) -> Tensor:
    """Outputs (..., K) of each row of a cell, padded to whole vectors."""
    by_row = x.reshape(*x.shape[:-1], shuffle, -1)
    return F.pad(by_row, (0, -by_row.shape[-1] % vector_lanes())).flatten(-2)


def convolve(
    x: Tensor,
    weights: PackedConvolution,
    residual: Tensor | None = None,
    out: Tensor | None = None,
    dtype: torch.dtype | None = None,
    crop_halo: tuple[bool, bool] = (False, False),
    concat_with: Tensor | None = None,
) -> Tensor | None:
    """Convolve ``x`` by the packed ``weights``; no gradient.

    Args:
        x: (B, C, H, W) or (1, C, T, H, W) on a CPU, channels_last, possibly a strided view of pixels or of
            some channels; float32, or bfloat16 if the products are.
        weights: packed weights of the layer, with K outputs.
        residual: tensor to add to the result, of its shape and strides.
        out: tensor for the result, possibly a view like ``x``.
        dtype: dtype of the result without ``out``; None = that of ``x``.
        crop_halo: whether ``x`` has a halo above and below. Its first and last row are then only read, in
            place of zero padding, and produce no output (with stride 2, its first two; with a halo below, it
            has an even number of rows).
        concat_with: tensor like ``x``, whose channels follow those of ``x``.

    Returns:
        (B, K, H', W') or (1, K, T, H', W'), channels_last, K / 4 channels after a pixel shuffle; None without
        native code.

    Raises:
        ValueError: Tensors do not match.
        MemoryError: There is not enough memory.

    """
    if not has_native():
        return None
    above, below = weights.shrink * crop_halo[0], int(crop_halo[1] and weights.shrink == 1)
    sources = [x] if concat_with is None else [x, concat_with]
    if above or below:
        sources = [source[..., above : source.shape[-2] - below, :] for source in sources]
    batch, channels, *times, height, width = sources[-1].shape
    enlarge = weights.enlarge * weights.shuffle
    size = (-(-side // weights.shrink) * enlarge for side in (height, width))
    shape = (batch, weights.outputs // weights.shuffle**2, *times, *size)
    result = empty_channels_last(shape, dtype or x.dtype, x.device) if out is None else out
    dtypes, like_x = {torch.float32, weights.points.dtype}, {x.dtype}
    first = weights.inputs if concat_with is None else weights.inputs - channels
    checks = [
        ("x", sources[0], (batch, first, *times, height, width), dtypes),
        *(("concat_with", source, source.shape, like_x) for source in sources[1:]),
        ("the result", result, shape, dtypes),
    ]
    for name, given, wanted, types in checks:
        if not (_fits(given, wanted, types) and (given.shape[1] == 1 or given.stride(1) == 1)):
            raise ValueError(_expected(name, wanted, types, "channels_last", given))
    if residual is not None and not (_fits(residual, shape, {result.dtype}) and _alike(residual, result)):
        raise ValueError(_expected("residual", shape, {result.dtype}, f"strides {result.stride()}", residual))
    if weights.shuffle > 1 and result.stride(-1) != result.shape[1]:
        raise ValueError("expected no gap between the pixels of the result of a pixel shuffle")
    if times and batch != 1:
        raise ValueError(f"expected a batch of 1 of slices in time, got {batch}")
    if weights.taps != (3 if times else 1):
        raise ValueError(f"expected weights over {3 if times else 1} slices, got {weights.taps}")
    inputs = array(Input(t, t.shape[1], _layout(t)) for t in sources)
    extent = (times[0] if times else batch, height, width, above, below)
    threads = torch.get_num_threads()
    layout = _layout(result)
    layout.pixel *= weights.shuffle
    require_library().winograd(
        weights.struct, inputs, len(sources), result, layout, residual, *extent, threads
    )
    return result


def residual_blocks(x: Tensor, layers: Sequence[PackedConvolution]) -> Tensor | None:
    """Residual blocks, each ``x -> layer(x) + x``, one after the other; no gradient.

    Args:
        x: (B, C, H, W) on a CPU, channels_last, float32 or the dtype of the products.
        layers: packed weights of 3x3 convolutions with C inputs and outputs.

    Returns:
        A new tensor like ``x``; None without native code.

    Raises:
        ValueError: ``x`` does not match.
        MemoryError: There is not enough memory.

    """
    if not has_native():
        return None
    channels = layers[0].inputs
    dtypes, shape = {torch.float32, layers[0].points.dtype}, (len(x), channels, *x.shape[2:])
    if not _fits(x, shape, dtypes):
        raise ValueError(_expected("x", shape, dtypes, "channels_last", x))
    other, out = (empty_channels_last(x.shape, x.dtype, x.device) for _ in range(2))
    sizes = (len(x), *x.shape[2:], torch.get_num_threads())
    structs = array(layer.struct for layer in layers)
    require_library().residual_blocks(structs, len(layers), x, other, out, _layout(out), *sizes)
    return out


def _fits(tensor: Tensor, shape: tuple[int, ...], dtypes: set[torch.dtype]) -> bool:
    return tensor.shape == shape and tensor.dtype in dtypes and tensor.device.type == "cpu"


def _alike(x: Tensor, y: Tensor) -> bool:
    """Whether two tensors of one shape have the same strides."""
    return all(a == b for a, b, size in zip(x.stride(), y.stride(), x.shape, strict=True) if size > 1)


def _layout(x: Tensor) -> Layout:
    return Layout(x.stride(0 if x.dim() == 4 else 2), x.stride(-2), x.stride(-1), x.dtype == torch.bfloat16)


def _expected(name: str, shape: tuple[int, ...], dtypes: set[torch.dtype], how: str, tensor: Tensor) -> str:
    types = " or ".join(sorted(map(str, dtypes)))
    return (
        f"expected {name} of shape {tuple(shape)}, {types}, on the CPU, {how}; "
        f"got {tuple(tensor.shape)}, {tensor.dtype}, {tensor.device}, strides {tensor.stride()}"
    )
