"""Data loading: samples cropped, flipped, transposed, reversed in time, in an order fixed by (seed, step).

    CropDataset --(seed, epoch)--> which samples --(seed, step)--> crop, Augmentation --> Batch

It replaces torch's DataLoader. There is no state between batches, so a run that resumes at any step sees the
same samples as one that was never stopped.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tweenlet.training import distributed
from tweenlet.training.data.dataset import CropDataset, Dataset
from tweenlet.training.options import Augment

Array = NDArray[Any]


@dataclass(frozen=True)
class Batch:
    """Training windows: the inputs are frames t, t+2, t+4, t+6, and the truth is frame t+3."""

    frames: Tensor
    """(B, 4, 3, h, w) float32 in [0, 1]."""
    truth: Tensor
    """(B, 3, h, w) float32 in [0, 1]."""
    sources: tuple[str, ...] = ()
    """Clip and frame of each sample, for messages."""
    teacher_frames: Tensor | None = None
    """(B, K, 3, h, w) float32 in [0, 1]: the precomputed frames of K teachers."""

    def to(self, device: torch.device | str) -> Batch:
        """Copy the batch to a device; bytes become float32 in [0, 1] there."""

        def convert(tensor: Tensor) -> Tensor:
            tensor = tensor.to(device, non_blocking=True)
            return tensor.float().div_(255) if tensor.dtype == torch.uint8 else tensor

        return self._map(convert)

    def pin(self) -> Batch:
        """Copy the batch to pinned memory, for asynchronous copies to a GPU."""
        return self._map(Tensor.pin_memory)

    def split(self, parts: int) -> list[Batch]:
        """Split the batch into equal parts; ValueError if its size is no multiple of their number."""
        count = len(self.frames)
        if count % parts:
            raise ValueError(f"expected a batch that can be divided into {parts} equal parts, got {count}")
        size = count // parts

        def part(start: int) -> Batch:
            span = slice(start, start + size)
            return replace(self._map(lambda tensor: tensor[span]), sources=self.sources[span])

        return [part(start) for start in range(0, count, size)]

    def _map(self, change: Callable[[Tensor], Tensor]) -> Batch:
        teacher_frames = None if self.teacher_frames is None else change(self.teacher_frames)
        return Batch(change(self.frames), change(self.truth), self.sources, teacher_frames)


def predict(model: nn.Module, batch: Batch) -> Tensor:
    """Run a model on a batch; returns (B, 3, h, w)."""
    return model(batch.frames)  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Augmentation:
    """One of 96 augmentations: flips, transposition, time reversal and a channel permutation."""

    left_right: bool = False
    up_down: bool = False
    transposed: bool = False
    reversed: bool = False
    """In time."""
    channels: tuple[int, int, int] = (0, 1, 2)

    @classmethod
    def draw(cls, random: np.random.Generator, among: Augment = "all") -> Augmentation:
        """Draw one uniformly; "flips" leaves out transposition and channels, "none" everything."""
        left_right, up_down, transposed, backwards = (bool(bit) for bit in random.integers(0, 2, 4))
        r, g, b = random.permutation(3)
        if among == "none":
            return cls()
        if among == "flips":
            return cls(left_right, up_down, reversed=backwards)
        return cls(left_right, up_down, transposed, backwards, (int(r), int(g), int(b)))

    def apply_to_window(self, frames: Array) -> Array:
        """Augment the five frames of a sample, (5, 3, h, w)."""
        return self.apply_to_images(frames[::-1] if self.reversed else frames)

    def apply_to_images(self, images: Array) -> Array:
        """Augment images at the truth's time, (K, 3, h, w)."""
        return self._apply_in_space(images)[:, self.channels]

    def _apply_in_space(self, planes: Array) -> Array:
        if self.transposed:
            planes = planes.swapaxes(-1, -2)
        if self.left_right:
            planes = planes[..., ::-1]
        if self.up_down:
            planes = planes[..., ::-1, :]
        return planes


class BatchSampler:
    """An endless sequence of batches of a dataset: ``sampler.batch_at(step)`` is always the same batch.

    Args:
        dataset: the samples.
        batch_size: samples per batch, over all distributed processes.
        crop: height and width of the crops, at most those of the samples.
        seed: seed of the order, the crops and the augmentation.
        teacher_frames: precomputed frames, an array (N, 3, h, w) uint8 for each teacher.
        augment: augmentations to draw from.

    Raises:
        ValueError: an empty dataset, or arguments that do not fit it or the number of processes.

    """

    def __init__(
        self,
        dataset: Dataset,
        batch_size: int = 8,
        crop: int = 128,
        seed: int = 0,
        teacher_frames: Sequence[Array] = (),
        augment: Augment = "all",
    ) -> None:
        side = dataset.side
        if not 0 < crop <= side:
            raise ValueError(f"expected a crop of 1 to {side}, the size of the stored samples, got {crop}")
        if not len(dataset):
            raise ValueError("expected at least one sample, got none")
        if batch_size < 1:
            raise ValueError(f"expected a batch of one sample or more, got {batch_size}")
        if teacher_frames:
            if not isinstance(dataset, CropDataset):
                raise ValueError(
                    "precomputed frames of teachers go with stored samples only (--source store)"
                )
            shape = dataset.frames[:, 0].shape
            if any(frames.shape != shape for frames in teacher_frames):
                raise ValueError(
                    f"expected teacher frames of shape {shape}, one for each sample, "
                    f"got {[frames.shape for frames in teacher_frames]}"
                )
        distributed.local_slice(batch_size)
        self.dataset, self.batch_size, self.crop, self.seed = dataset, batch_size, crop, seed
        self.teacher_frames, self.augment = teacher_frames, augment

    def batch_at(self, step: int) -> Batch:
        """The batch of a step, counted from 0; of distributed processes, this one's share of it."""
        return self.bytes_at(step).to("cpu")

    def bytes_at(self, step: int) -> Batch:
        """As :meth:`batch_at`, but uint8, a quarter of the bytes to copy; ``Batch.to`` converts it."""
        random = np.random.default_rng([self.seed, 1, step])
        draws = []
        for number in range(self.batch_size):
            index = self._index(step * self.batch_size + number)
            height, width = self.dataset.size_of(index)
            place = random.integers(0, (height - self.crop + 1, width - self.crop + 1))
            draws.append((index, place, Augmentation.draw(random, self.augment)))
        windows, teacher_frames = [], []
        for index, (top, left), augmentation in draws[distributed.local_slice(self.batch_size)]:
            area = (..., slice(top, top + self.crop), slice(left, left + self.crop))
            windows.append(augmentation.apply_to_window(self.dataset.window(index)[area]))
            if self.teacher_frames:
                images = np.stack([frames[index][area] for frames in self.teacher_frames])
                teacher_frames.append(augmentation.apply_to_images(images))
        local = draws[distributed.local_slice(self.batch_size)]
        return _collate_bytes(
            np.stack(windows),
            tuple(self.dataset.sources[index] for index, *_ in local),
            np.stack(teacher_frames) if teacher_frames else None,
        )

    def _index(self, draw: int) -> int:
        """The sample of the n-th draw: every epoch is a permutation of the dataset."""
        epoch, position = divmod(draw, len(self.dataset))
        return int(_permutation(len(self.dataset), self.seed, epoch)[position])


@lru_cache(maxsize=8)
def _permutation(count: int, seed: int, epoch: int) -> Array:
    return np.random.default_rng([seed, 0, epoch]).permutation(count)


def collate(windows: Array, sources: tuple[str, ...] = (), teacher_frames: Array | None = None) -> Batch:
    """Make a Batch from arrays.

    Args:
        windows: (B, 5, 3, h, w) uint8, the truth in the middle.
        sources: a name for each sample.
        teacher_frames: (B, K, 3, h, w) uint8.

    """
    return _collate_bytes(windows, sources, teacher_frames).to("cpu")


def _collate_bytes(
    windows: Array, sources: tuple[str, ...] = (), teacher_frames: Array | None = None
) -> Batch:
    images = torch.from_numpy(windows)
    return Batch(
        frames=images[:, [0, 1, 3, 4]],
        truth=images[:, 2].contiguous(),
        sources=sources,
        teacher_frames=None if teacher_frames is None else torch.from_numpy(teacher_frames),
    )


def sequential(dataset: CropDataset, batch_size: int = 8, multiple: int = 1) -> Iterator[Batch]:
    """Yield every sample once, in order, without augmentation, in batches: for validation.

    Samples are centre-cropped to the largest multiple of ``multiple`` pixels; ValueError if they are smaller.
    """
    height, width = dataset.frames.shape[-2:]
    top, left = height % multiple // 2, width % multiple // 2
    if min(height, width) < multiple:
        raise ValueError(
            f"expected samples of at least {multiple} pixels a side, got {width}x{height}: build them with a "
            "larger --recipe.crop"
        )
    rows, columns = (
        slice(top, top + height // multiple * multiple),
        slice(left, left + width // multiple * multiple),
    )
    for start in range(0, len(dataset), batch_size):
        part = slice(start, start + batch_size)
        yield collate(np.array(dataset.frames[part, ..., rows, columns]), tuple(dataset.sources[part]))


def prefetch(
    sampler: BatchSampler, first: int, last: int, workers: int = 1, pin: bool = False
) -> Iterator[Batch]:
    """Yield the batches of steps first .. last - 1, each loaded in the background while another is used.

    They are uint8, which ``Batch.to`` converts; ``pin`` puts them into pinned memory.
    """

    def load(step: int) -> Batch:
        batch = sampler.bytes_at(step)
        return batch.pin() if pin else batch

    with ThreadPoolExecutor(workers) as pool:
        pending: deque[Future[Batch]] = deque()
        try:
            for step in range(first, last):
                pending.append(pool.submit(load, step))
                if len(pending) > 2 * workers:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()
