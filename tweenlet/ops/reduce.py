"""Reductions over the pixels of images or volumes, in one pass over memory.

(B, C, ...)  -->  (B, C, 1, ...)
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from tweenlet.ops.dispatch import FLOAT32_OR_BF16, kernel_for


def channel_mean(x: Tensor) -> Tensor:
    """Mean of each channel of ``x`` (B, C, H, W) or (B, C, T, H, W), with size 1 in the other dimensions.

    Differentiable. One channels_last sample is summed by native code on a CPU, up to five times as fast as
    PyTorch.
    """
    run = _channel_sum_kernel(x)
    if run is None:
        return x.mean(tuple(range(2, x.dim())), keepdim=True)
    return (run(x) / x[0, 0].numel()).to(x.dtype)[(..., *[None] * (x.dim() - 2))]


def channel_sum(x: Tensor) -> Tensor:
    """Sum of each channel of ``x``, as in :func:`channel_mean`: (B, C), float64."""
    if (run := _channel_sum_kernel(x)) is not None:
        return run(x)
    return x.sum(tuple(range(2, x.dim())), dtype=torch.float64)


def _channel_sum_kernel(x: Tensor) -> Callable[[Tensor], Tensor] | None:
    if x.shape[0] != 1:
        return None
    return kernel_for(channel_sum, x, cpu_dtypes=FLOAT32_OR_BF16, channels_last=True)
