"""Losses between a prediction and the truth, by name. All take (B, 3, H, W) in [0, 1] and are mean-reduced.

LOSSES["laplacian"](prediction, truth) -> scalar
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from tweenlet.ops.pyramid import laplacian_pyramid

Loss = Callable[[Tensor, Tensor], Tensor]


def laplacian(prediction: Tensor, truth: Tensor) -> Tensor:
    """L1 between the bands of two 5-level Laplacian pyramids, band i weighted by 2^i.

    The published loss sums over everything; this one is that divided by the number of values in the truth
    (B * 3 * H * W), so that neither batch size nor crop changes it. Any H and W; the published one takes
    multiples of 16.
    """
    bands = laplacian_pyramid(prediction - truth)  # the pyramid is linear
    total = sum(
        (2.0**level * band.abs().sum() for level, band in enumerate(bands)), torch.zeros(()).to(truth)
    )
    return total / truth.numel()


def charbonnier(prediction: Tensor, truth: Tensor) -> Tensor:
    """Mean of sqrt(d^2 + 0.001^2): L1, smooth at zero."""
    return ((prediction - truth).square() + 1e-6).sqrt().mean()


def psnr(prediction: Tensor, truth: Tensor) -> Tensor:
    """The log of each picture's mean squared error, averaged: falls by 1 as PSNR rises by 4.34 dB."""
    error = (prediction - truth).square().mean(dim=(1, 2, 3))
    return (error + 1e-6).log().mean()


LOSSES: dict[str, Loss] = {"laplacian": laplacian, "charbonnier": charbonnier, "psnr": psnr}


def weighted(weights: Mapping[str, float]) -> Callable[[Tensor, Tensor], tuple[Tensor, dict[str, Tensor]]]:
    """The weighted sum of named losses, and each of them, as one function; ValueError for an unknown name."""
    unknown = sorted(set(weights) - set(LOSSES))
    if unknown or not weights:
        raise ValueError(f"expected losses among {sorted(LOSSES)}, got {unknown or 'none'}")

    def objective(prediction: Tensor, truth: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        terms = {name: LOSSES[name](prediction, truth) for name in weights}
        return torch.stack([weights[name] * term for name, term in terms.items()]).sum(), terms

    return objective
