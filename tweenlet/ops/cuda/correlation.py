"""The cost volume as one Triton kernel: :mod:`tweenlet.ops.correlation` without a gradient, on a CUDA device.

    program = a block of pixels and the nine displacements of one dy: channel by channel, one value of
    the first map times nine of the second, summed in float32

As PyTorch's operations it is 81 products and means; at coarse levels their launches take longer than they do.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from tweenlet.ops.correlation import MATCHES, REACH

PIXELS = 64
"""Pixels per program."""
WARPS = 4
"""Warps per program."""


def correlation(first: Tensor, second: Tensor) -> Tensor:
    """As :func:`tweenlet.ops.correlation.correlation`, channels_last; shapes are checked by the caller."""
    batch, channels, height, width = first.shape
    across = 2 * REACH + 1
    dtype = torch.promote_types(first.dtype, second.dtype)
    out = torch.empty(batch, height, width, MATCHES, dtype=dtype, device=first.device)
    with torch.cuda.device_of(first):  # type: ignore[no-untyped-call]
        _kernel[(triton.cdiv(height * width, PIXELS), across, batch)](
            first, second, out, height, width, *first.stride(), *second.stride(),
            CHANNELS=channels, PIXELS=PIXELS, REACH=REACH, WIDE=triton.next_power_of_2(across),
            PRECISE=tl.float64 if dtype == torch.float64 else tl.float32, num_warps=WARPS,
        )  # fmt: skip
    return out.permute(0, 3, 1, 2)


@triton.jit
def _kernel(
    first: tl.tensor, second: tl.tensor, out: tl.tensor, height: int, width: int,
    first_b: int, first_c: int, first_y: int, first_x: int,
    second_b: int, second_c: int, second_y: int, second_x: int,
    CHANNELS: tl.constexpr, PIXELS: tl.constexpr, REACH: tl.constexpr, WIDE: tl.constexpr,
    PRECISE: tl.constexpr,
) -> None:  # fmt: skip
    """One block of pixels of one sample; strides of batch (b), channels (c), rows (y) and columns (x)."""
    image = tl.program_id(2).to(tl.int64)
    pixel = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)
    active = pixel < height * width
    row, column = pixel // width, pixel % width
    step = tl.arange(0, WIDE)[None, :]
    there_row = row + tl.program_id(1) - REACH
    there_column = column[:, None] + step - REACH
    valid = active[:, None] & (step <= 2 * REACH)
    there = valid & (there_row >= 0)[:, None] & (there_row < height)[:, None]
    there = there & (there_column >= 0) & (there_column < width)
    first += image * first_b + row.to(tl.int64) * first_y + column.to(tl.int64) * first_x
    second += image * second_b + there_row.to(tl.int64)[:, None] * second_y
    second += there_column.to(tl.int64) * second_x
    total = tl.zeros((PIXELS, WIDE), PRECISE)
    for _ in range(CHANNELS):
        own = tl.load(first, active, 0.0).to(PRECISE)
        total += own[:, None] * tl.load(second, there, 0.0).to(PRECISE)
        first += first_c
        second += second_c
    across = 2 * REACH + 1
    target = (image * height * width + pixel)[:, None] * (across * across) + tl.program_id(1) * across + step
    tl.store(out + target, total / CHANNELS, valid)
