"""Build: from paths to samples on disk, and to the batches that a training takes.

folders of footage --build_dataset--> store --CourseOptions--> batches, validation
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from tweenlet.training import distributed
from tweenlet.training.data.batches import Array, BatchSampler
from tweenlet.training.data.store import CropDataset, Progress, build_dataset
from tweenlet.training.options import DataOptions


def open_datasets(
    data_options: DataOptions,
    data: Sequence[str | Path],
    out: Path,
    notify: Callable[[str], None] | None = None,
    progress: Progress | None = None,
) -> tuple[CropDataset, CropDataset | None]:
    """Samples to train and to validate on, made from footage if they are not in the course's store yet.

    ``notify`` hears what was found, with the names of what is missing or unusable, before anything is made.
    Of processes that train together the first one makes them. Errors as of
    :func:`~tweenlet.training.data.store.build_dataset`.
    """
    store = data_options.store or out / "store"
    store.parent.mkdir(parents=True, exist_ok=True)
    hears = None if distributed.rank() else notify
    with distributed.main_process_first():
        return build_dataset(
            data, store, data_options.recipe, data_options.validate, notify=hears, progress=progress
        )


def make_sampler(
    data_options: DataOptions, samples: CropDataset, teacher_frames: Sequence[Array] = ()
) -> BatchSampler:
    """The samples in batches, as the course says."""
    return BatchSampler(samples, data_options.batch, data_options.crop, data_options.seed, teacher_frames)
