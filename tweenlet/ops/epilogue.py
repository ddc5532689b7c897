"""Affine: scale and shift channels, add, and cut what is below zero, in one pass over memory.

x, for each channel * factor + shift, + added  -->  leaky activation  -->  x
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from tweenlet.ops.cpu import library as native


def affine_(
    x: Tensor, factors: Tensor, shifts: Tensor | None = None, added: Tensor | None = None, slope: float = 1.0
) -> Tensor:
    """Overwrite ``x`` (B, C, ...) with ``leaky_relu(x * factors + shifts + added, slope)``; no gradient.

    ``factors`` hold C numbers or B times C, ``shifts`` C; ``added`` has the shape of ``x``. One sample of
    float32 or bfloat16 on a CPU, channels last, is passed over once, in native code; others several times,
    by PyTorch.
    """
    channels = x.shape[1]
    form = torch.channels_last if x.dim() == 4 else torch.channels_last_3d
    library = native.library()
    if (
        library is not None
        and x.shape[0] == 1
        and x.dim() in (4, 5)
        and native.takes(x.dtype)
        and all(t is None or _alike(t, x, form) for t in (x, added))
    ):
        factors = factors.float().reshape(channels).contiguous()
        shifts = (
            torch.zeros_like(factors) if shifts is None else shifts.float().reshape(channels).contiguous()
        )
        library.scale_shift_act(
            x.dtype == torch.bfloat16,
            *(x, factors, shifts, added),
            slope,
            x.numel() // channels,
            channels,
            torch.get_num_threads(),
        )
        return x
    shape = (-1, channels, *[1] * (x.dim() - 2))
    x.mul_(factors.reshape(shape))
    for term in (None if shifts is None else shifts.reshape(shape), added):
        if term is not None:
            x.add_(term)
    return x if slope == 1 else F.leaky_relu_(x, slope)


def _alike(given: Tensor, x: Tensor, form: torch.memory_format) -> bool:
    """Whether native code can go over it as over ``x`` in memory."""
    return (
        given.device.type == "cpu"
        and given.dtype == x.dtype
        and given.shape == x.shape
        and given.is_contiguous(memory_format=form)
    )
