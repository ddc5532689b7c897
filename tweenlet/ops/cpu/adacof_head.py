"""The last steps of an AdaCoF head in native code, on a CPU: from small taps to the image.

    layers' weights -- packed --> PackedLayers --+
                                                 v
    small taps (h, w, k*k), three kinds --> upsampled --> convolved -> softmax --+--> adacof --> (H, W, 3)
    taps (H, W, k*k), three kinds ----------------------------------- softmax? --+
                                                                                 ^
    frame (3, H, W) -------------------------------------------------------------+

Upsampling and the convolution after it are both linear, so each pixel of the small taps is first multiplied
by the nine matrices of the kernel; at full size only sums of six of these along columns remain, and of six of
those along rows. Full-size taps are never stored: they are computed and used pixel by pixel.

The reference, equal up to rounding, is ``network.adacof_heads`` with ``ops.adacof``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from tweenlet.ops.cpu.arena import empty
from tweenlet.ops.cpu.bindings import AdacofHead, Positions
from tweenlet.ops.cpu.library import require_library
from tweenlet.ops.cpu.packing import vector_lanes
from tweenlet.ops.dispatch import has_native

SIDE = 3
"""Side of the layers' kernels."""
KINDS = ("weight", "rows", "columns")


@dataclass(frozen=True)
class PackedLayers:
    """The three layers that convolve a head's upsampled taps, as native code reads them."""

    taps: int
    kernels: Tensor
    bias: Tensor


def pack_layers(weights: Sequence[Tensor], biases: Sequence[Tensor | None]) -> PackedLayers:
    """Pack the layers of weights, rows and columns: (K, K, 3, 3), and (K,) or None, each."""
    taps = weights[0].shape[0]
    if any(weight.shape != (taps, taps, SIDE, SIDE) for weight in weights) or len(weights) != len(KINDS):
        raise ValueError(
            f"expected three weights of shape (K, K, 3, 3), got {[tuple(weight.shape) for weight in weights]}"
        )
    vector = vector_lanes()  # taps are padded to multiples
    full = taps // vector * vector
    lanes = -(-SIDE * taps // vector) * vector
    # kind, input, column, lane
    kernels = torch.zeros(len(KINDS), taps, SIDE, lanes, dtype=torch.float64, device="cpu")
    for kind, weight in enumerate(weights):
        by_row = weight.detach().double().cpu().permute(2, 1, 3, 0)  # row, input, column, output
        for row in range(SIDE):
            kernels[kind, ..., row * full : (row + 1) * full] = by_row[row, ..., :full]
            start = SIDE * full + row * (taps - full)
            kernels[kind, ..., start : start + taps - full] = by_row[row, ..., full:]
    bias = torch.zeros(len(KINDS), -(-taps // vector) * vector, dtype=torch.float64, device="cpu")
    for kind, numbers in enumerate(biases):
        if numbers is not None:
            bias[kind, :taps] = numbers.detach()
    for numbers in (kernels, bias):
        numbers[0] /= math.log(2)  # powers of two instead of e
    by_group = kernels.view(len(KINDS), taps, -1, 3 * vector).transpose(1, 2)  # kind, group, input, lane
    return PackedLayers(taps, by_group.float().contiguous(), bias.float())


def upsample_and_synthesize(
    frame: Tensor,
    weight: Tensor,
    rows: Tensor,
    columns: Tensor,
    layers: PackedLayers,
    positions: tuple[Tensor, Tensor],
    dilation: int = 1,
    out: Tensor | None = None,
) -> Tensor | None:
    """Upsample small taps, convolve them, and synthesise an image from ``frame``; no gradient.

    Args:
        frame: (3, H, W), float32, on a CPU.
        weight: logits of the small taps, (h, w, k*k), float32, on a CPU.
        rows: vertical offsets in pixels, like ``weight``.
        columns: horizontal offsets in pixels, like ``weight``.
        layers: the convolutions after upsampling.
        positions: positions of the H rows and the W columns among the h and w small ones, from
            :func:`tweenlet.network.blocks.aligned_positions`; two or more per small one.
        dilation: as in :func:`tweenlet.ops.adacof.adacof`.
        out: tensor for the result: last stride 1, no gap between rows. None = a new tensor.

    Returns:
        (H, W, 3); None without native code.

    Raises:
        ValueError: Tensors do not match.

    """
    height, width = frame.shape[1:]
    small = (len(weight), weight.shape[1], layers.taps)
    tables = [_interpolate(p, size) for p, size in zip(positions, small, strict=False)]
    if (len(positions[0]), len(positions[1])) != (height, width):
        raise ValueError(
            f"expected positions of {height} rows and {width} columns, got {[len(p) for p in positions]}"
        )
    if any(int(first.diff().min()) < 0 for first, _ in tables):
        raise ValueError("expected positions in ascending order")
    if int((tables[0][0][2:] - tables[0][0][:-2]).max()) > 1:
        raise ValueError("expected at least two large rows for a small one")
    return _synthesize(frame, (weight, rows, columns), small, layers, tables, dilation, True, out)


def synthesize(
    frame: Tensor,
    weight: Tensor,
    rows: Tensor,
    columns: Tensor,
    dilation: int = 1,
    softmax: bool = False,
    out: Tensor | None = None,
) -> Tensor | None:
    """:func:`~tweenlet.ops.adacof.adacof` for taps (H, W, k*k), channels last, without a gradient.

    With ``softmax`` the weights are logits. Other arguments, results and errors are those of
    :func:`upsample_and_synthesize`.
    """
    return _synthesize(
        frame,
        (weight, rows, columns),
        (*frame.shape[1:], weight.shape[-1]),
        None,
        [],
        dilation,
        softmax,
        out,
    )


def _interpolate(positions: Tensor, small: int) -> tuple[Tensor, Tensor]:
    """For each position, and one more at each end: the first of two neighbours, and the weights of both."""
    first = positions.long().clamp(0, max(small - 2, 0))
    second = positions - first
    shares = F.pad(torch.stack((1 - second, second), 1), (0, 0, 1, 1))  # zeros outside: the layers' padding
    first = torch.cat((first[:1], first, first[-1:]))
    return first.int().contiguous(), shares.float().contiguous()


def _synthesize(
    frame: Tensor,
    taps: tuple[Tensor, ...],
    shape: tuple[int, ...],
    layers: PackedLayers | None,
    tables: list[tuple[Tensor, Tensor]],
    dilation: int,
    softmax: bool,
    out: Tensor | None,
) -> Tensor | None:
    if not has_native():
        return None
    height, width = frame.shape[1:]
    side = math.isqrt(shape[-1])
    result = empty((height, width, 3), frame.dtype, frame.device) if out is None else out
    for name, tensor, expected in (
        *((name, x, shape) for name, x in zip(KINDS, taps, strict=True)),
        ("frame", frame, (3, height, width)),
        ("out", result, (height, width, 3)),
    ):
        if tensor.shape != expected or tensor.dtype != torch.float32 or tensor.device.type != "cpu":
            raise ValueError(
                f"expected {name} of shape {tuple(expected)}, float32, on the CPU; "
                f"got {tuple(tensor.shape)}, {tensor.dtype}, {tensor.device}"
            )
    if 0 in (*shape, height, width):
        raise ValueError(f"expected taps and a frame that are not empty, got {shape} and {(height, width)}")
    if side * side != shape[-1] or dilation < 1:
        raise ValueError(f"expected k*k taps and a dilation of at least 1, got {shape[-1]} and {dilation}")
    if result.stride(2) != 1 or result.stride(0) != width * result.stride(1):
        raise ValueError(f"expected pixels that follow on each other, got strides {result.stride()}")
    taps = tuple(x.contiguous() for x in taps)
    bordered = empty((height + 2, width + 2, 4), frame.dtype, frame.device)
    threads = torch.get_num_threads()
    require_library().pad_frame(frame, *frame.stride(), height, width, bordered, threads)
    positions = [
        Positions(small, large, first, shares)
        for small, large, (first, shares) in zip(shape, (height, width), tables, strict=False)
    ] or [Positions(side, side, None, None) for side in (height, width)]
    kernels, bias = (None, None) if layers is None else (layers.kernels, layers.bias)
    head = AdacofHead(
        side, dilation, softmax, taps, kernels, bias, *positions, bordered, result, result.stride(1)
    )
    require_library().adacof_head(head, threads)
    return result
