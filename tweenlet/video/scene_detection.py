"""Scenes: where a stream of frames cuts hard from one shot to the next.

A cut is a large change of the picture that stands alone: the steps before and after it change far less, and
the two pictures hardly correlate. A shaking camera or fast limbs change every step; a flash changes two in
a row; a fade changes little at a time. None of these is a cut. All of it is judged on small grey
thumbnails.

Measured on the 56 training clips: of 10,000 steps one is taken for a cut wrongly (a jolt of the camera),
and of 3,000 clips spliced together in pairs 0.5 % are missed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

SMALL = (18, 32)
"""Height and width of a thumbnail."""


FINE = (72, 128)
"""Height and width of a fingerprint at most."""
LARGEST = 1e-3
"""Share of a fingerprint's places that differ most, by which two frames are told apart."""
SURE, LIKELY = 1.2 / 255, 4 / 255
"""Differences up to which a frame is a repeat, in any case and where those around it are far larger."""
FAR_LARGER = 0.15
"""The share of those that it may be then."""


@dataclass(frozen=True)
class Change:
    """How far two consecutive pictures differ."""

    difference: float
    """Mean absolute difference of the thumbnails, in [0, 1]."""
    correlation: float
    """Correlation of the thumbnails' pixels, in [-1, 1]."""


def thumbnail(picture: Tensor) -> NDArray[np.float32]:
    """A picture (3, H, W) in [0, 1], any size and device, as a grey (18, 32) array."""
    weights = picture.new_tensor([0.299, 0.587, 0.114]).view(3, 1, 1)
    grey = (F.adaptive_avg_pool2d(picture.detach(), SMALL) * weights).sum(0)
    return grey.to("cpu", torch.float32).numpy()


def change(a: NDArray[np.float32], b: NDArray[np.float32]) -> Change:
    """How far one thumbnail differs from the next."""
    p, q = a - a.mean(), b - b.mean()
    scale = float(np.linalg.norm(p) * np.linalg.norm(q))
    correlation = float((p * q).sum()) / scale if scale > 1e-6 else 0.0
    return Change(float(np.abs(a - b).mean()), correlation)


def is_cut(step: Change, before: Change | None, after: Change | None) -> bool:
    """Whether a step between two frames is a hard cut, given the steps before and after it (None at an
    end).
    """
    if step.correlation < 0.1 and step.difference > 0.15:
        return True  # nothing in common, as where scenes last one frame each
    around = max((s.difference for s in (before, after) if s is not None), default=0.0)
    return step.correlation < 0.8 and step.difference > 0.05 and step.difference > 2 * (around + 0.005)


def fingerprint(picture: Tensor) -> NDArray[np.float32]:
    """A picture (3, H, W) in [0, 1], any size and device, as means over its blocks: (3, 72, 128) at most."""
    size = min(picture.shape[1], FINE[0]), min(picture.shape[2], FINE[1])
    return F.adaptive_avg_pool2d(picture.detach(), size).to("cpu", torch.float32).numpy()


def difference(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """How far two fingerprints differ, in [0, 1], in the places where they differ most."""
    apart = np.abs(a - b).max(0).ravel()
    most = max(1, round(LARGEST * apart.size))
    return float(np.partition(apart, -most)[-most:].mean())


def is_repeat(difference: float, around: float) -> bool:
    """Whether a frame shows what the key frame before it shows, by its difference from that.

    ``around``: the largest difference between neighbours in the frames around it; encoders leave more noise
    in a repeat between large changes.
    """
    return difference <= SURE or difference <= min(LIKELY, FAR_LARGER * around)
