"""Resampling in C (csrc/resample.c)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from tweenlet.ops.cpu.arena import empty, empty_channels_last
from tweenlet.ops.cpu.library import require_library


def downsample(frame: Tensor, kernel: Tensor) -> Tensor:
    """As :func:`tweenlet.ops.resample.downsample`: the blur and the mean are one kernel of 6x6."""
    square = F.pad(kernel.reshape(-1, 1, 5, 5), (1, 1, 1, 1))
    blur_and_mean = F.avg_pool2d(square, 2, 1).flatten(1)
    return _resize(
        frame, require_library().downsample, blur_and_mean, [side // 2 for side in frame.shape[2:]]
    )


def upsample_8tap(frame: Tensor, taps: Tensor) -> Tensor:
    """As :func:`tweenlet.ops.resample.upsample_8tap`."""
    return _resize(
        frame, require_library().upsample_8tap, taps.reshape(-1, 8), [2 * side for side in frame.shape[2:]]
    )


def avg_pool2(x: Tensor) -> Tensor:
    """As :func:`tweenlet.ops.resample.avg_pool2`, for planes, or for pixels evenly far apart."""
    batch, channels, height, width = x.shape
    size, threads = (-(-height // 2), -(-width // 2)), torch.get_num_threads()
    if x.is_contiguous():
        pooled = x.new_empty(batch, channels, *size)
        require_library().avg_pool2(x, pooled, batch * channels, height, width, 1, threads)
        return pooled
    pixel = x.stride(3)  # with what lies between pixels, which are as far apart in the result
    pooled = empty_channels_last((batch, pixel, *size), x.dtype, x.device)
    require_library().avg_pool2(x, pooled, batch, height, width, pixel, threads)
    return pooled[:, :channels]


def box_blur(x: Tensor, side: int) -> Tensor:
    """As :func:`tweenlet.ops.resample.box_blur`."""
    batch, channels, height, width = x.shape
    blurred, threads = x.new_empty(x.shape), torch.get_num_threads()
    require_library().box_blur(x.contiguous(), blurred, batch * channels, side, height, width, threads)
    return blurred


def upsample_rows(x: Tensor, start: int, end: int) -> Tensor:
    """As :func:`tweenlet.ops.resample.upsample_rows`, for (B, C, h, w) channels_last."""
    batch, channels, height, width = x.shape
    rows = empty_channels_last((batch, channels, end - start, 2 * width), x.dtype, x.device)
    sizes = (batch, height, width, channels, start, end, torch.get_num_threads())
    require_library().upsample_rows(x.dtype == torch.bfloat16, x, rows, *sizes)
    return rows


def _resize(frame: Tensor, call: Callable[..., None], kernels: Tensor, size: Sequence[int]) -> Tensor:
    """``frame`` (B, C, H, W) at another ``size``; one kernel, or one for each channel."""
    batch, channels, height, width = frame.shape
    if not min(size):
        raise ValueError(f"expected frames of at least two pixels a side, got {width}x{height}")
    resized = empty((batch, channels, *size), frame.dtype, frame.device)
    inputs = (frame.contiguous(), kernels.expand(channels, -1).contiguous())
    call(*inputs, resized, batch * channels, channels, height, width, torch.get_num_threads())
    return resized
