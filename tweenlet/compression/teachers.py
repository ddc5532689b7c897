"""Course: from paths to what a training takes: batches, held-out samples, teachers.

    folders of footage --prepare--> store --Course--> Batches, validation
    checkpoints, ONNX files, folders of frames ----> Teaching: teachers, and their pictures if kept

This is the door between the command line and the functions on objects.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from torch import nn

from tweenlet.compression import distill
from tweenlet.compression.distill import Attention, Flows, Inside, Teacher
from tweenlet.network import checkpoint as weights
from tweenlet.network.stmfnet import STMFNet
from tweenlet.runtime.devices import resolve_device
from tweenlet.training import distributed as parallel
from tweenlet.training.data.batches import Array
from tweenlet.training.data.clips import images_in
from tweenlet.training.data.store import Progress, Samples
from tweenlet.training.data.teacher_outputs import frames_from, keep, made_by


@dataclass(frozen=True)
class Teaching:
    """Whom a student learns from."""

    teachers: tuple[Teacher, ...]
    taught: tuple[Array, ...]
    """What some of them made of the samples beforehand, for the batches."""
    networks: tuple[STMFNet, ...] = ()
    """Those of the teachers that are networks of ours, live."""


def teaching(
    sources: Iterable[str | Path],
    frames: Iterable[Path],
    samples: Samples,
    beforehand: bool = False,
    device: str | None = None,
    progress: Progress | None = None,
) -> Teaching:
    """Teachers from ``sources``, names or files of checkpoints and ONNX files; and from folders of frames.

    What folders hold, and with ``beforehand`` what all teachers make of the samples, is kept beside the
    samples and reused. A teacher that is kept so sees each sample as it lies in the store: whole, and not
    turned. Errors as of :func:`tweenlet.network.checkpoint.load`,
    :func:`~tweenlet.compression.distill.onnx` and
    :func:`~tweenlet.training.data.teacher_outputs.frames_from`.
    """
    teachers: list[Teacher] = []
    taught: list[Array] = []
    shape = samples.frames.shape[2:]

    def kept(name: str, pictures: Callable[[], Iterable[Array]]) -> None:
        path = samples.folder / f"taught-{hashlib.sha256(name.encode()).hexdigest()[:16]}.npy"
        with parallel.first_goes_first():
            found = not path.exists()
            array = keep(path, pictures(), len(samples), shape, progress) if found else Samples.array(path)
        teachers.append(distill.kept(len(taught)))
        taught.append(array)

    networks: list[STMFNet] = []
    for source in sources:
        onnx = str(source).endswith(".onnx")
        model = None if onnx else weights.load(source)
        teacher = distill.onnx(source) if model is None else distill.network(model)
        if beforehand:
            kept(_identity(source), partial(made_by, teacher, samples, device=resolve_device(device)))
            continue
        teachers.append(teacher)
        networks += [] if model is None else [model]
    for folder in frames:
        kept(_listing(folder), partial(frames_from, folder, samples))
    return Teaching(tuple(teachers), tuple(taught), tuple(networks))


def inside_of(
    student: nn.Module, taught: Teaching, attention: Sequence[str] = (), flows: float = 0.0
) -> list[Inside]:
    """What of the first teacher's inside a student learns: where parts look, and its flows by a weight.

    ValueError where there is nothing to look into, as :class:`~tweenlet.compression.distill.Attention` and
    :class:`~tweenlet.compression.distill.Flows` raise it.
    """
    if not attention and not flows:
        return []
    teacher = taught.networks[0] if taught.networks else None
    if teacher is None or not isinstance(student, STMFNet):
        raise ValueError(
            "attention and flows need a checkpoint as the first teacher, not what was kept beforehand"
        )
    parts: list[Inside] = [Attention(student, teacher, attention)] if attention else []
    return [*parts, Flows(student, teacher, flows)] if flows else parts


def _identity(source: str | Path) -> str:
    path = weights.find(source)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _listing(folder: Path) -> str:
    """The folder and what lies in it, so that frames made anew are read anew."""
    if not folder.is_dir():
        raise FileNotFoundError(f"no such folder of a teacher's frames: {folder}")
    files = [image for clip in sorted(folder.iterdir()) if clip.is_dir() for image in images_in(clip)]
    return "\n".join([str(folder.resolve()), *(f"{f} {f.stat().st_mtime_ns}" for f in files)])
