"""Losses between predictions and targets, and the objective that a training minimises.

LOSSES["laplacian"](prediction, truth) -> scalar        mean-reduced, of (B, 3, H, W) in [0, 1]
combine_losses({"laplacian": 1}) -> their weighted sum  and the terms, for the log
build_objective(options) -> Objective                   (prediction, batch) -> scalar to minimise, terms
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from tweenlet.evaluation.features import features
from tweenlet.ops.resample import laplacian_pyramid
from tweenlet.training.data.batches import Batch
from tweenlet.training.options import TrainOptions

PERCEPTUAL_CROP = 128
"""Height and width of the random crop for the perceptual loss, in pixels, to save time."""
DETAIL_FLOOR = 1e-5
"""Added to energies of detail, for pictures in [0, 1], so that flat regions do not count."""
Loss = Callable[[Tensor, Tensor], Tensor]
Terms = dict[str, Tensor]
Objective = Callable[[Tensor, Batch], tuple[Tensor, Terms]]
"""Maps a prediction (B, 3, h, w) float32 and its batch to the scalar to minimise, and terms to log."""


def laplacian(prediction: Tensor, truth: Tensor) -> Tensor:
    """L1 distance between the bands of two 5-level Laplacian pyramids, band i weighted by 2^i.

    The published loss sums over all values; this one divides by the number of values in the truth
    (B * 3 * H * W), so that neither batch size nor crop changes its scale. H and W may be any; the published
    one takes multiples of 16.
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
    """Mean log of each picture's mean squared error; it falls by 1 as PSNR rises by 4.34 dB."""
    error = (prediction - truth).square().mean(dim=(1, 2, 3))
    return (error + 1e-6).log().mean()


def perceptual(prediction: Tensor, truth: Tensor) -> Tensor:
    """Distance of EfficientNet-lite0's features (:mod:`tweenlet.evaluation.features`) in a random crop.

    All samples of a batch share the crop. OSError without the extra `evaluate`.
    """
    top, left = (int(torch.randint(max(0, side - PERCEPTUAL_CROP) + 1, ())) for side in prediction.shape[-2:])
    area = (..., slice(top, top + PERCEPTUAL_CROP), slice(left, left + PERCEPTUAL_CROP))
    with torch.no_grad():
        expected = features(truth[area])
    pairs = zip(features(prediction[area].clamp(0, 1)), expected, strict=True)
    return torch.stack([(got - wanted).square().sum(1).mean() for got, wanted in pairs]).sum()


def detail(prediction: Tensor, truth: Tensor) -> Tensor:
    """Mean squared log ratio of each picture's detail to the truth's: 0 if equally detailed.

    Detail is the energy of a 3x3 Laplacian of the grey picture, as in
    :func:`~tweenlet.evaluation.between.detail_kept`. Averaging misaligned frames loses it.
    """
    ratio = (_detail_energy(prediction) + DETAIL_FLOOR) / (_detail_energy(truth) + DETAIL_FLOOR)
    return ratio.log().square().mean()


def _detail_energy(pictures: Tensor) -> Tensor:
    kernel = torch.tensor([[2.0, 0.0, 2.0], [0.0, -8.0, 0.0], [2.0, 0.0, 2.0]]).to(pictures)
    edges = F.conv2d(pictures.mean(1, keepdim=True), kernel[None, None])
    return edges.square().mean((1, 2, 3))


LOSSES: dict[str, Loss] = {
    "laplacian": laplacian, "charbonnier": charbonnier, "psnr": psnr, "perceptual": perceptual,
    "detail": detail,
}  # fmt: skip


def combine_losses(
    weights: Mapping[str, float], margin: int = 0, border_weight: float = 0.0
) -> Callable[[Tensor, Tensor], tuple[Tensor, Terms]]:
    """Build a function that returns the weighted sum of losses, and each of them by name.

    Args:
        weights: weight of each loss, by its name in LOSSES.
        margin: border that the losses ignore, in pixels.
        border_weight: with a margin, weight of the loss over whole pictures, which is added.

    Raises:
        ValueError: no loss, or an unknown one; when called, a margin that leaves nothing.

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
            value = value + border_weight * total(prediction, truth)[0]
        return value, terms

    return loss


def build_objective(options: TrainOptions) -> Objective:
    """Build the objective of supervised training: the losses in the options, against the truth."""
    loss = combine_losses(options.loss, options.margin, options.border_weight)
    return lambda prediction, batch: loss(prediction, batch.truth)


def crop_border(pictures: Tensor, margin: int) -> Tensor:
    """Crop ``margin`` pixels from each side of (..., h, w); ValueError if nothing would be left."""
    height, width = pictures.shape[-2:]
    if 2 * margin >= min(height, width):
        raise ValueError(f"a margin of {margin} leaves nothing of a crop of {width}x{height}")
    return pictures[..., margin : height - margin, margin : width - margin]
