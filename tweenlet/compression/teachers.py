"""Teachers for distillation, loaded from files and folders.

checkpoints, ONNX files ── load_teachers ──> TeacherSet: teachers that run live,
folders of frames       ──────────────────/              and precomputed frames beside the samples
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from torch import nn

from tweenlet.compression.distill import (
    AttentionLoss,
    FlowLoss,
    IntermediateLoss,
    Teacher,
    network_teacher,
    onnx_teacher,
    stored_teacher,
)
from tweenlet.compression.inherit import four_frames
from tweenlet.network import checkpoint as weights
from tweenlet.network.stmfnet import STMFNet
from tweenlet.network.weight_files import find
from tweenlet.runtime.devices import resolve_device
from tweenlet.training import distributed
from tweenlet.training.data.batches import Array
from tweenlet.training.data.clips import list_frames
from tweenlet.training.data.dataset import CropDataset, Dataset, Progress, load_array
from tweenlet.training.data.teacher_outputs import predict_all, read_teacher_frames, store_frames


@dataclass(frozen=True)
class TeacherSet:
    """The teachers of a student."""

    teachers: tuple[Teacher, ...]
    teacher_frames: tuple[Array, ...]
    """Precomputed frames (N, 3, h, w) uint8, one array per stored teacher, for the BatchSampler."""
    networks: tuple[STMFNet, ...] = ()
    """Live teachers that are networks of the family."""
    identities: tuple[str, ...] = ()
    """Digest of each teacher and its use, for the identity of the run."""


def load_teachers(
    sources: Iterable[str | Path],
    frames: Iterable[Path],
    dataset: Dataset,
    precompute: bool = False,
    device: str | None = None,
    timed: bool = False,
    progress: Progress | None = None,
) -> TeacherSet:
    """Load teachers from checkpoints, ONNX files and folders of frames.

    Args:
        sources: names of bundled weights, or paths to checkpoints and ONNX files.
        frames: folders for :func:`~tweenlet.training.data.teacher_outputs.read_teacher_frames`.
        dataset: training samples of the student.
        precompute: run every teacher over the dataset once, and store its frames beside the samples for later
            runs. Such a teacher sees each sample whole and without augmentation.
        device: device for precomputing; default: CUDA if available, else the CPU.
        timed: convert intermediate-flow networks of two frames to four.
        progress: called with the name of the work under way, the units done and the total.

    Returns:
        The teachers, those of ``sources`` first.

    Raises: those of :func:`tweenlet.network.checkpoint.load`,
        :func:`~tweenlet.compression.distill.onnx_teacher` and
        :func:`~tweenlet.training.data.teacher_outputs.read_teacher_frames`.

    """
    teachers: list[Teacher] = []
    arrays: list[Array] = []
    networks: list[STMFNet] = []
    identities: list[str] = []

    def store(identity: str, pictures: Callable[[CropDataset], Iterable[Array]]) -> None:
        if not isinstance(dataset, CropDataset):
            raise ValueError(
                "teachers' frames can only be stored with stored samples: expected --source store"
            )
        teachers.append(stored_teacher(len(arrays)))
        arrays.append(_stored_once(dataset, identity, partial(pictures, dataset), progress))

    for source in sources:
        model = None if str(source).endswith(".onnx") else weights.load(source)
        if model is not None and timed:
            model = four_frames(model)
        teacher = onnx_teacher(source) if model is None else network_teacher(model)
        identity = _hash(source) + " timed" * timed
        identities.append(identity + " precomputed" * precompute)
        if precompute:
            store(identity, partial(predict_all, teacher, device=resolve_device(device)))
            continue
        teachers.append(teacher)
        networks += [] if model is None else [model]
    for folder in frames:
        identity = _list_of_frames(folder)
        identities.append(hashlib.sha256(identity.encode()).hexdigest())
        store(identity, partial(read_teacher_frames, folder))
    return TeacherSet(tuple(teachers), tuple(arrays), tuple(networks), tuple(identities))


def _stored_once(
    dataset: CropDataset, identity: str, pictures: Callable[[], Iterable[Array]], progress: Progress | None
) -> Array:
    """A teacher's frames, from a file named after its identity; the first process writes it if need be."""
    path = dataset.folder / f"taught-{hashlib.sha256(identity.encode()).hexdigest()[:16]}.npy"
    with distributed.main_process_first():
        if path.exists():
            return load_array(path)
        return store_frames(path, pictures(), len(dataset), dataset.frames.shape[2:], progress)


def intermediate_losses(
    student: nn.Module, teachers: TeacherSet, attention: Sequence[str] = (), flow_weight: float = 0.0
) -> list[IntermediateLoss]:
    """Losses between internal values of a student and its first teacher.

    Args:
        student: the student; an STMFNet if there is any such loss.
        teachers: the teachers, of which the first network counts.
        attention: parts for an :class:`~tweenlet.compression.distill.AttentionLoss`; default: none.
        flow_weight: weight of a :class:`~tweenlet.compression.distill.FlowLoss`; 0 = none.

    Raises:
        ValueError: no live network among the teachers, or parts that one of the two lacks.

    """
    if not attention and not flow_weight:
        return []
    teacher = teachers.networks[0] if teachers.networks else None
    if teacher is None or not isinstance(student, STMFNet):
        raise ValueError(
            "attention and flows need a checkpoint as the first teacher, and it must not be precomputed"
        )
    losses: list[IntermediateLoss] = [AttentionLoss(student, teacher, attention)] if attention else []
    return [*losses, FlowLoss(student, teacher, flow_weight)] if flow_weight else losses


def _hash(source: str | Path) -> str:
    return hashlib.sha256(find(source).read_bytes()).hexdigest()


def _list_of_frames(folder: Path) -> str:
    """Listing of a folder of frames, independent of its path; rewritten frames change it."""
    if not folder.is_dir():
        raise FileNotFoundError(f"no such folder of a teacher's frames: {folder}")
    clips = [clip for clip in sorted(folder.iterdir()) if clip.is_dir()]
    files = [(clip.name, image) for clip in clips for image in list_frames(clip)]
    listing = (f"{name}/{file.name} {file.stat().st_size} {file.stat().st_mtime_ns}" for name, file in files)
    return "\n".join(listing)
