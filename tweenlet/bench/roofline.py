"""Roofline: the limits of this machine, measured.

The multiply-adds of a part at the rate of the first ceiling take one time, and the numbers that its layers
read and write (:mod:`tweenlet.network.cost`) at the rate of the second another. The longer one is a lower
bound for the part while layers run one after the other, unless a method such as Winograd's needs fewer
multiply-adds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.nn import functional as F

from tweenlet.bench.clock import clock


@dataclass(frozen=True)
class Ceilings:
    """Measured limits of the machine."""

    convolution: float
    """10^9 multiply-adds per second of a 3x3 convolution, 64 to 64 channels, channels_last, 240x432. On a
    CUDA device, the better of one with 256 channels on 16 x 128x128 and a matrix product of 8192x8192."""
    copy: float
    """10^9 bytes per second, read and written, of a copy of 128 MB; 1 GB on a CUDA device."""


def ceilings(dtype: torch.dtype, device: torch.device, rounds: int = 8) -> Ceilings:
    """Time a convolution in ``dtype`` and a copy; the best of ``rounds`` counts."""
    wide = device.type == "cuda"
    batch, channels, height, width = (16, 256, 128, 128) if wide else (1, 64, 240, 432)
    x = torch.rand(batch, channels, height, width, device=device)
    weight = torch.rand(channels, channels, 3, 3, device=device)
    x, weight = (t.to(dtype, memory_format=torch.channels_last) for t in (x, weight))
    source = torch.rand(1 << (28 if wide else 25), device=device)
    target = torch.empty_like(source)

    def best(work: Callable[[], object]) -> float:
        wall: list[float] = []
        for _ in range(rounds):
            with clock(wall, [], device):
                work()
        return min(wall)

    with torch.inference_mode():
        convolution = best(lambda: F.conv2d(x, weight, padding=1))
        copy = best(lambda: target.copy_(source))
        rate = 9 * batch * channels * channels * height * width / convolution
        if wide:
            square = torch.rand(8192, 8192, device=device).to(dtype)
            rate = max(rate, 8192**3 / best(lambda: square @ square))
    return Ceilings(rate / 1e9, 2 * source.nbytes / copy / 1e9)
