"""Heads: the last steps of an AdaCoF head in native code, on a CPU: from small taps to the picture they make.

    layers' weights -- packed --> PackedLayers --+
                                                 v
    small taps (h, w, k*k), three kinds --> enlarged --> convolved --> softmax --+--> adacof --> (H, W, 3)
    taps (H, W, k*k), three kinds ----------------------------------- softmax? --+
                                                                                 ^
    frame (3, H, W) -------------------------------------------------------------+

Enlarging and the convolution after it are both linear. So each pixel of the small taps is multiplied by the
nine matrices of the kernel first, and what is large is only sums of six of these along the columns, and of
six of those along the rows. Nothing of the large taps is kept: pixel by pixel they are made and used.

The plain path, that this equals but for rounding, is ``network.kernels`` with ``ops.adacof``.
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
from tweenlet.ops.cpu.library import loaded
from tweenlet.ops.cpu.packing import vector_lanes
from tweenlet.ops.dispatch import compiled

SIDE = 3
"""Of the kernels of the layers."""
KINDS = ("weight", "rows", "columns")


@dataclass(frozen=True)
class PackedLayers:
    """The three layers that convolve a head's enlarged taps, as the native code reads them."""

    taps: int
    kernels: Tensor
    bias: Tensor


def pack_layers(weights: Sequence[Tensor], biases: Sequence[Tensor | None]) -> PackedLayers:
    """Prepare the layers for the weights, the rows and the columns: (K, K, 3, 3) and (K,) or None each."""
    taps = weights[0].shape[0]
    if any(weight.shape != (taps, taps, SIDE, SIDE) for weight in weights) or len(weights) != len(KINDS):
        raise ValueError(
            f"expected three weights of shape (K, K, 3, 3), got {[tuple(weight.shape) for weight in weights]}"
        )
    vector = vector_lanes()  # to whose multiples taps are padded
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
    of: PackedLayers,
    places: tuple[Tensor, Tensor],
    dilation: int = 1,
    out: Tensor | None = None,
) -> Tensor | None:
    """Enlarge small taps, convolve them by ``of``, and synthesise a picture from ``frame``; no gradient.

    The frame is (3, H, W), the taps are (h, w, k*k) each, all float32 on a CPU. ``places`` say where the H
    rows and the W columns lie among the h and w small ones (``corner_aligned``), two or more large ones
    for a small one. Returns (H, W, 3), written into ``out``, a tensor whose last stride is one and whose rows
    follow on each other, where it is given; None where there is no compiled code. ValueError for what does
    not match.
    """
    height, width = frame.shape[1:]
    small = (len(weight), weight.shape[1], of.taps)
    tables = [_places(p, size) for p, size in zip(places, small, strict=False)]
    if (len(places[0]), len(places[1])) != (height, width):
        raise ValueError(
            f"expected places of {height} rows and {width} columns, got {[len(p) for p in places]}"
        )
    if any(int(first.diff().min()) < 0 for first, _ in tables):
        raise ValueError("expected places in ascending order")
    if int((tables[0][0][2:] - tables[0][0][:-2]).max()) > 1:
        raise ValueError("expected at least two large rows for a small one")
    return _synthesize(frame, (weight, rows, columns), small, of, tables, dilation, True, out)


def synthesize(
    frame: Tensor,
    weight: Tensor,
    rows: Tensor,
    columns: Tensor,
    dilation: int = 1,
    softmax: bool = False,
    out: Tensor | None = None,
) -> Tensor | None:
    """:func:`~tweenlet.ops.adacof.adacof` for taps (H, W, k*k) that lie pixel by pixel, without a gradient.

    With ``softmax`` the weights are given as logits. Otherwise as :func:`upsample_and_synthesize`.
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


def _places(places: Tensor, small: int) -> tuple[Tensor, Tensor]:
    """For each place, and one more at both ends: the first of the two that it is between, both's shares."""
    first = places.long().clamp(0, max(small - 2, 0))
    second = places - first
    shares = F.pad(torch.stack((1 - second, second), 1), (0, 0, 1, 1))  # zeros outside: the layers' padding
    first = torch.cat((first[:1], first, first[-1:]))
    return first.int().contiguous(), shares.float().contiguous()


def _synthesize(
    frame: Tensor,
    taps: tuple[Tensor, ...],
    shape: tuple[int, ...],
    of: PackedLayers | None,
    tables: list[tuple[Tensor, Tensor]],
    dilation: int,
    softmax: bool,
    out: Tensor | None,
) -> Tensor | None:
    if not compiled():
        return None
    height, width = frame.shape[1:]
    side = math.isqrt(shape[-1])
    made = empty((height, width, 3), frame.dtype, frame.device) if out is None else out
    for name, given, wanted in (
        *((name, x, shape) for name, x in zip(KINDS, taps, strict=True)),
        ("frame", frame, (3, height, width)),
        ("out", made, (height, width, 3)),
    ):
        if given.shape != wanted or given.dtype != torch.float32 or given.device.type != "cpu":
            raise ValueError(
                f"expected {name} of shape {tuple(wanted)}, float32, on the CPU; "
                f"got {tuple(given.shape)}, {given.dtype}, {given.device}"
            )
    if 0 in (*shape, height, width):
        raise ValueError(f"expected taps and a frame that are not empty, got {shape} and {(height, width)}")
    if side * side != shape[-1] or dilation < 1:
        raise ValueError(f"expected k*k taps and a dilation of at least 1, got {shape[-1]} and {dilation}")
    if made.stride(2) != 1 or made.stride(0) != width * made.stride(1):
        raise ValueError(f"expected pixels that follow on each other, got strides {made.stride()}")
    taps = tuple(x.contiguous() for x in taps)
    bordered = empty((height + 2, width + 2, 4), frame.dtype, frame.device)
    threads = torch.get_num_threads()
    loaded().pad_frame(frame, *frame.stride(), height, width, bordered, threads)
    told = [
        Positions(small, large, first, shares)
        for small, large, (first, shares) in zip(shape, (height, width), tables, strict=False)
    ] or [Positions(side, side, None, None) for side in (height, width)]
    kernels, bias = (None, None) if of is None else (of.kernels, of.bias)
    head = AdacofHead(side, dilation, softmax, taps, kernels, bias, *told, bordered, made, made.stride(1))
    loaded().adacof_head(head, threads)
    return made
