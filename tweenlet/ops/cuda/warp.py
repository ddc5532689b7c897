"""Sampling where flow points as one Triton kernel: :func:`tweenlet.ops.warp.backwarp` on a CUDA device.

    program = a block of pixels: where each points is found once, then read channel by channel

As PyTorch's operations it is a grid made in a dozen passes before anything is sampled.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from tweenlet.ops.cuda.blocks import bilinear, block

PIXELS = 256
"""Of a program."""
WARPS = 4
"""Of 32 threads each, to a program."""


def backwarp(source: Tensor, flow: Tensor, out: Tensor | None = None) -> Tensor:
    """As :func:`tweenlet.ops.warp.backwarp`; without ``out`` the result lies as the source does."""
    batch, channels, height, width = source.shape
    made = torch.empty_like(source)
    precise = torch.promote_types(source.dtype, torch.float32)
    with torch.cuda.device_of(source):  # type: ignore[no-untyped-call]
        _kernel[(triton.cdiv(height * width, PIXELS), batch)](
            source, flow, made, height, width, *source.stride(), *flow.stride(), *made.stride(),
            CHANNELS=channels, PIXELS=PIXELS,
            PRECISE=tl.float64 if precise == torch.float64 else tl.float32, num_warps=WARPS,
        )  # fmt: skip
    return made if out is None else out.copy_(made)


@triton.jit
def _kernel(
    source: tl.tensor, flow: tl.tensor, made: tl.tensor, height: int, width: int,
    source_b: int, source_c: int, source_y: int, source_x: int,
    flow_b: int, flow_c: int, flow_y: int, flow_x: int,
    made_b: int, made_c: int, made_y: int, made_x: int,
    CHANNELS: tl.constexpr, PIXELS: tl.constexpr, PRECISE: tl.constexpr,
) -> None:  # fmt: skip
    """A block of pixels of one sample; strides are those of batch, channels, rows and columns."""
    image, _, known, row, column = block(height, width, PIXELS)
    flow += image * flow_b + row.to(tl.int64) * flow_y + column.to(tl.int64) * flow_x
    x = column.to(PRECISE) + tl.load(flow, known, 0.0).to(PRECISE)
    y = row.to(PRECISE) + tl.load(flow + flow_c, known, 0.0).to(PRECISE)
    x, y = tl.minimum(tl.maximum(x, 0.0), width - 1.0), tl.minimum(tl.maximum(y, 0.0), height - 1.0)
    left, top = tl.floor(x), tl.floor(y)
    source += image * source_b
    made += image * made_b + row.to(tl.int64) * made_y + column.to(tl.int64) * made_x
    for _ in range(CHANNELS):
        fetched = bilinear(
            source, top.to(tl.int64), left.to(tl.int64), y - top, x - left, known, height, width,
            source_y, source_x,
        )  # fmt: skip
        tl.store(made, fetched, known)
        source += source_c
        made += made_c
