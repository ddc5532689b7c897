"""Splatting as one Triton kernel: :mod:`tweenlet.ops.splat` without a gradient, on a CUDA device.

    values (B, C, H, W), flow (B, 2, H, W), metric (B, 1, H, W) or none
        |
        program = a block of pixels:  read each once -- x exp(metric) -- to four pixels, added by atomics
        |
    total (B, H, W, C, and the sum of exp(metric) as one more), float32     -- divided --> (B, C, H, W)

Bytes moved for one pixel of C float32 values: 4 C + 8 (+ 4) to read, 4 W to clear the total, where W is C
(+ 1) up to a power of 2, and four additions of 4 W each. These meet in the L2 cache where flow is smooth,
since neighbours land on neighbours: 4 W written in the end, 16 W if nothing meets. W, not C, because a Hopper
adds four floats that lie together at once. The plain op writes and reads rows, shares and places for each of
the four.

What lands on one pixel is added in the order of arrival: repeated runs differ by rounding.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from tweenlet.ops.cuda.blocks import block

PIXELS = 128
"""Pixels per program."""
WARPS = 4
"""Warps per program."""


def splat(frame: Tensor, flow: Tensor, metric: Tensor) -> Tensor:
    """As :func:`tweenlet.ops.splat.splat`. No gradient; shapes are checked by the caller."""
    total = _splat_sums(frame, flow, metric)
    normaliser = total[:, -1:]
    return (total[:, :-1] / torch.where(normaliser == 0, 1.0, normaliser)).to(frame.dtype)


def splat_sum(values: Tensor, flow: Tensor) -> Tensor:
    """As :func:`tweenlet.ops.splat.splat_sum`, with sums in float32 at least. No gradient."""
    return _splat_sums(values, flow, None).to(values.dtype)


def _splat_sums(values: Tensor, flow: Tensor, metric: Tensor | None) -> Tensor:
    """Sums (B, C, H, W), channels_last; with a ``metric``, one channel more with the sum of its exp."""
    batch, channels, height, width = values.shape
    precise = torch.promote_types(values.dtype, torch.float32)
    weight = values if metric is None else metric  # without a metric it is not read
    outputs = channels if metric is None else channels + 1
    wide = triton.next_power_of_2(outputs)
    total = torch.zeros((batch, height, width, wide), dtype=precise, device=values.device)
    # Triton launches on the device that PyTorch is at
    with torch.cuda.device_of(values):  # type: ignore[no-untyped-call]
        _kernel[(triton.cdiv(height * width, PIXELS), batch)](
            values, flow, weight, total, height, width, *values.stride(), *flow.stride(),
            weight.stride(0), weight.stride(2), weight.stride(3), PIXELS=PIXELS,
            CHANNELS=channels, WIDE=wide, WEIGHTED=metric is not None,
            PRECISE=tl.float64 if precise == torch.float64 else tl.float32, num_warps=WARPS,
        )  # fmt: skip
    return total[..., :outputs].permute(0, 3, 1, 2)


@triton.jit
def _kernel(
    values: tl.tensor, flow: tl.tensor, metric: tl.tensor, total: tl.tensor, height: int, width: int,
    values_b: int, values_c: int, values_y: int, values_x: int,
    flow_b: int, flow_c: int, flow_y: int, flow_x: int,
    metric_b: int, metric_y: int, metric_x: int,
    PIXELS: tl.constexpr, CHANNELS: tl.constexpr, WIDE: tl.constexpr, WEIGHTED: tl.constexpr,
    PRECISE: tl.constexpr,
) -> None:  # fmt: skip
    """One block of pixels of one sample; strides of batch (b), channels (c), rows (y) and columns (x)."""
    image, _, active, y, x = block(height, width, PIXELS)
    y_far, x_far = y.to(tl.int64), x.to(tl.int64)
    channel = tl.arange(0, WIDE)[None, :]
    flow += image * flow_b + y_far * flow_y + x_far * flow_x
    x_there = x.to(PRECISE) + tl.load(flow, active, 0.0).to(PRECISE)
    y_there = y.to(PRECISE) + tl.load(flow + flow_c, active, 0.0).to(PRECISE)
    here = values + image * values_b + y_far * values_y + x_far * values_x
    value = tl.load(here[:, None] + channel * values_c, active[:, None] & (channel < CHANNELS), 1.0).to(
        PRECISE
    )
    if WEIGHTED:  # the channel after the last is 1, and sums the weights
        weight = tl.load(metric + image * metric_b + y_far * metric_y + x_far * metric_x, active, 0.0)
        value = value * tl.exp(weight.to(PRECISE))[:, None]
    left, top = tl.floor(x_there), tl.floor(y_there)
    to_right, to_below = x_there - left, y_there - top
    total += image * height * width * WIDE
    for below in tl.static_range(2):
        row = top + below
        by_row = to_below if below else 1 - to_below
        for right in tl.static_range(2):
            column = left + right
            share = by_row * (to_right if right else 1 - to_right)
            in_frame = active & (row >= 0) & (row < height) & (column >= 0) & (column < width)
            # in floats first: a place far beyond the frame has no integer
            line = tl.where(in_frame, row, 0.0).to(tl.int64) * width
            target = (line + tl.where(in_frame, column, 0.0).to(tl.int64)) * WIDE
            tl.atomic_add(
                total + target[:, None] + channel, value * share[:, None], in_frame[:, None], sem="relaxed"
            )
