"""Backward warping as one Triton kernel: :func:`tweenlet.ops.warp.backwarp` on a CUDA device.

    program = a block of pixels: positions are computed once, then sampled channel by channel

As PyTorch's operations it is a dozen passes for the grid before anything is sampled.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from tweenlet.ops.cuda.blocks import bilinear, block

PIXELS = 256
"""Pixels per program."""
WARPS = 4
"""Warps per program."""


def backwarp(source: Tensor, flow: Tensor) -> Tensor:
    """As :func:`tweenlet.ops.warp.backwarp`; the result has the strides of the source."""
    batch, channels, height, width = source.shape
    result = torch.empty_like(source)
    precise = torch.promote_types(source.dtype, torch.float32)
    with torch.cuda.device_of(source):  # type: ignore[no-untyped-call]
        _kernel[(triton.cdiv(height * width, PIXELS), batch)](
            source, flow, result, height, width, *source.stride(), *flow.stride(), *result.stride(),
            CHANNELS=channels, PIXELS=PIXELS,
            PRECISE=tl.float64 if precise == torch.float64 else tl.float32, num_warps=WARPS,
        )  # fmt: skip
    return result


@triton.jit
def _kernel(
    source: tl.tensor, flow: tl.tensor, result: tl.tensor, height: int, width: int,
    source_b: int, source_c: int, source_y: int, source_x: int,
    flow_b: int, flow_c: int, flow_y: int, flow_x: int,
    result_b: int, result_c: int, result_y: int, result_x: int,
    CHANNELS: tl.constexpr, PIXELS: tl.constexpr, PRECISE: tl.constexpr,
) -> None:  # fmt: skip
    """One block of pixels of one sample; strides of batch (b), channels (c), rows (y) and columns (x)."""
    image, _, active, row, column = block(height, width, PIXELS)
    flow += image * flow_b + row.to(tl.int64) * flow_y + column.to(tl.int64) * flow_x
    x = column.to(PRECISE) + tl.load(flow, active, 0.0).to(PRECISE)
    y = row.to(PRECISE) + tl.load(flow + flow_c, active, 0.0).to(PRECISE)
    x, y = tl.minimum(tl.maximum(x, 0.0), width - 1.0), tl.minimum(tl.maximum(y, 0.0), height - 1.0)
    left, top = tl.floor(x), tl.floor(y)
    source += image * source_b
    result += image * result_b + row.to(tl.int64) * result_y + column.to(tl.int64) * result_x
    for _ in range(CHANNELS):
        fetched = bilinear(
            source, top.to(tl.int64), left.to(tl.int64), y - top, x - left, active, height, width,
            source_y, source_x,
        )  # fmt: skip
        tl.store(result, fetched, active)
        source += source_c
        result += result_c
