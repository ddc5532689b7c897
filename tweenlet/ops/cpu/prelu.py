"""The gradient of PReLU in C (csrc/prelu.c): both of its parts in one pass over memory."""

from __future__ import annotations

import torch
from torch import Tensor

from tweenlet.ops.cpu.library import require_library


def prelu_backward(gradient: Tensor, x: Tensor, slope: Tensor) -> tuple[Tensor, Tensor]:
    """As :func:`tweenlet.ops.prelu.prelu_backward`, for (B, C, H, W)."""
    channels, threads = x.shape[1], torch.get_num_threads()
    gradient = gradient.contiguous(memory_format=torch.channels_last)
    slopes = slope.float().expand(channels).contiguous()
    for_x = torch.empty_like(x)
    for_slopes = x.new_zeros(threads, channels, dtype=torch.float64)
    tensors = (gradient, x, slopes, for_x, for_slopes)
    sizes = (x.numel() // channels, channels, threads)
    require_library().prelu_backward(x.dtype == torch.bfloat16, *tensors, *sizes)
    return for_x, for_slopes.sum(0 if len(slope) > 1 else None)
