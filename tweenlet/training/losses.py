"""Losses between a prediction and what it should be, and the objectives that a training minimises.

LOSSES["laplacian"](prediction, truth) -> scalar       mean-reduced, of (B, 3, H, W) in [0, 1]
weighted({"laplacian": 1}) -> Loss by several terms
supervised(options) -> Objective: (prediction, batch) -> what to minimise, and terms to log
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from tweenlet.evaluation.features import features
from tweenlet.ops.resample import laplacian_pyramid
from tweenlet.training.data.batches import Batch
from tweenlet.training.options import TrainOptions

PIECE = 128
"""Height and width of what the perceptual loss compares, pixels."""
Loss = Callable[[Tensor, Tensor], Tensor]
Terms = dict[str, Tensor]
Objective = Callable[[Tensor, Batch], tuple[Tensor, Terms]]
"""Takes a prediction (B, 3, h, w) float32 for a batch; gives the scalar to minimise, and scalars to log."""


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


def perceptual(prediction: Tensor, truth: Tensor) -> Tensor:
    """The distance of EfficientNet-lite0's features (:mod:`tweenlet.evaluation.features`) in a random piece.

    It is of PIECE x PIECE pixels, to save time, and the same in all samples. OSError without the extra
    `evaluate`.
    """
    top, left = (int(torch.randint(max(0, side - PIECE) + 1, ())) for side in prediction.shape[-2:])
    area = (..., slice(top, top + PIECE), slice(left, left + PIECE))
    with torch.no_grad():
        expected = features(truth[area])
    pairs = zip(features(prediction[area].clamp(0, 1)), expected, strict=True)
    return torch.stack([(got - wanted).square().sum(1).mean() for got, wanted in pairs]).sum()


LOSSES: dict[str, Loss] = {
    "laplacian": laplacian, "charbonnier": charbonnier, "psnr": psnr, "perceptual": perceptual,
}  # fmt: skip


def combine_losses(
    weights: Mapping[str, float], margin: int = 0, border: float = 0.0
) -> Callable[[Tensor, Tensor], tuple[Tensor, Terms]]:
    """The weighted sum of named losses, and each of them, as one function; ValueError for an unknown name.

    With a ``margin`` in pixels the losses are those of the inside of the pictures, and ``border`` is the
    weight of the loss of the whole beside it.
    """
    unknown = sorted(set(weights) - set(LOSSES))
    if unknown or not weights:
        raise ValueError(f"expected losses among {sorted(LOSSES)}, got {unknown or 'none'}")

    def total(prediction: Tensor, truth: Tensor) -> tuple[Tensor, Terms]:
        terms = {name: LOSSES[name](prediction, truth) for name in weights}
        return torch.stack([weights[name] * term for name, term in terms.items()]).sum(), terms

    def loss(prediction: Tensor, truth: Tensor) -> tuple[Tensor, Terms]:
        value, terms = total(crop_border(prediction, margin), crop_border(truth, margin))
        if margin:
            value = value + border * total(prediction, truth)[0]
        return value, terms

    return loss


def build_objective(options: TrainOptions) -> Objective:
    """The loss that the options name, between the prediction and the truth."""
    loss = combine_losses(options.loss, options.margin, options.border_weight)
    return lambda prediction, batch: loss(prediction, batch.truth)


def crop_border(pictures: Tensor, margin: int) -> Tensor:
    """Pictures (..., h, w) without `margin` pixels on each side; ValueError where nothing would be left."""
    height, width = pictures.shape[-2:]
    if 2 * margin >= min(height, width):
        raise ValueError(f"a margin of {margin} leaves nothing of a crop of {width}x{height}")
    return pictures[..., margin : height - margin, margin : width - margin]
