"""Cost volume: how well each pixel of one feature map matches its neighbours in another.

first, second (B, C, H, W)  ->  (B, 81, H, W), channel t = displacement (t % 9 - 4, t // 9 - 4) = (dx, dy)
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from tweenlet.ops.dispatch import kernel_for

REACH = 4
"""Largest displacement in each direction, in pixels."""
MATCHES = (2 * REACH + 1) ** 2
"""Number of displacements, which are the channels of the result."""


def correlation(first: Tensor, second: Tensor) -> Tensor:
    """Mean over channels of first(p) * second(p + d) for the 81 displacements d; zero outside the frame.

    Two tensors (B, C, H, W) -> (B, 81, H, W), channels_last if a kernel computes it. Differentiable in both.
    ValueError if the shapes differ.
    """
    if first.shape != second.shape:
        raise ValueError(
            f"expected two feature maps of one shape, got {tuple(first.shape)} and {tuple(second.shape)}"
        )
    if first.dim() == 4 and (run := kernel_for(correlation, first, second)) is not None:
        return run(first, second)
    around = F.pad(second, (REACH,) * 4)
    if torch.is_grad_enabled() and (first.requires_grad or second.requires_grad):
        made: Tensor = _Learnt.apply(first, around)  # type: ignore[no-untyped-call]
        return made
    return torch.stack([(first * there).mean(1) for there in _displaced(around)], 1)


def _displaced(around: Tensor) -> list[Tensor]:
    """The 81 displaced views (B, C, H, W) of (B, C, H + 8, W + 8)."""
    height, width = (side - 2 * REACH for side in around.shape[-2:])
    steps = range(2 * REACH + 1)
    return [around[..., y : y + height, x : x + width] for y in steps for x in steps]


class _Learnt(torch.autograd.Function):
    """The plain cost volume of (B, C, H, W) and padded features, with gradients accumulated in place."""

    @staticmethod
    def forward(context: Any, first: Tensor, around: Tensor) -> Tensor:
        context.save_for_backward(first, around)
        return torch.stack([(first * there).mean(1) for there in _displaced(around)], 1)

    @staticmethod
    @once_differentiable
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        saved = context.saved_tensors
        precise = torch.promote_types(gradient.dtype, torch.float32)
        first, around = (x.to(precise).contiguous() for x in saved)
        shares = (gradient.to(precise) / first.shape[1]).contiguous().split(1, 1)
        for_first, for_around = torch.zeros_like(first), torch.zeros_like(around)
        for share, there, for_there in zip(shares, _displaced(around), _displaced(for_around), strict=True):
            for_first.addcmul_(share, there)
            for_there.addcmul_(share, first)
        return for_first.to(saved[0].dtype), for_around.to(saved[1].dtype)
