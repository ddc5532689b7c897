"""AdaCoF for training, in C (csrc/adacof.c)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from tweenlet.ops.adacof import MAX_CHANNELS
from tweenlet.ops.cpu.bindings import Strided, Taps
from tweenlet.ops.cpu.library import require_library


def adacof_forward(frame: Tensor, weight: Tensor, rows: Tensor, columns: Tensor, dilation: int) -> Tensor:
    """As :func:`tweenlet.ops.adacof.adacof_forward`."""
    out = torch.empty_like(frame)
    taps = _pack(frame, (weight, rows, columns), dilation)
    require_library().adacof_forward(taps, Strided(out, *out.stride()), torch.get_num_threads())
    return out


def adacof_backward(
    gradient: Tensor, frame: Tensor, taps: Sequence[Tensor], dilation: int, for_taps: Sequence[Tensor]
) -> None:
    """As :func:`tweenlet.ops.adacof.adacof_backward`."""
    gradients = [torch.empty(x.shape) for x in for_taps]
    packed = _pack(frame, taps, dilation)
    threads = torch.get_num_threads()
    require_library().adacof_backward(packed, Strided(gradient, *gradient.stride()), *gradients, threads)
    for whole, part in zip(for_taps, gradients, strict=True):
        whole.copy_(part)


def _pack(frame: Tensor, taps: Sequence[Tensor], dilation: int) -> Taps:
    """A frame with replicated border, and its taps, channels_last in float32."""
    batch, channels, height, width = frame.shape
    bordered = F.pad(frame, (1, 1, 1, 1), mode="replicate").permute(0, 2, 3, 1)
    inputs = [F.pad(bordered, (0, MAX_CHANNELS - channels)), *(x.permute(0, 2, 3, 1).float() for x in taps)]
    side = math.isqrt(taps[0].shape[1])
    return Taps(side, dilation, batch, channels, height, width, *(x.contiguous() for x in inputs))
