"""Affine: scale and shift channels, add, and cut what is below zero, in one pass over memory.

x, for each channel * factor + shift, + added  -->  leaky activation  -->  x
"""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor
from torch.nn import functional as F

from tweenlet import native


def affine_(
    x: Tensor, factors: Tensor, shifts: Tensor | None = None, added: Tensor | None = None, slope: float = 1.0
) -> Tensor:
    """Overwrite ``x`` (B, C, ...) with ``leaky_relu(x * factors + shifts + added, slope)``; no gradient.

    ``factors`` hold C numbers or B times C, ``shifts`` C; ``added`` has the shape of ``x``. One sample of
    float32 on a CPU, channels last, is passed over once, in native code; others several times, by PyTorch.
    """
    channels = x.shape[1]
    form = torch.channels_last if x.dim() == 4 else torch.channels_last_3d
    library = native.library()
    if (
        library is not None
        and x.shape[0] == 1
        and x.dim() in (4, 5)
        and all(
            t is None or (t.device.type == "cpu" and t.dtype == torch.float32)
            for t in (x, factors, shifts, added)
        )
        and all(t is None or (t.shape == x.shape and t.is_contiguous(memory_format=form)) for t in (x, added))
    ):
        factors = factors.reshape(channels).contiguous()
        shifts = torch.zeros_like(factors) if shifts is None else shifts.reshape(channels).contiguous()
        tensors = (ctypes.c_void_p(None if t is None else t.data_ptr()) for t in (x, factors, shifts, added))
        library.affine(
            *tensors,
            ctypes.c_float(slope),
            ctypes.c_long(x.numel() // channels),
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
