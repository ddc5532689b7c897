r"""The sample store: crops of windows and their optical flow, decoded once and kept on disk as two arrays.

    clips --survey--> footage --harvest--> whole frames -> optical flow -> crops \
                                       \-> stills -> moving scenes -> flow -> crops > train/, validation/

    store/recipe.json                                           how it was made, and from which files
    store/{train,validation}/frames.npy   (N, 5, 3, h, w) uint8     I0 I1 truth I2 I3, RGB
    store/{train,validation}/flows.npy    (N, 4, 2, h, w) float16   pixels (dx, dy); 1->0, 1->2, 2->1, 2->3
    store/{train,validation}/sources.json                       the clip and frame that each sample is from
    store/{train,validation}/places.json                        the same for programs: a Place each, or null

The flow is computed on whole frames before cropping, so that it is what a network meets in use. A store is
built whole or not at all, and is rebuilt when its recipe or the files it was made from change.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from tweenlet.training.clips import Pixels, UnusableError, find_clips, images_in, listed
from tweenlet.training.footage import Footage, scan
from tweenlet.training.harvest import Place, flows_of, harvest, shares, weight
from tweenlet.training.motion import moving_scene
from tweenlet.training.options import Recipe

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""
STILLS = 200
"""Clips, about, that stills for synthetic motion are kept from, in memory."""


@dataclass(frozen=True)
class Survey:
    """What was found in the footage, before anything is made of it."""

    training: tuple[Footage, ...]
    held_out: tuple[Footage, ...]
    unusable: tuple[tuple[str, str], ...]
    """(file, reason) of each clip that could not be used; the file may be an image of it."""

    def __str__(self) -> str:
        every = self.training + self.held_out
        windows = sum(window.stride == 1 for footage in every for window in footage.windows)
        left_out, cuts = sum(f.left_out for f in every), sum(f.cuts for f in every)
        lines = [
            f"{len(every)} clips, {sum(f.frames for f in every)} frames, {windows} windows; "
            f"{len(self.held_out)} clips held out; {left_out} windows left out for {cuts} cuts "
            f"and {sum(f.repeats for f in every)} repeated frames; {len(self.unusable)} clips unusable"
        ]
        return "\n".join(lines + [f"unusable: {line}" for line in _by_reason(self.unusable)])


def _by_reason(unusable: Iterable[tuple[str, str]]) -> list[str]:
    """A line for each of the ten most common reasons: how many clips it holds for, the first few by name."""
    files = defaultdict(list)
    for file, reason in unusable:
        files[reason].append(file)
    ordered = sorted(files.items(), key=lambda item: -len(item[1]))
    lines = [f"{len(those)} x {reason}: {listed(those)}" for reason, those in ordered[:10]]
    others = [file for _, those in ordered[10:] for file in those]
    return [*lines, f"{len(others)} x for other reasons: {listed(others)}"] if others else lines


class Samples:
    """One part of a store: (N, 5, 3, h, w) uint8 frames, (N, 4, 2, h, w) float16 flows or None, on disk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.frames: NDArray[np.uint8] = self.array(folder / "frames.npy")
        flows = folder / "flows.npy"
        self.flows: NDArray[np.float16] | None = self.array(flows) if flows.exists() else None
        self.sources: list[str] = json.loads((folder / "sources.json").read_text())
        places = folder / "places.json"
        self.places: list[Place | None] = [
            None if place is None else Place(**place)
            for place in (json.loads(places.read_text()) if places.exists() else [])
        ]
        """Where each sample is from, None if synthetic; empty in a store made before these were kept."""

    def __len__(self) -> int:
        return len(self.frames)

    @staticmethod
    def array(path: Path) -> NDArray[Any]:
        """A stored array, left on disk."""
        return np.asanyarray(np.load(path, mmap_mode="r"))


def survey(
    paths: Iterable[str | Path],
    crop: int,
    validate: Iterable[str | Path] | None = None,
    workers: int = 2,
    progress: Progress | None = None,
    strides: tuple[int, ...] = (1, 2),
) -> Survey:
    """Scan every clip for windows of these strides.

    Without `validate`, about one usable clip in seven, at most eight, is held out by its name.
    ValueError where no clip is usable; FileNotFoundError for a path that does not exist.
    """
    asked = set(find_clips(validate)) if validate is not None else None
    clips = sorted(set(find_clips(paths)) | (asked or set()))
    found: dict[Path, Footage] = {}
    unusable = []
    look = partial(_scan, strides=strides)
    with ThreadPoolExecutor(workers) as pool:
        for done, (clip, result) in enumerate(zip(clips, pool.map(look, clips), strict=True), 1):
            if isinstance(result, UnusableError):
                unusable.append((str(result.file), result.reason))
            elif min(result.width, result.height) < crop:
                unusable.append(
                    (str(clip), f"{result.width}x{result.height} is smaller than a crop of {crop}")
                )
            elif not result.windows:
                steps = " or ".join(map(str, strides))
                unusable.append((str(clip), f"no window of stride {steps} without a cut or a repeated frame"))
            else:
                found[clip] = result
            if progress:
                progress("looking at footage", done, len(clips))
    held_out = _held_out(list(found)) if asked is None else asked
    training = tuple(footage for clip, footage in found.items() if clip not in held_out)
    if not training:
        reasons = "; ".join(_by_reason(unusable)) or "all are held out to validate on"
        raise ValueError(f"none of {len(clips)} clips can be trained on ({reasons})")
    return Survey(training, tuple(found[clip] for clip in found if clip in held_out), tuple(unusable))


def _held_out(clips: Sequence[Path]) -> set[Path]:
    """About one clip in seven, at most eight, by their names."""
    by_name = sorted(clips, key=lambda clip: hashlib.sha256(clip.name.encode()).digest())
    return set(by_name[: min(8, len(clips) // 7 or len(clips) // 2)])


def _scan(clip: Path, strides: tuple[int, ...]) -> Footage | UnusableError:
    try:
        return scan(clip, strides)
    except UnusableError as error:
        return error
    except OSError as error:
        return UnusableError(clip, str(error))


def prepare(
    paths: Sequence[str | Path],
    folder: Path,
    recipe: Recipe,
    validate: Sequence[str | Path] | None = None,
    workers: int = 2,
    notify: Callable[[str], None] | None = None,
    progress: Progress | None = None,
) -> tuple[Samples, Samples | None]:
    """The training and the validation samples: those in `folder` if they were made so, else made now.

    `notify` hears what was found, with the names of unusable clips, before anything is built.
    """
    clips = sorted(set(find_clips(paths)) | set(find_clips(validate) if validate else ()))
    identity: dict[str, Any] = {
        "recipe": asdict(recipe),
        "clips": [[str(clip.resolve()), _bytes(clip)] for clip in clips],
        "validate": [str(Path(path).resolve()) for path in validate] if validate else None,
    }
    label = folder / "recipe.json"
    made = json.loads(label.read_text()) if label.exists() else {}
    # what a recipe does not speak of was as it is by default
    same = made and {**made, "recipe": {**asdict(Recipe()), **made["recipe"]}}
    if json.dumps({key: same.get(key) for key in identity}) != json.dumps(identity):
        found = survey(paths, recipe.crop, validate, workers, progress, recipe.strides)
        if notify:
            notify(str(found))
        build(found, folder, recipe, identity, workers, progress)
    elif notify:
        notify(made["survey"])
    held_out = folder / "validation"
    return Samples(folder / "train"), Samples(held_out) if held_out.exists() else None


def _bytes(clip: Path) -> int:
    """On disk; 0 for a clip that is missing."""
    files = images_in(clip) if clip.is_dir() else [clip]
    return sum(file.stat().st_size for file in files if file.exists())


def build(
    found: Survey,
    folder: Path,
    recipe: Recipe,
    identity: dict[str, Any],
    workers: int = 2,
    progress: Progress | None = None,
) -> None:
    """Harvest the footage into `folder`, replacing what is there. It appears whole or not at all.

    ValueError where scenes are asked for and no frame is large enough for them.
    """
    synthetic = round(recipe.samples * recipe.synthetic)
    largest = max(found.training, key=lambda footage: min(footage.width, footage.height))
    if synthetic and min(largest.width, largest.height) < recipe.still:
        raise ValueError(
            f"synthetic motion needs frames of at least {recipe.still}x{recipe.still} for a crop of "
            f"{recipe.crop}; the largest are {largest.width}x{largest.height}: set its share to 0"
        )
    making = folder.with_name(folder.name + ".making")
    shutil.rmtree(making, ignore_errors=True)
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        stills = _harvest_all(
            found.training, making / "train", recipe.samples, synthetic, recipe, workers, progress
        )
        if synthetic:
            _make_scenes(stills, making / "train", synthetic, recipe, workers, progress)
        if found.held_out and recipe.validation:
            _harvest_all(
                found.held_out, making / "validation", recipe.validation, 0, recipe, workers, progress
            )
        (making / "recipe.json").write_text(json.dumps({**identity, "survey": str(found)}, indent=1))
        shutil.rmtree(folder, ignore_errors=True)
        making.rename(folder)
    except BaseException:
        shutil.rmtree(making, ignore_errors=True)
        raise
    finally:
        cv2.setNumThreads(threads)


def _harvest_all(
    footage: Sequence[Footage],
    folder: Path,
    count: int,
    synthetic: int,
    recipe: Recipe,
    workers: int,
    progress: Progress | None,
) -> list[Pixels]:
    """Fill the first count - synthetic samples of a new part of a store; returns stills for the rest."""
    folder.mkdir(parents=True)
    side = recipe.crop
    new = partial(np.lib.format.open_memmap, mode="w+")
    frames = new(folder / "frames.npy", dtype=np.uint8, shape=(count, 5, 3, side, side))
    flows = (
        new(folder / "flows.npy", dtype=np.float16, shape=(count, 4, 2, side, side)) if recipe.flows else None
    )
    quotas = shares([weight(f) for f in footage], count - synthetic)
    starts = np.cumsum([0, *quotas])
    places: list[Place | None] = []
    stills: list[Pixels] = []
    jobs = [
        (f, recipe, frames[a:b], None if flows is None else flows[a:b])
        for f, a, b in zip(footage, starts, starts[1:], strict=False)
        if a < b
    ]
    with ThreadPoolExecutor(workers) as pool:
        for done, (there, kept) in enumerate(pool.map(lambda job: harvest(*job), jobs), 1):
            places += there
            if done % -(-len(jobs) // STILLS) == 0:
                stills += kept
            if progress:
                progress(f"harvesting {folder.name} samples", done, len(jobs))
    places += [None] * synthetic
    sources = ["synthetic" if place is None else str(place) for place in places]
    (folder / "sources.json").write_text(json.dumps(sources))
    (folder / "places.json").write_text(json.dumps([place and asdict(place) for place in places]))
    frames.flush()
    return stills


def _make_scenes(
    stills: list[Pixels], folder: Path, count: int, recipe: Recipe, workers: int, progress: Progress | None
) -> None:
    """Fill the last `count` samples of a part with synthetic motion."""
    frames = np.load(folder / "frames.npy", mmap_mode="r+")
    flows = np.load(folder / "flows.npy", mmap_mode="r+") if recipe.flows else None
    side, margin = recipe.still, recipe.crop // 4
    inner = slice(margin, margin + recipe.crop)
    if not stills:
        raise ValueError(f"no frame of {side}x{side} for synthetic motion was harvested: set its share to 0")

    def make(slot: int) -> None:
        five = moving_scene(stills, side, np.random.default_rng([recipe.seed, slot]))
        frames[slot] = five[:, inner, inner].transpose(0, 3, 1, 2)
        if flows is not None:
            flows[slot] = flows_of(five)[:, :, inner, inner]

    with ThreadPoolExecutor(workers) as pool:
        for done, _ in enumerate(pool.map(make, range(len(frames) - count, len(frames))), 1):
            if progress and (done % 20 == 0 or done == count):
                progress("making scenes from stills", done, count)
    frames.flush()
