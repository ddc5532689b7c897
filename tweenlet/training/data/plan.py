"""Plan: the number of samples per clip, by its length and motion.

FootageScan, Recipe --plan_dataset--> DatasetPlan: for train and validation, crops per clip and scenes
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tweenlet.training.data.scan import ClipScan, FootageScan, Window
from tweenlet.training.options import Recipe

EASY, HARD = 46.0, 30.0
"""PSNR of blending, in dB, at which a window's difficulty is lowest and highest."""
LEAST_DIFFICULTY = 0.05
"""Weight of a window without motion, beside 1 for one with much: still footage is seen, too."""
WIDE_STRIDE_WEIGHT = 0.4
"""Weight of windows of strides above 1, whose motion is larger than in real use."""


@dataclass(frozen=True)
class PartPlan:
    """Sources of the training or the validation samples."""

    name: str
    """``train`` or ``validation``: the folder's name."""
    clips: tuple[ClipScan, ...]
    crops: tuple[int, ...]
    """Number of crops per clip."""
    scenes: int = 0
    """Number of synthetic samples, which come last."""

    @property
    def count(self) -> int:
        """Samples in all."""
        return sum(self.crops) + self.scenes


@dataclass(frozen=True)
class DatasetPlan:
    """Contents of a dataset to build."""

    recipe: Recipe
    parts: tuple[PartPlan, ...]

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return sum(part.count for part in self.parts) * self.recipe.crop**2 * 5 * 3


def plan_dataset(footage: FootageScan, recipe: Recipe) -> DatasetPlan:
    """Decide the number of samples per clip.

    Raises:
        ValueError: the recipe asks for synthetic scenes, and no frame is large enough for them.

    """
    scenes = round(recipe.samples * recipe.synthetic)
    largest = max(footage.training, key=lambda clip: clip.short_side)
    if scenes and largest.short_side < recipe.still_size:
        raise ValueError(
            f"synthetic motion needs frames of at least {recipe.still_size}x{recipe.still_size} for a crop "
            f"of {recipe.crop}; the largest are {largest.width}x{largest.height}: "
            "set its share to 0 (--recipe.synthetic)"
        )
    parts = [_plan_part("train", footage.training, recipe.samples, scenes)]
    if footage.held_out and recipe.validation:
        parts.append(_plan_part("validation", footage.held_out, recipe.validation))
    return DatasetPlan(recipe, tuple(parts))


def _plan_part(name: str, clips: tuple[ClipScan, ...], count: int, scenes: int = 0) -> PartPlan:
    return PartPlan(name, clips, tuple(apportion([_clip_weight(c) for c in clips], count - scenes)), scenes)


def difficulty(window: Window) -> float:
    """Difficulty of a window, from LEAST_DIFFICULTY to 1, by the error of blending."""
    motion = float(np.clip((EASY - window.blend_psnr) / (EASY - HARD), LEAST_DIFFICULTY, 1.0))
    return motion if window.stride == 1 else motion * WIDE_STRIDE_WEIGHT


def _clip_weight(clip: ClipScan) -> float:
    """Weight of a clip: the square root of its length, times its mean difficulty."""
    return float(np.sqrt(len(clip.windows)) * np.mean([difficulty(window) for window in clip.windows]))


def apportion(weights: Sequence[float], count: int) -> list[int]:
    """Divide ``count`` in proportion to weights, by largest remainders.

    If ``count`` is smaller than the number of weights, it is spread evenly along the list.
    """
    exact = np.asarray(weights) / np.sum(weights) * count
    if count < len(exact):
        return [int(n) for n in np.diff(np.rint(np.cumsum(exact)), prepend=0)]
    shares = np.floor(exact).astype(int)
    for index in np.argsort(shares - exact, kind="stable")[: count - int(shares.sum())]:
        shares[index] += 1
    return [int(n) for n in shares]
