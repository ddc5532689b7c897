"""PReLU that learns: x, or a learnt slope times x below zero, with its gradient written out.

    gradient, x, slope  -->  gradient, times the slope below zero;  and summed up, times x below zero

PyTorch's own gradient on a CPU takes one number at a time. Native code makes both in one pass over memory
where pixels lie channels last; PyTorch in some more.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from tweenlet.ops.cpu import library as native


def prelu(x: Tensor, slope: Tensor) -> Tensor:
    """``F.prelu`` of (B, C, ...) with one slope or C of them, for learning on a CPU."""
    made: Tensor = _Learnt.apply(x, slope)  # type: ignore[no-untyped-call]
    return made


class _Learnt(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, x: Tensor, slope: Tensor) -> Tensor:
        out = F.prelu(x, slope)
        context.save_for_backward(x.to(out.dtype), slope)  # autocast may have made it shorter
        return out

    @staticmethod
    @once_differentiable
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        x, slope = context.saved_tensors
        rounded = slope.to(gradient.dtype)
        found = _by_native_code(gradient, x, rounded)
        for_x, for_slope = _by_pytorch(gradient, x, rounded) if found is None else found
        return for_x, for_slope.to(slope.dtype).view_as(slope)


def _by_pytorch(gradient: Tensor, x: Tensor, slope: Tensor) -> tuple[Tensor, Tensor]:
    shape = [-1 if axis == 1 else 1 for axis in range(x.dim())]
    above: Tensor = torch.ops.aten.threshold_backward(gradient, x, 0)
    for_x = torch.addcmul(above, gradient - above, slope.view(shape))
    others = [axis for axis in range(x.dim()) if axis != 1 or len(slope) == 1]
    return for_x, (gradient * x.clamp_max(0)).sum(others, dtype=torch.float64)  # large terms that cancel


def _by_native_code(gradient: Tensor, x: Tensor, slope: Tensor) -> tuple[Tensor, Tensor] | None:
    library = native.library()
    if (
        library is None
        or x.device.type != "cpu"
        or gradient.dtype != x.dtype
        or not native.takes(x.dtype)
        or x.dim() != 4
        or not x.is_contiguous(memory_format=torch.channels_last)
    ):
        return None
    channels, threads = x.shape[1], torch.get_num_threads()
    gradient = gradient.contiguous(memory_format=torch.channels_last)
    slopes = slope.float().expand(channels).contiguous()
    for_x = torch.empty_like(x)
    for_slopes = x.new_zeros(threads, channels, dtype=torch.float64)
    tensors = (gradient, x, slopes, for_x, for_slopes)
    library.prelu_backward(x.dtype == torch.bfloat16, *tensors, x.numel() // channels, channels, threads)
    return for_x, for_slopes.sum(0 if len(slope) > 1 else None)
