r"""Write: a planned dataset to disk, decoding every clip once.

    DatasetPlan --extract_crops--> frames, sources, locations
                               \-> stills --moving_scene--> synthetic samples

The folder appears complete or not at all.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from tweenlet.runtime.disk_space import check_disk_space
from tweenlet.training.data.clips import Pixels
from tweenlet.training.data.crops import extract_crops
from tweenlet.training.data.dataset import CropLocation, Progress, create_array
from tweenlet.training.data.plan import DatasetPlan, PartPlan
from tweenlet.training.data.scan import WORKERS
from tweenlet.training.data.synthetic import moving_scene
from tweenlet.training.options import Recipe

STILL_CLIPS = 200
"""Clips, roughly, whose stills are held in memory for synthetic scenes."""


def write_dataset(plan: DatasetPlan, folder: Path, progress: Progress | None = None) -> None:
    """Write all samples of a plan into an empty folder.

    Args:
        plan: from :func:`~tweenlet.training.data.plan.plan_dataset`.
        folder: folder for ``train`` and ``validation``.
        progress: called with the name of the work under way, the units done and the total.

    Raises:
        OSError: the disk has no room, checked before anything is decoded; or a clip changed.
        ValueError: scenes are planned, and no still is large enough for them.

    """
    check_disk_space(folder.parent, plan.size)
    with _single_threaded_opencv():
        arrays = [_Arrays.create(folder / part.name, part.count, plan.recipe) for part in plan.parts]
        for part, part_arrays in zip(plan.parts, arrays, strict=True):
            stills = _write_crops(part, part_arrays, plan.recipe, progress)
            if part.scenes:
                _write_scenes(stills, part_arrays, part.scenes, plan.recipe, progress)


@contextmanager
def _single_threaded_opencv() -> Iterator[None]:
    """Limit OpenCV to one thread: parallelism is over clips."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(threads)


@dataclass(frozen=True)
class _Arrays:
    """The arrays of the training or the validation samples while they are filled."""

    folder: Path
    frames: np.memmap[Any, Any]

    @classmethod
    def create(cls, folder: Path, count: int, recipe: Recipe) -> _Arrays:
        """Create zero-filled arrays for ``count`` samples; OSError if the disk has no room."""
        folder.mkdir(parents=True)
        side = recipe.crop
        path = folder / "frames.npy"
        return cls(folder, create_array(path, (count, 5, 3, side, side)))


def _write_crops(part: PartPlan, arrays: _Arrays, recipe: Recipe, progress: Progress | None) -> list[Pixels]:
    """Fill all samples but the scenes, and write their locations; returns stills for the scenes."""
    frames = arrays.frames
    ends = np.cumsum(part.crops)
    jobs = [
        (clip, slice(end - count, end))
        for clip, count, end in zip(part.clips, part.crops, ends, strict=True)
        if count
    ]
    locations: list[CropLocation | None] = []
    stills: list[Pixels] = []
    with ThreadPoolExecutor(WORKERS) as pool:
        results = pool.map(lambda job: extract_crops(job[0], recipe, frames[job[1]]), jobs)
        for done, (clip_locations, clip_stills) in enumerate(results, 1):
            locations += clip_locations
            if done % -(-len(jobs) // STILL_CLIPS) == 0:
                stills += clip_stills
            if progress:
                progress(f"extracting {part.name} crops", done, len(jobs))
    locations += [None] * part.scenes
    sources = ["synthetic" if location is None else str(location) for location in locations]
    places = [place and asdict(place) for place in locations]
    (arrays.folder / "sources.json").write_text(json.dumps(sources), encoding="utf-8")
    (arrays.folder / "places.json").write_text(json.dumps(places), encoding="utf-8")
    frames.flush()
    return stills


def _write_scenes(
    stills: list[Pixels], arrays: _Arrays, count: int, recipe: Recipe, progress: Progress | None
) -> None:
    """Fill the last ``count`` samples with synthetic scenes."""
    frames = arrays.frames
    size, margin = recipe.still_size, recipe.crop // 4
    centre = slice(margin, margin + recipe.crop)
    if not stills:
        raise ValueError(f"no frame of {size}x{size} for synthetic motion was found: set its share to 0")

    def write_scene(slot: int) -> None:
        five = moving_scene(stills, size, np.random.default_rng([recipe.seed, slot]))
        frames[slot] = five[:, centre, centre].transpose(0, 3, 1, 2)

    with ThreadPoolExecutor(WORKERS) as pool:
        for done, _ in enumerate(pool.map(write_scene, range(len(frames) - count, len(frames))), 1):
            if progress and (done % 20 == 0 or done == count):
                progress("making scenes from stills", done, count)
    frames.flush()
