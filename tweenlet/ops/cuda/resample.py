"""Upsampling by 2 as one Triton kernel: :func:`tweenlet.ops.resample.upsample_8tap` on a CUDA device.

    program = a block of pixels of one plane: each is copied, and three more are sums of 8 neighbours along x,
    of 8 along y, and of 8 x 8; neighbours share their reads through the caches

Bytes for a pixel of float32: 4 to read, 16 to write. As PyTorch's operations it is two dozen passes.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from tweenlet.ops.cuda.blocks import block

PIXELS = 256
"""Pixels per program."""
WARPS = 4
"""Warps per program."""


def upsample_8tap(frame: Tensor, taps: Tensor) -> Tensor:
    """As :func:`tweenlet.ops.resample.upsample_8tap`."""
    batch, channels, height, width = frame.shape
    taps = taps.reshape(-1, 8).expand(channels, -1)
    out = torch.empty(batch, channels, 2 * height, 2 * width, dtype=frame.dtype, device=frame.device)
    with torch.cuda.device_of(frame):  # type: ignore[no-untyped-call]
        _kernel[(triton.cdiv(height * width, PIXELS), batch * channels)](
            frame.contiguous(), taps.contiguous(), out, channels, height, width, PIXELS=PIXELS,
            PRECISE=tl.float64 if frame.dtype == torch.float64 else tl.float32, num_warps=WARPS,
        )  # fmt: skip
    return out


@triton.jit
def _reflect_index(position: tl.tensor, size: int) -> tl.tensor:
    """Index of the pixel that stands for one beyond the border: its reflection; the last on a short side."""
    reflected = tl.where(
        position < 0, -position, tl.where(position < size, position, 2 * size - 2 - position)
    )
    return tl.where(size > 4, reflected, tl.minimum(tl.maximum(position, 0), size - 1))


@triton.jit
def _kernel(
    frame: tl.tensor, taps: tl.tensor, out: tl.tensor, channels: int, height: int, width: int,
    PIXELS: tl.constexpr, PRECISE: tl.constexpr,
) -> None:  # fmt: skip
    """A block of pixels of one plane."""
    plane, pixel, active, row, column = block(height, width, PIXELS)
    frame += plane * height * width
    taps += plane % channels * 8
    downwards = tl.zeros((PIXELS,), PRECISE)
    diagonal = downwards
    for down in range(8):
        line = frame + _reflect_index(row + down - 3, height) * width
        share = tl.load(taps + down).to(PRECISE)
        between = tl.zeros((PIXELS,), PRECISE)
        for right in range(8):
            there = tl.load(line + _reflect_index(column + right - 3, width), active, 0.0).to(PRECISE)
            between += tl.load(taps + right).to(PRECISE) * there
        downwards += share * tl.load(line + column, active, 0.0).to(PRECISE)
        diagonal += share * between
    to_the_right = tl.zeros((PIXELS,), PRECISE)
    for right in range(8):
        there = tl.load(frame + row * width + _reflect_index(column + right - 3, width), active, 0.0)
        to_the_right += tl.load(taps + right).to(PRECISE) * there.to(PRECISE)
    out += 4 * plane * height * width + 4 * row.to(tl.int64) * width + 2 * column
    tl.store(out, tl.load(frame + pixel, active, 0.0), active)
    tl.store(out + 1, to_the_right, active)
    tl.store(out + 2 * width, downwards, active)
    tl.store(out + 2 * width + 1, diagonal, active)
