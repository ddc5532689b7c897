"""The epilogue in C (csrc/epilogue.c): one pass over memory."""

from __future__ import annotations

import torch
from torch import Tensor

from tweenlet.ops.cpu.library import require_library


def scale_shift_act_(
    x: Tensor,
    scale: Tensor,
    shift: Tensor | None = None,
    residual: Tensor | None = None,
    slope: float = 1.0,
) -> Tensor:
    """As :func:`tweenlet.ops.epilogue.scale_shift_act_`, for one sample."""
    channels = x.shape[1]
    scale = scale.float().reshape(channels).contiguous()
    shift = torch.zeros_like(scale) if shift is None else shift.float().reshape(channels).contiguous()
    sizes = (x.numel() // channels, channels, torch.get_num_threads())
    require_library().scale_shift_act(x.dtype == torch.bfloat16, x, scale, shift, residual, slope, *sizes)
    return x
