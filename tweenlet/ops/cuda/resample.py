"""Doubling a frame as one Triton kernel: :func:`tweenlet.ops.resample.upsample_8tap` on a CUDA device.

    program = a block of pixels of one plane: each is written itself, and the three after it: sums of 8
    neighbours along x, of 8 along y, and of 8 x 8; what neighbours share comes from the caches

Bytes for a pixel of float32: 4 to read, 16 to write. As PyTorch's operations it is two dozen passes.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from tweenlet.ops.cuda.blocks import block

PIXELS = 256
"""Of a program."""
WARPS = 4
"""Of 32 threads each, to a program."""


def upsample_8tap(frame: Tensor, taps: Tensor) -> Tensor:
    """As :func:`tweenlet.ops.resample.upsample_8tap`."""
    batch, channels, height, width = frame.shape
    taps = taps.reshape(-1, 8).expand(channels, -1)
    made = torch.empty(batch, channels, 2 * height, 2 * width, dtype=frame.dtype, device=frame.device)
    with torch.cuda.device_of(frame):  # type: ignore[no-untyped-call]
        _kernel[(triton.cdiv(height * width, PIXELS), batch * channels)](
            frame.contiguous(), taps.contiguous(), made, channels, height, width, PIXELS=PIXELS,
            PRECISE=tl.float64 if frame.dtype == torch.float64 else tl.float32, num_warps=WARPS,
        )  # fmt: skip
    return made


@triton.jit
def _inside(place: tl.tensor, size: int) -> tl.tensor:
    """Which pixel stands for one beyond the border: its reflection, or the last where a side is too short."""
    reflected = tl.where(place < 0, -place, tl.where(place < size, place, 2 * size - 2 - place))
    return tl.where(size > 4, reflected, tl.minimum(tl.maximum(place, 0), size - 1))


@triton.jit
def _kernel(
    frame: tl.tensor, taps: tl.tensor, made: tl.tensor, channels: int, height: int, width: int,
    PIXELS: tl.constexpr, PRECISE: tl.constexpr,
) -> None:  # fmt: skip
    """A block of pixels of one plane."""
    plane, pixel, known, row, column = block(height, width, PIXELS)
    frame += plane * height * width
    taps += plane % channels * 8
    below = tl.zeros((PIXELS,), PRECISE)
    across = below
    for down in range(8):
        line = frame + _inside(row + down - 3, height) * width
        share = tl.load(taps + down).to(PRECISE)
        between = tl.zeros((PIXELS,), PRECISE)
        for right in range(8):
            there = tl.load(line + _inside(column + right - 3, width), known, 0.0).to(PRECISE)
            between += tl.load(taps + right).to(PRECISE) * there
        below += share * tl.load(line + column, known, 0.0).to(PRECISE)
        across += share * between
    beside = tl.zeros((PIXELS,), PRECISE)
    for right in range(8):
        there = tl.load(frame + row * width + _inside(column + right - 3, width), known, 0.0)
        beside += tl.load(taps + right).to(PRECISE) * there.to(PRECISE)
    made += 4 * plane * height * width + 4 * row.to(tl.int64) * width + 2 * column
    tl.store(made, tl.load(frame + pixel, known, 0.0), known)
    tl.store(made + 1, beside, known)
    tl.store(made + 2 * width, below, known)
    tl.store(made + 2 * width + 1, across, known)
