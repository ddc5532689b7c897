"""Epilogue: what follows a convolution, in one pass over memory.

x, for each channel * scale + shift, + residual  -->  leaky activation  -->  x
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from tweenlet.ops.dispatch import FLOAT32_OR_BF16, kernel_for


def scale_shift_act_(
    x: Tensor,
    scale: Tensor,
    shift: Tensor | None = None,
    residual: Tensor | None = None,
    slope: float = 1.0,
) -> Tensor:
    """Overwrite ``x`` with ``leaky_relu(x * scale + shift + residual, slope)``; no gradient.

    Args:
        x: (B, C, ...). One channels_last sample takes a single pass on a CPU, others several.
        scale: C numbers, or B times C.
        shift: C numbers; None = no shift.
        residual: tensor of the shape of ``x``; None = none.
        slope: negative slope of the activation; 1 = no activation.

    Returns:
        ``x``.

    """
    like_x = (x,) if residual is None else (x, residual)
    run = (
        kernel_for(scale_shift_act_, *like_x, cpu_dtypes=FLOAT32_OR_BF16, channels_last=True)
        if len(x) == 1
        else None
    )
    if run is not None and all(t.shape == x.shape for t in like_x):
        return run(x, scale, shift, residual, slope)
    shape = (-1, x.shape[1], *[1] * (x.dim() - 2))
    x.mul_(scale.reshape(shape))
    for term in (None if shift is None else shift.reshape(shape), residual):
        if term is not None:
            x.add_(term)
    return x if slope == 1 else F.leaky_relu_(x, slope)
