"""Build: from paths to samples on disk, and to the batches that a training takes.

folders of footage --build_dataset--> store --CourseOptions--> batches, validation
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from tweenlet.training import distributed as parallel
from tweenlet.training.data.batches import Array, Batches
from tweenlet.training.data.store import Progress, Samples, prepare
from tweenlet.training.options import Course


def samples_of(
    course: Course,
    data: Sequence[str | Path],
    out: Path,
    notify: Callable[[str], None] | None = None,
    progress: Progress | None = None,
) -> tuple[Samples, Samples | None]:
    """Samples to train and to validate on, made from footage if they are not in the course's store yet.

    ``notify`` hears what was found, with the names of what is missing or unusable, before anything is made.
    Of processes that train together the first one makes them. Errors as of
    :func:`~tweenlet.training.data.store.prepare`.
    """
    store = course.store or out / "store"
    store.parent.mkdir(parents=True, exist_ok=True)
    hears = None if parallel.rank() else notify
    with parallel.first_goes_first():
        return prepare(data, store, course.recipe, course.validate, notify=hears, progress=progress)


def batches_of(course: Course, samples: Samples, taught: Sequence[Array] = ()) -> Batches:
    """The samples in batches, as the course says."""
    return Batches(samples, course.batch, course.crop, course.seed, taught)
