"""AdaCoF as one Triton kernel: :func:`tweenlet.ops.adacof.adacof` without a gradient, on a CUDA device.

    frame (B, C, H, W) -> table (B, H, W, C up to a power of 2)    one pixel is one wide read
    taps, in whatever order of dimensions they lie in memory

    a program = a block of pixels:   weight, rows, columns of its pixels and some taps   (pixels, taps)
                                     four neighbours each, from the table                 (pixels, taps, C)
                                     mixed, weighted, summed over taps, on to the next    (pixels, C)

Bytes moved for one pixel, K = k*k taps, two bytes a value for taps and four for pictures: 6 K for the taps,
28 to make the table, 16 to read it once, 12 to write. K = 25 makes 206, of which the taps are 150: whatever
they pass through costs most, so that ``softmax`` takes the weights as a head leaves them, instead of writing
and reading them once more (100). A pixel reads 4 K neighbours, 1,600 bytes; nearby pixels read nearly the
same ones, so that these should come from the caches: the part to watch on a profile.

Taps that lie pixel by pixel (channels last, as convolutions leave them) are read all at once, and taps in
planes one after the other, so that either way what is read together lies together.
"""

from __future__ import annotations

import math

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.nn import functional as F

SAMPLES = 2048
"""Values per program of each of the four neighbours: pixels x taps x channels."""
MOST_PIXELS = 256
"""Most pixels per program."""
WARPS = 4
"""Warps per program."""


def adacof(
    frame: Tensor,
    weight: Tensor,
    rows: Tensor,
    columns: Tensor,
    dilation: int = 1,
    *,
    softmax: bool = False,
) -> Tensor:
    """As :func:`tweenlet.ops.adacof.adacof`, channels last; the same but for the order of the sum.

    The softmax runs in the same kernel. Inputs may have different floating dtypes; sums are float32 at least.
    No gradient; shapes are checked by the caller.
    """
    batch, channels, height, width = frame.shape
    taps = weight.shape[1]
    wide = triton.next_power_of_2(channels)
    table = F.pad(frame.permute(0, 2, 3, 1), (0, wide - channels)).contiguous()
    out = torch.empty((batch, height, width, channels), dtype=frame.dtype, device=frame.device)
    together = _together(weight)
    pixels = min(max(SAMPLES // (together * wide), 1), MOST_PIXELS)
    precise = tl.float64 if frame.dtype == torch.float64 else tl.float32
    # Triton launches on the device that PyTorch is at
    with torch.cuda.device_of(frame):  # type: ignore[no-untyped-call]
        _kernel[(triton.cdiv(height * width, pixels), batch)](
            table, weight, rows, columns, out,
            height, width, *weight.stride(), *rows.stride(), *columns.stride(),
            CHANNELS=channels, WIDE=wide, SIDE=math.isqrt(taps), DILATION=dilation, PIXELS=pixels,
            TOGETHER=together, SOFTMAX=softmax, PRECISE=precise, num_warps=WARPS,
        )  # fmt: skip
    return out.permute(0, 3, 1, 2)


def _together(weight: Tensor) -> int:
    """Taps of a pixel read at once: all if they are adjacent in memory, else one."""
    return int(triton.next_power_of_2(weight.shape[1])) if weight.stride(1) == 1 else 1


@triton.jit
def _kernel(
    table: tl.tensor, weight: tl.tensor, rows: tl.tensor, columns: tl.tensor, out: tl.tensor,
    height: int, width: int,
    weight_b: int, weight_t: int, weight_y: int, weight_x: int,
    rows_b: int, rows_t: int, rows_y: int, rows_x: int,
    columns_b: int, columns_t: int, columns_y: int, columns_x: int,
    CHANNELS: tl.constexpr, WIDE: tl.constexpr, SIDE: tl.constexpr, DILATION: tl.constexpr,
    PIXELS: tl.constexpr, TOGETHER: tl.constexpr, SOFTMAX: tl.constexpr, PRECISE: tl.constexpr,
) -> None:  # fmt: skip
    """One block of pixels of one sample; strides of batch (b), taps (t), rows (y) and columns (x)."""
    image = tl.program_id(1).to(tl.int64)
    number = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)
    pixel = tl.minimum(number, height * width - 1)  # the last one again, where the block ends beyond it
    y, x = pixel // width, pixel % width
    y_far, x_far = y.to(tl.int64)[:, None], x.to(tl.int64)[:, None]
    channel = tl.arange(0, WIDE)
    weight += image * weight_b + y_far * weight_y + x_far * weight_x
    rows += image * rows_b + y_far * rows_y + x_far * rows_x
    columns += image * columns_b + y_far * columns_y + x_far * columns_x
    table += image * height * width * WIDE

    total = tl.zeros((PIXELS, WIDE), PRECISE)
    highest = tl.full((PIXELS,), float("-inf"), PRECISE)
    norm = tl.zeros((PIXELS,), PRECISE)
    for first in range(0, SIDE * SIDE, TOGETHER):
        tap = (first + tl.arange(0, TOGETHER))[None, :]
        active = tap < SIDE * SIDE
        none = float("-inf") if SOFTMAX else 0.0
        share = tl.load(weight + tap * weight_t, active, none).to(PRECISE)
        row = tl.load(rows + tap * rows_t, active, 0.0).to(PRECISE)
        column = tl.load(columns + tap * columns_t, active, 0.0).to(PRECISE)
        if SOFTMAX:  # against the highest so far; what was summed before is brought down to it
            higher = tl.maximum(highest, tl.max(share, 1))
            share = tl.exp(share - higher[:, None])
            down = tl.exp(highest - higher)
            norm = norm * down + tl.sum(share, 1)
            total = total * down[:, None]
            highest = higher

        whole_row = tl.where(row < 0, tl.ceil(row), tl.floor(row))
        whole_column = tl.where(column < 0, tl.ceil(column), tl.floor(column))
        part_row, part_column = row - whole_row, column - whole_column
        reach = (SIDE - 1) * DILATION // 2
        place_row = (y[:, None] + tap // SIDE * DILATION - reach).to(PRECISE) + whole_row
        place_column = (x[:, None] + tap % SIDE * DILATION - reach).to(PRECISE) + whole_column
        top = tl.minimum(tl.maximum(place_row, -1.0), height - 1.0).to(tl.int32)
        left = tl.minimum(tl.maximum(place_column, -1.0), width - 1.0).to(tl.int32)
        for below in tl.static_range(2):
            line = tl.minimum(tl.maximum(top + below, 0), height - 1) * width
            by_row = share * (part_row if below else 1 - part_row)
            for right in tl.static_range(2):
                neighbour = line + tl.minimum(tl.maximum(left + right, 0), width - 1)
                place = neighbour[:, :, None].to(tl.int64) * WIDE + channel[None, None, :]
                samples = tl.load(table + place).to(PRECISE)
                by_both = by_row * (part_column if right else 1 - part_column)
                total += tl.sum(by_both[:, :, None] * samples, 1)
    if SOFTMAX:
        total = total / norm[:, None]
    target = (image * height * width + number)[:, None] * CHANNELS + channel[None, :]
    in_frame = (number < height * width)[:, None] & (channel < CHANNELS)[None, :]
    tl.store(out + target, total.to(out.dtype.element_ty), in_frame)
