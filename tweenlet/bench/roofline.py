"""Roofline: what the machine can do at most, measured just now.

Multiply-adds at the rate of the first ceiling take one time, the numbers that the layers read and write
(:mod:`tweenlet.network.cost`) at the rate of the second another. The longer is the least that a part takes
while
layers run one after the other, unless a method needs fewer multiply-adds, as Winograd's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.nn import functional as F

from tweenlet.bench.clock import clock


@dataclass(frozen=True)
class Ceilings:
    """What the machine can do at most, measured just now."""

    convolution: float
    """10^9 multiply-adds a second of a 3x3 convolution, 64 to 64 channels, channels_last, 240x432. On a CUDA
    device of one of 256 to 256 channels, 16 times 128x128, or of a product of 8192x8192, the better one."""
    copy: float
    """10^9 bytes a second, read and written, of a copy of 128 MB; on a CUDA device 1 GB."""


def ceilings(dtype: torch.dtype, device: torch.device, rounds: int = 8) -> Ceilings:
    """The best of ``rounds`` of a convolution in ``dtype`` and of a copy."""
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
