"""Build: from footage to datasets, and from datasets to batches.

    paths --find_clips--> clips --scan_footage--> FootageScan --plan_dataset--> DatasetPlan
                                      CropDataset <--read-- folder <--write_dataset--/

A dataset appears complete or not at all, and is never replaced: a folder with another recipe, other source
files or foreign contents is an error and stays as it is.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from tweenlet.runtime.atomic import atomic_write_folder
from tweenlet.runtime.json_file import read_json
from tweenlet.training import distributed
from tweenlet.training.data.batches import Array, BatchSampler
from tweenlet.training.data.clips import clip_digest, clip_size, find_clips, name_few
from tweenlet.training.data.dataset import CropDataset, Dataset, Progress, damage_error
from tweenlet.training.data.plan import plan_dataset
from tweenlet.training.data.published import PublishedDataset
from tweenlet.training.data.scan import scan_footage
from tweenlet.training.data.write import write_dataset
from tweenlet.training.options import DataOptions, Recipe


def open_datasets(
    options: DataOptions,
    data: Sequence[str | Path],
    out: Path,
    notify: Callable[[str], None] | None = None,
    progress: Progress | None = None,
) -> tuple[Dataset, CropDataset | None]:
    """Open the datasets to train and to validate on, building them first if need be.

    Of distributed processes, the first one builds.

    Args:
        options: the recipe, the folder (``out/store`` by default) and the footage to validate on.
        data: footage to train on.
        out: folder of the training.
        notify: called with a summary of the footage, including unusable clips, before building.
        progress: called with the name of the work under way, the units done and the total.

    Raises: those of :func:`build_dataset`.

    """
    if options.source == "published":
        if options.validate is None:
            raise ValueError("with published septuplets, footage to validate on must be named (--validate)")
        return _open_published(options, data, options.validate, out, notify, progress)
    folder = options.store or out / "store"
    with distributed.main_process_first():
        return build_dataset(
            data, folder, options.recipe, options.validate,
            notify=None if distributed.rank() else notify, progress=progress,
        )  # fmt: skip


def _open_published(
    options: DataOptions,
    data: Sequence[str | Path],
    validate: Sequence[str | Path],
    out: Path,
    notify: Callable[[str], None] | None,
    progress: Progress | None,
) -> tuple[Dataset, CropDataset]:
    """Septuplets and quintuplets, read when drawn; and stored crops of the validation footage."""
    dataset = PublishedDataset(find_clips(data), options.crop)
    notify = None if distributed.rank() else notify
    if notify:
        notify(f"{len(dataset)} septuplets and quintuplets, each once an epoch")
    held_out = replace(
        options, source="store", validate=[],
        recipe=replace(
            options.recipe, samples=options.recipe.validation, crop=options.crop, synthetic=0.0, strides=(1,)
        ),
    )  # fmt: skip
    crops, _ = open_datasets(held_out, validate, out, notify, progress)
    assert isinstance(crops, CropDataset)
    return dataset, crops


def make_sampler(
    options: DataOptions, dataset: Dataset, teacher_frames: Sequence[Array] = ()
) -> BatchSampler:
    """The sampler of a dataset's batches, with the options' batch size, crop, seed and augmentation."""
    return BatchSampler(dataset, options.batch, options.crop, options.seed, teacher_frames, options.augment)


def build_dataset(
    paths: Sequence[str | Path],
    folder: Path,
    recipe: Recipe,
    validate: Sequence[str | Path] | None = None,
    notify: Callable[[str], None] | None = None,
    progress: Progress | None = None,
) -> tuple[CropDataset, CropDataset | None]:
    """Open the training and the validation dataset in ``folder``; build them if it is empty or missing.

    Args:
        paths: footage to train on: videos, folders of videos or frames, published data sets.
        folder: folder of the dataset.
        recipe: how to build it.
        validate: footage to validate on; default: some clips of ``paths`` are held out.
        notify: called with a summary of the footage, including unusable clips, before building.
        progress: called with the name of the work under way, the units done and the total.

    Raises:
        ValueError: no usable footage; or ``folder`` holds a dataset of another recipe or other files, named
            in the message, a damaged one, or anything else.
        FileNotFoundError: a path does not exist.
        BlockingIOError: another run is building there.
        OSError: the disk has no room.

    """
    clips = find_clips(paths)
    validation = None if validate is None else find_clips(validate)
    identity: dict[str, Any] = {
        "recipe": asdict(recipe),
        "clips": [_describe_clip(path) for path in sorted({*clips, *(validation or ())})],
        "validate": [str(Path(path).resolve()) for path in validate] if validate else None,
        "held_out": sorted(clip_digest(path) for path in validation) if validation else None,
    }
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write_folder(folder) as partial:
            footage = scan_footage(clips, recipe.crop, validation, recipe.strides, progress)
            if notify:
                notify(str(footage))
            write_dataset(plan_dataset(footage, recipe), partial, progress)
            label = json.dumps({**identity, "survey": str(footage)}, indent=1)
            (partial / "recipe.json").write_text(label, encoding="utf-8")
    else:
        summary = _check_identity(folder, json.loads(json.dumps(identity)))
        if notify:
            notify(summary)
    held_out = folder / "validation"
    return CropDataset(folder / "train"), CropDataset(held_out) if held_out.exists() else None


def _describe_clip(path: Path) -> list[Any]:
    """Path, size and content digest of a clip; the digest identifies it after it was moved."""
    return [str(path.resolve()), clip_size(path), clip_digest(path)]


def _check_identity(folder: Path, identity: dict[str, Any]) -> str:
    """The stored summary of the footage; ValueError if it was built by another recipe or from other files."""
    label = _read_label(folder)
    if differences := _differences(label, identity):
        raise ValueError(
            f"{folder} holds samples that were built differently: {'; '.join(differences)}. Ask for them as "
            "they were built, or name another folder for new ones (--store)"
        )
    return str(label.get("survey", ""))


def _read_label(folder: Path) -> dict[str, Any]:
    path = folder / "recipe.json"
    if not path.is_file():
        raise ValueError(
            f"{folder} is not empty and holds no samples: name another folder for them (--store)"
        )
    label = read_json(path)
    if not isinstance(label, dict) or not isinstance(label.get("recipe"), dict):
        raise damage_error(path, "expected how samples were built")
    return label


def _differences(label: dict[str, Any], identity: dict[str, Any]) -> list[str]:
    """Differences between the stored label and the requested one; settings it lacks had their defaults."""
    defaults = json.loads(json.dumps(asdict(Recipe())))
    stored, recipe = {**defaults, **label["recipe"]}, identity["recipe"]
    stored.pop("flows", None)  # of versions that stored optical flow beside the frames
    differences = [
        f"--recipe.{name} was {stored.get(name)}, now {value}"
        for name, value in recipe.items()
        if stored.get(name) != value
    ]
    differences += [f"recipe.{name} is not known here" for name in stored if name not in recipe]
    same_footage = label.get("held_out") and label["held_out"] == identity["held_out"]
    if label.get("validate") != identity["validate"] and not same_footage:
        differences.append(f"--validate was {label.get('validate')}, now {identity['validate']}")
    return differences + _clip_differences(label.get("clips"), identity["clips"])


def _clip_differences(stored: Any, current: list[list[Any]]) -> list[str]:
    """Differences between clips by name and content, or by path if only paths are stored."""
    described = _is_clip_list(stored, 3)
    if not described and not _is_clip_list(stored, 2):
        return ["the clips differ"]
    if described and _contents(stored) == _contents(current):
        return []
    before = {str(clip): rest for clip, *rest in stored}
    now = {str(clip): rest if described else rest[:1] for clip, *rest in current}
    kinds = {
        "gone": [clip for clip in before if clip not in now],
        "new": [clip for clip in now if clip not in before],
        "changed": [clip for clip in now if clip in before and before[clip] != now[clip]],
    }
    named = [f"{len(clips)} {kind} ({name_few(clips)})" for kind, clips in kinds.items() if clips]
    return [f"the clips differ: {', '.join(named)}"] if named else []


def _contents(clips: list[list[Any]]) -> list[tuple[str, int, str]]:
    return [(Path(path).name, size, digest) for path, size, digest in clips]


def _is_clip_list(values: Any, length: int) -> bool:
    """Whether all values are lists of this length that begin with a path."""
    return isinstance(values, list) and all(
        isinstance(value, list) and len(value) == length and isinstance(value[0], str) for value in values
    )
