"""Crops of a clip's windows, mostly where motion is strong.

clip, number of crops -> windows drawn by their motion -> whole frames, scaled -> crops
"""

from __future__ import annotations

import hashlib
from collections import defaultdict, deque
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from tweenlet.training.data.clips import Pixels, fit_size, read_frames
from tweenlet.training.data.dataset import CropLocation
from tweenlet.training.data.plan import apportion, difficulty
from tweenlet.training.data.scan import ClipScan, Window
from tweenlet.training.options import Recipe

MAX_STILLS = 3
"""Stills to keep per clip for synthetic scenes."""
GRID = 8
"""Crops begin at multiples of this many pixels."""


def extract_crops(
    clip: ClipScan, recipe: Recipe, frames: NDArray[np.uint8]
) -> tuple[list[CropLocation], list[Pixels]]:
    """Decode one clip and fill arrays with crops of its windows.

    Args:
        clip: the scan of the clip.
        recipe: how to crop; the same recipe and clip give the same crops.
        frames: (n, 5, 3, crop, crop), filled here.

    Returns:
        Locations of the n crops, and at most MAX_STILLS whole frames that are large enough for scenes.

    Raises:
        OSError: the clip has changed since the scan.

    """
    if not len(frames):
        return [], []
    seed = int.from_bytes(hashlib.sha256(clip.path.name.encode()).digest()[:8], "big")
    random = np.random.default_rng([recipe.seed, seed])
    crops_of = _draw_windows(clip, recipe, len(frames), random)
    by_last_frame: dict[int, list[Window]] = defaultdict(list)
    for window in crops_of:
        by_last_frame[window.frames[-1]].append(window)
    recent: deque[Pixels] = deque(maxlen=max(w.frames[-1] - w.first for w in crops_of) + 1)
    locations: list[CropLocation] = []
    stills: list[Pixels] = []
    for index, frame in enumerate(read_frames(clip.path)):
        recent.append(frame)
        for window in by_last_frame.get(index, ()):
            size = fit_size(clip.width, clip.height, _draw_short_side(recipe, random))
            five = [downscale(recent[number - index - 1], size) for number in window.frames]
            for top, left in _draw_corners(five, crops_of[window], recipe.crop, random):
                slot = len(locations)
                locations.append(CropLocation(str(clip.path), window.first, window.stride, *size, top, left))
                area = (slice(top, top + recipe.crop), slice(left, left + recipe.crop))
                frames[slot] = [picture[area].transpose(2, 0, 1) for picture in five]
            if len(stills) < MAX_STILLS and min(size) >= recipe.still_size:
                stills.append(five[2])
    if len(locations) != len(frames):
        raise OSError(f"{clip.path} changed while it was read")
    return locations, stills


def _draw_windows(
    clip: ClipScan, recipe: Recipe, count: int, random: np.random.Generator
) -> dict[Window, int]:
    """Draw windows by difficulty; returns each with its number of crops."""
    weights = np.array([difficulty(window) for window in clip.windows])
    number = min(-(-count // recipe.crops_per_window), len(weights))
    drawn = random.choice(len(weights), number, replace=False, p=weights / weights.sum())
    crops = apportion([1.0] * number, count)
    return {clip.windows[index]: n for index, n in zip(drawn, crops, strict=True)}


def _draw_short_side(recipe: Recipe, random: np.random.Generator) -> int:
    """Draw the short side to scale a window to, in pixels: mostly the recipe's, never below the crop."""
    sides = [recipe.short_side, 10**6, recipe.short_side * 2 // 3]
    return max(int(random.choice(sides, p=[0.75, 0.1, 0.15])), recipe.crop)


def downscale(picture: Pixels, size: tuple[int, int]) -> Pixels:
    """Scale a picture (H, W, 3) uint8 down to a (width, height) by averaging."""
    if (picture.shape[1], picture.shape[0]) == size:
        return picture
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _draw_corners(
    five: Sequence[Pixels], count: int, crop: int, random: np.random.Generator
) -> list[tuple[int, int]]:
    """Draw corners (top, left) of crops: two thirds by the error of blending, one third uniformly."""
    before, truth, after = (picture.astype(np.float32) for picture in five[1:4])
    error = np.abs((before + after) / 2 - truth).mean(axis=2)
    sums = cv2.integral(error)
    in_crop = sums[crop:, crop:] - sums[:-crop, crop:] - sums[crop:, :-crop] + sums[:-crop, :-crop]
    grid = np.maximum(in_crop[::GRID, ::GRID], 1e-3)
    motion = (grid / grid.sum()).ravel()
    chances = motion * 2 / 3 + 1 / 3 / motion.size
    corners = random.choice(motion.size, count, replace=motion.size < count, p=chances / chances.sum())
    return [(int(c) // grid.shape[1] * GRID, int(c) % grid.shape[1] * GRID) for c in corners]
