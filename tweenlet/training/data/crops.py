"""Harvest: crops of a clip's windows, most of them where much moves, with optical flow of the whole frames.

clip + slots to fill -> windows drawn by their motion -> whole frames, scaled -> flow -> crops into the slots
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from tweenlet.flow.dis import window_flows
from tweenlet.training.data.clips import Pixels, fit_size, read_frames
from tweenlet.training.data.scan import ClipScan, Window
from tweenlet.training.options import Recipe


@dataclass(frozen=True)
class CropLocation:
    """Where in the footage a sample is from."""

    clip: str
    first: int
    """The first frame of the window, counted from 0: frame first + 3 stride is the truth."""
    stride: int
    width: int
    """Of the whole frame once scaled, pixels."""
    height: int
    top: int
    """Of the crop within the scaled frame, pixels."""
    left: int

    def __str__(self) -> str:
        return f"{self.clip}#{self.first}+{self.stride}"


def difficulty(window: Window) -> float:
    """How much a window has to teach, 0.05 to 1: full up to 30 dB of blending, little from 46 dB."""
    return float(np.clip((46.0 - window.blend) / 16.0, 0.05, 1.0)) * (1.0 if window.stride == 1 else 0.4)


def weight(footage: ClipScan) -> float:
    """A clip's share: grows with its length by the square root only, and with its motion."""
    return float(np.sqrt(len(footage.windows)) * np.mean([difficulty(window) for window in footage.windows]))


def apportion(weights: Sequence[float], count: int) -> list[int]:
    """`count` things divided in proportion to weights, by largest remainders; few things spread all along."""
    exact = np.asarray(weights) / np.sum(weights) * count
    if count < len(exact):
        return [int(n) for n in np.diff(np.rint(np.cumsum(exact)), prepend=0)]
    whole = np.floor(exact).astype(int)
    for index in np.argsort(whole - exact, kind="stable")[: count - int(whole.sum())]:
        whole[index] += 1
    return [int(n) for n in whole]


def extract_crops(
    footage: ClipScan, recipe: Recipe, frames: NDArray[np.uint8], flows: NDArray[np.float16] | None
) -> tuple[list[CropLocation], list[Pixels]]:
    """Decode one clip, filling the given slots with crops of its windows.

    Returns the places of the crops and at most three stills. OSError where the clip is not what was scanned.
    """
    if not len(frames):
        return [], []
    seed = int.from_bytes(hashlib.sha256(footage.path.name.encode()).digest()[:8], "big")
    random = np.random.default_rng([recipe.seed, seed])
    hard = np.array([difficulty(window) for window in footage.windows])
    number = min(-(-len(frames) // recipe.crops_per_window), len(hard))
    chosen = [
        footage.windows[i] for i in random.choice(len(hard), number, replace=False, p=hard / hard.sum())
    ]
    by_end: dict[int, list[tuple[Window, int]]] = {}
    for window, crops in zip(chosen, apportion([1.0] * number, len(frames)), strict=True):
        by_end.setdefault(window.frames[-1], []).append((window, crops))
    recent: deque[Pixels] = deque(maxlen=max(w.frames[-1] - w.first for w in chosen) + 1)
    locations: list[CropLocation] = []
    stills: list[Pixels] = []
    for index, frame in enumerate(read_frames(footage.path)):
        recent.append(frame)
        for window, crops in by_end.get(index, ()):
            short = int(
                random.choice([recipe.short_side, 10**6, recipe.short_side * 2 // 3], p=[0.75, 0.1, 0.15])
            )
            size = fit_size(footage.width, footage.height, max(short, recipe.crop))
            five = [downscale(recent[number - index - 1], size) for number in window.frames]
            moving = flows_of(five) if flows is not None else None
            for top, left in _corners(five, crops, recipe.crop, random):
                slot = len(locations)
                locations.append(
                    CropLocation(str(footage.path), window.first, window.stride, *size, top, left)
                )
                area = (slice(top, top + recipe.crop), slice(left, left + recipe.crop))
                frames[slot] = [picture[area].transpose(2, 0, 1) for picture in five]
                if flows is not None and moving is not None:
                    flows[slot] = moving[:, :, *area]
            if len(stills) < 3 and min(size) >= recipe.still:
                stills.append(five[2])
    if len(locations) != len(frames):
        raise OSError(f"{footage.path} changed while it was read")
    return locations, stills


def downscale(picture: Pixels, size: tuple[int, int]) -> Pixels:
    """A picture (H, W, 3) uint8 brought down to a size (width, height)."""
    if (picture.shape[1], picture.shape[0]) == size:
        return picture
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _corners(
    five: Sequence[Pixels], count: int, crop: int, random: np.random.Generator
) -> list[tuple[int, int]]:
    """Corners (top, left) of crops: two in three where blending fails, the others anywhere."""
    before, truth, after = (picture.astype(np.float32) for picture in five[1:4])
    error = np.abs((before + after) / 2 - truth).mean(axis=2)
    sums = cv2.integral(error)
    inside = sums[crop:, crop:] - sums[:-crop, crop:] - sums[crop:, :-crop] + sums[:-crop, :-crop]
    grid = np.maximum(inside[::8, ::8], 1e-3)
    motion = (grid / grid.sum()).ravel()
    chances = motion * 2 / 3 + 1 / 3 / motion.size
    corners = random.choice(motion.size, count, replace=motion.size < count, p=chances / chances.sum())
    return [(int(c) // grid.shape[1] * 8, int(c) % grid.shape[1] * 8) for c in corners]


def flows_of(five: Sequence[Pixels] | Pixels) -> NDArray[np.float32]:
    """The flows (see :mod:`tweenlet.flow.dis`) of a window's five frames, (H, W, 3) uint8 RGB, truth unseen.

    Returns (4, 2, H, W) float32, pixels (dx, dy), of I1->I0, I1->I2, I2->I1, I2->I3.
    """
    window = torch.from_numpy(np.stack([*five[:2], *five[3:]])).permute(0, 3, 1, 2).float() / 255
    return np.asarray(window_flows(window[None])[0].numpy(), np.float32)
