"""Sums over pixels in C (csrc/reduce.c)."""

from __future__ import annotations

import torch
from torch import Tensor

from tweenlet.ops.cpu.library import require_library


def channel_sum(x: Tensor) -> Tensor:
    """As :func:`tweenlet.ops.reduce.channel_sum`, for one sample."""
    channels, threads = x.shape[1], torch.get_num_threads()
    sums = x.new_zeros(threads, channels, dtype=torch.float64)
    require_library().channel_sum(x.dtype == torch.bfloat16, x, sums, x[0, 0].numel(), channels, threads)
    return sums.sum(0, keepdim=True)
