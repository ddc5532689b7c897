"""PReLU for training, with an explicit gradient: x, or a learnt slope times x below zero.

    gradient, x, slope  -->  gradient, times the slope below zero;  and summed up, times x below zero

PyTorch's own gradient on a CPU is scalar code. For channels_last tensors, native code computes both gradients
in one pass over memory; plain PyTorch takes several.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from tweenlet.ops.dispatch import FLOAT32_OR_BF16, kernel_for


def prelu(x: Tensor, slope: Tensor) -> Tensor:
    """``F.prelu`` of ``x`` (B, C, ...) with ``slope`` (1,) or (C,), for training on a CPU."""
    activated: Tensor = _PReLU.apply(x, slope)  # type: ignore[no-untyped-call]
    return activated


class _PReLU(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, x: Tensor, slope: Tensor) -> Tensor:
        out = F.prelu(x, slope)
        context.save_for_backward(x.to(out.dtype), slope)  # autocast may have made it shorter
        return out

    @staticmethod
    @once_differentiable
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        x, slope = context.saved_tensors
        for_x, for_slope = prelu_backward(gradient, x, slope.to(gradient.dtype))
        return for_x, for_slope.to(slope.dtype).view_as(slope)


def prelu_backward(gradient: Tensor, x: Tensor, slope: Tensor) -> tuple[Tensor, Tensor]:
    """The gradients of :func:`prelu` for ``x`` (B, C, ...), like it, and for ``slope``, float64."""
    if x.dim() == 4 and gradient.dtype == x.dtype:
        run = kernel_for(prelu_backward, x, cpu_dtypes=FLOAT32_OR_BF16, channels_last=True)
        if run is not None:
            return run(gradient, x, slope)
    shape = [-1 if axis == 1 else 1 for axis in range(x.dim())]
    above: Tensor = torch.ops.aten.threshold_backward(gradient, x, 0)
    for_x = torch.addcmul(above, gradient - above, slope.view(shape))
    others = [axis for axis in range(x.dim()) if axis != 1 or len(slope) == 1]
    return for_x, (gradient * x.clamp_max(0)).sum(others, dtype=torch.float64)  # large terms that cancel
