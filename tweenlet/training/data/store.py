r"""The sample store: crops of windows and their optical flow, decoded once and kept on disk as two arrays.

    clips --survey--> footage --harvest--> whole frames -> optical flow -> crops \
                                       \-> stills -> moving scenes -> flow -> crops > train/, validation/

    store/recipe.json                                           how it was made, and from which files
    store/{train,validation}/frames.npy   (N, 5, 3, h, w) uint8     I0 I1 truth I2 I3, RGB
    store/{train,validation}/flows.npy    (N, 4, 2, h, w) float16   pixels (dx, dy); 1->0, 1->2, 2->1, 2->3
    store/{train,validation}/sources.json                       the clip and frame that each sample is from
    store/{train,validation}/places.json                        the same for programs: a Place each, or null

The flow is computed on whole frames before cropping, so that it is what a network meets in use. A store is
built whole or not at all, with room for all of it taken first. It is never replaced: where it was made by
another recipe or from other files, or is none, that is an error, and what is there stays.
"""

from __future__ import annotations

import hashlib
import json
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

from tweenlet.runtime.atomic import atomic_write_folder, check_disk_space, preallocate
from tweenlet.runtime.json_file import read_json
from tweenlet.training.data.clips import Pixels, UnusableError, find_clips, images_in, name_few
from tweenlet.training.data.crops import CropLocation, apportion, extract_crops, flows_of, weight
from tweenlet.training.data.scan import ClipScan, scan_clip
from tweenlet.training.data.synthetic import moving_scene
from tweenlet.training.options import Recipe

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""
STILLS = 200
"""Clips, about, that stills for synthetic motion are kept from, in memory."""


@dataclass(frozen=True)
class DatasetPlan:
    """What was found in the footage, before anything is made of it."""

    training: tuple[ClipScan, ...]
    held_out: tuple[ClipScan, ...]
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
    lines = [f"{len(those)} x {reason}: {name_few(those)}" for reason, those in ordered[:10]]
    others = [file for _, those in ordered[10:] for file in those]
    return [*lines, f"{len(others)} x for other reasons: {name_few(others)}"] if others else lines


class CropDataset:
    """One part of a store: (N, 5, 3, h, w) uint8 frames, (N, 4, 2, h, w) float16 flows or None, on disk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.frames: NDArray[np.uint8] = self.array(folder / "frames.npy")
        flows = folder / "flows.npy"
        self.flows: NDArray[np.float16] | None = self.array(flows) if flows.exists() else None
        self.sources: list[str] = [str(source) for source in _list_in(folder / "sources.json")]
        self.locations: list[CropLocation | None] = _places_in(folder / "places.json")
        """Where each sample is from, None if synthetic; empty in a store made before these were kept."""
        self._check()

    def _check(self) -> None:
        count, *shape = self.frames.shape
        if self.frames.dtype != np.uint8 or len(shape) != 4 or shape[:2] != [5, 3]:
            raise _damaged(self.folder / "frames.npy", f"{self.frames.dtype} of {self.frames.shape}")
        flows = self.flows
        if flows is not None and (
            flows.dtype != np.float16 or flows.shape != (count, 4, 2, *self.frames.shape[-2:])
        ):
            raise _damaged(self.folder / "flows.npy", f"{flows.dtype} of {flows.shape}")
        for name, lines in (("sources.json", self.sources), ("places.json", self.locations)):
            if len(lines) not in ((count, 0) if name == "places.json" else (count,)):
                raise _damaged(self.folder / name, f"{len(lines)} entries for {count} samples")

    def __len__(self) -> int:
        return len(self.frames)

    @staticmethod
    def array(path: Path) -> NDArray[Any]:
        """A stored array, left on disk; ValueError where the file is damaged."""
        try:
            return np.asanyarray(np.load(path, mmap_mode="r"))
        except (ValueError, EOFError, SyntaxError, MemoryError, OverflowError, TypeError) as error:
            raise _damaged(path, str(error)) from error


def _damaged(path: Path, reason: str) -> ValueError:
    return ValueError(f"{path} is damaged ({reason}): remove what it belongs to, and it will be made anew")


def _list_in(path: Path) -> list[Any]:
    """A list in a JSON file of a store; ValueError where that is damaged."""
    values = read_json(path)
    if not isinstance(values, list):
        raise _damaged(path, f"expected a list, got {type(values).__name__}")
    return values


def _places_in(path: Path) -> list[CropLocation | None]:
    try:
        locations = _list_in(path) if path.exists() else []
        return [None if place is None else CropLocation(**place) for place in locations]
    except TypeError as error:
        raise _damaged(path, str(error)) from error


def scan_clips(
    paths: Iterable[str | Path],
    crop: int,
    validate: Iterable[str | Path] | None = None,
    workers: int = 2,
    progress: Progress | None = None,
    strides: tuple[int, ...] = (1, 2),
) -> DatasetPlan:
    """Scan every clip for windows of these strides.

    Without `validate`, about one usable clip in seven, at most eight, is held out by its name.
    ValueError where no clip is usable; FileNotFoundError for a path that does not exist.
    """
    asked = set(find_clips(validate)) if validate is not None else None
    clips = sorted(set(find_clips(paths)) | (asked or set()))
    found: dict[Path, ClipScan] = {}
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
    return DatasetPlan(training, tuple(found[clip] for clip in found if clip in held_out), tuple(unusable))


def _held_out(clips: Sequence[Path]) -> set[Path]:
    """About one clip in seven, at most eight, by their names."""
    by_name = sorted(clips, key=lambda clip: hashlib.sha256(clip.name.encode()).digest())
    return set(by_name[: min(8, len(clips) // 7 or len(clips) // 2)])


def _scan(clip: Path, strides: tuple[int, ...]) -> ClipScan | UnusableError:
    try:
        return scan_clip(clip, strides)
    except UnusableError as error:
        return error
    except OSError as error:
        return UnusableError(clip, str(error))


def build_dataset(
    paths: Sequence[str | Path],
    folder: Path,
    recipe: Recipe,
    validate: Sequence[str | Path] | None = None,
    workers: int = 2,
    notify: Callable[[str], None] | None = None,
    progress: Progress | None = None,
) -> tuple[CropDataset, CropDataset | None]:
    """The training and the validation samples: those in `folder`, or new ones where there is nothing yet.

    `notify` hears what was found, with the names of unusable clips, before anything is built. ValueError
    where `folder` holds samples of another recipe or of other files, naming what differs, or anything else;
    BlockingIOError where another run is building there. What is there is never touched.
    """
    clips = sorted(set(find_clips(paths)) | set(find_clips(validate) if validate else ()))
    identity: dict[str, Any] = {
        "recipe": asdict(recipe),
        "clips": [[str(clip.resolve()), _bytes(clip)] for clip in clips],
        "validate": [str(Path(path).resolve()) for path in validate] if validate else None,
    }
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        with atomic_write_folder(folder) as making:
            found = scan_clips(paths, recipe.crop, validate, workers, progress, recipe.strides)
            if notify:
                notify(str(found))
            _build(found, making, recipe, identity, workers, progress)
    else:
        label = _label(folder)
        if differences := _differences(label, json.loads(json.dumps(identity))):
            raise ValueError(
                f"{folder} holds samples that were made otherwise: {'; '.join(differences)}. Ask for them as "
                "they were made, or name another folder for new ones (--store)"
            )
        if notify:
            notify(str(label.get("survey", "")))
    held_out = folder / "validation"
    return CropDataset(folder / "train"), CropDataset(held_out) if held_out.exists() else None


def _label(folder: Path) -> dict[str, Any]:
    """How the samples in a folder were made; ValueError where it holds none."""
    path = folder / "recipe.json"
    if not path.is_file():
        raise ValueError(
            f"{folder} is not empty and holds no samples: name another folder for them (--store)"
        )
    label = read_json(path)
    if not isinstance(label, dict) or not isinstance(label.get("recipe"), dict):
        raise _damaged(path, "expected how samples were made")
    return label


def _differences(label: dict[str, Any], identity: dict[str, Any]) -> list[str]:
    """In what samples that are there differ from those that are asked for."""
    usual = json.loads(
        json.dumps(asdict(Recipe()))
    )  # what a recipe does not speak of was as it is by default
    there = {**usual, **label["recipe"]}
    found = [
        f"--recipe.{name} was {there.get(name)}, now {value}"
        for name, value in identity["recipe"].items()
        if there.get(name) != value
    ]
    found += [f"recipe.{name} is not known here" for name in there if name not in identity["recipe"]]
    if label.get("validate") != identity["validate"]:
        found.append(f"--validate was {label.get('validate')}, now {identity['validate']}")
    return found + _other_clips(label.get("clips"), identity["clips"])


def _other_clips(there: Any, asked: list[list[Any]]) -> list[str]:
    if there == asked:
        return []
    before = {str(clip): size for clip, size in there} if _is_clips(there) else {}
    now = {str(clip): size for clip, size in asked}
    kinds = {
        "gone": [clip for clip in before if clip not in now],
        "new": [clip for clip in now if clip not in before],
        "changed": [clip for clip in now if clip in before and before[clip] != now[clip]],
    }
    named = [f"{len(clips)} {kind} ({name_few(clips)})" for kind, clips in kinds.items() if clips]
    return [f"the clips differ: {', '.join(named) or 'in their order'}"]


def _is_clips(values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(pair, list) and len(pair) == 2 for pair in values)


def _bytes(clip: Path) -> int:
    """On disk; 0 for a clip that is missing."""
    files = images_in(clip) if clip.is_dir() else [clip]
    return sum(file.stat().st_size for file in files if file.exists())


def _build(
    found: DatasetPlan,
    folder: Path,
    recipe: Recipe,
    identity: dict[str, Any],
    workers: int,
    progress: Progress | None,
) -> None:
    """Harvest the footage into an empty folder.

    ValueError where scenes are asked for and no frame is large enough for them, OSError where the disk has
    no room: both before anything is made.
    """
    synthetic = round(recipe.samples * recipe.synthetic)
    largest = max(found.training, key=lambda footage: min(footage.width, footage.height))
    if synthetic and min(largest.width, largest.height) < recipe.still:
        raise ValueError(
            f"synthetic motion needs frames of at least {recipe.still}x{recipe.still} for a crop of "
            f"{recipe.crop}; the largest are {largest.width}x{largest.height}: set its share to 0"
        )
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        train, held_out = folder / "train", folder / "validation"
        counts = {train: recipe.samples, held_out: recipe.validation if found.held_out else 0}
        check_disk_space(
            folder.parent, sum(counts.values()) * recipe.crop**2 * (5 * 3 + 4 * 2 * 2 * recipe.flows)
        )
        parts = {part: _Part.create(part, n, recipe) for part, n in counts.items() if n}
        stills = _harvest_all(found.training, parts[train], synthetic, recipe, workers, progress)
        if synthetic:
            _make_scenes(stills, parts[train], synthetic, recipe, workers, progress)
        if held_out in parts:
            _harvest_all(found.held_out, parts[held_out], 0, recipe, workers, progress)
        label = json.dumps({**identity, "survey": str(found)}, indent=1)
        (folder / "recipe.json").write_text(label)
    finally:
        cv2.setNumThreads(threads)


@dataclass(frozen=True)
class _Part:
    """One part of a store while it is made."""

    folder: Path
    frames: np.memmap[Any, Any]
    flows: np.memmap[Any, Any] | None

    @classmethod
    def create(cls, folder: Path, count: int, recipe: Recipe) -> _Part:
        """The arrays for so many samples, all zero; OSError where the disk has no room for them."""
        folder.mkdir(parents=True)
        side = recipe.crop

        def new(name: str, dtype: type, *shape: int) -> np.memmap[Any, Any]:
            array = np.lib.format.open_memmap(folder / name, "w+", dtype, (count, *shape, side, side))
            preallocate(folder / name, (folder / name).stat().st_size)
            return array

        frames = new("frames.npy", np.uint8, 5, 3)
        return cls(folder, frames, new("flows.npy", np.float16, 4, 2) if recipe.flows else None)


def _harvest_all(
    footage: Sequence[ClipScan],
    part: _Part,
    synthetic: int,
    recipe: Recipe,
    workers: int,
    progress: Progress | None,
) -> list[Pixels]:
    """Fill all but the last ``synthetic`` samples of a part; returns stills for the rest."""
    folder, frames, flows = part.folder, part.frames, part.flows
    count = len(frames)
    quotas = apportion([weight(f) for f in footage], count - synthetic)
    starts = np.cumsum([0, *quotas])
    locations: list[CropLocation | None] = []
    stills: list[Pixels] = []
    jobs = [
        (f, recipe, frames[a:b], None if flows is None else flows[a:b])
        for f, a, b in zip(footage, starts, starts[1:], strict=False)
        if a < b
    ]
    with ThreadPoolExecutor(workers) as pool:
        for done, (there, kept) in enumerate(pool.map(lambda job: extract_crops(*job), jobs), 1):
            locations += there
            if done % -(-len(jobs) // STILLS) == 0:
                stills += kept
            if progress:
                progress(f"harvesting {folder.name} samples", done, len(jobs))
    locations += [None] * synthetic
    sources = ["synthetic" if place is None else str(place) for place in locations]
    (folder / "sources.json").write_text(json.dumps(sources))
    (folder / "places.json").write_text(json.dumps([place and asdict(place) for place in locations]))
    frames.flush()
    return stills


def _make_scenes(
    stills: list[Pixels], part: _Part, count: int, recipe: Recipe, workers: int, progress: Progress | None
) -> None:
    """Fill the last `count` samples of a part with synthetic motion."""
    frames, flows = part.frames, part.flows
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
