"""Data loading: samples cropped, flipped, transposed, reversed in time, in an order fixed by (seed, step).

    CropDataset --(seed, epoch)--> which samples --(seed, step)--> crop, Augmentation --> Batch

Nothing is remembered between batches, so a run that resumes at any step sees what it would have seen.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tweenlet.training import distributed
from tweenlet.training.data.dataset import CropDataset

Array = NDArray[Any]


@dataclass(frozen=True)
class Batch:
    """Windows to learn from. The inputs are frames t, t+2, t+4, t+6 and the truth is frame t+3."""

    frames: Tensor
    """(B, 4, 3, h, w) float32 in [0, 1]."""
    truth: Tensor
    """(B, 3, h, w) float32 in [0, 1]."""
    sources: tuple[str, ...] = ()
    """Clip and frame of each sample, to name in messages."""
    teacher_frames: Tensor | None = None
    """(B, K, 3, h, w) float32 in [0, 1]: the precomputed frames of K teachers."""

    def to(self, device: torch.device | str) -> Batch:
        """Copy the batch to a device."""

        def copy(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else tensor.to(device, non_blocking=True)

        frames, truth = (tensor.to(device, non_blocking=True) for tensor in (self.frames, self.truth))
        return Batch(frames, truth, self.sources, copy(self.teacher_frames))


@dataclass(frozen=True)
class Augmentation:
    """One of 96 ways to show a sample: flips, transposition, time reversal and a channel permutation."""

    left_right: bool = False
    up_down: bool = False
    transposed: bool = False
    reversed: bool = False
    """In time."""
    channels: tuple[int, int, int] = (0, 1, 2)

    @classmethod
    def draw(cls, random: np.random.Generator) -> Augmentation:
        """Draw one; all are equally likely."""
        left_right, up_down, transposed, backwards = (bool(bit) for bit in random.integers(0, 2, 4))
        r, g, b = random.permutation(3)
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
        batch_size: samples in a batch, over all processes that train together.
        crop: height and width of the crops, at most those of the samples.
        seed: of the order, the crops and the augmentation.
        teacher_frames: precomputed frames, an array (N, 3, h, w) uint8 for each teacher.

    Raises:
        ValueError: an empty dataset, or arguments that do not fit it or the number of processes.

    """

    def __init__(
        self,
        dataset: CropDataset,
        batch_size: int = 8,
        crop: int = 128,
        seed: int = 0,
        teacher_frames: Sequence[Array] = (),
    ) -> None:
        side, shape = dataset.frames.shape[-1], dataset.frames[:, 0].shape
        if not 0 < crop <= side:
            raise ValueError(f"expected a crop of 1 to {side}, the size of the stored samples, got {crop}")
        if not len(dataset):
            raise ValueError("expected at least one sample, got none")
        if batch_size < 1:
            raise ValueError(f"expected a batch of one sample or more, got {batch_size}")
        if any(frames.shape != shape for frames in teacher_frames):
            raise ValueError(
                f"expected teacher frames of shape {shape}, one for each sample, "
                f"got {[frames.shape for frames in teacher_frames]}"
            )
        distributed.local_slice(batch_size)
        self.dataset, self.batch_size, self.crop, self.seed = dataset, batch_size, crop, seed
        self.teacher_frames = teacher_frames

    def batch_at(self, step: int) -> Batch:
        """The batch of a step, counted from 0; where processes train together, this one's share of it."""
        random = np.random.default_rng([self.seed, 1, step])
        margin = self.dataset.frames.shape[-1] - self.crop
        draws = [
            (
                self._index(step * self.batch_size + n),
                random.integers(0, margin + 1, 2),
                Augmentation.draw(random),
            )
            for n in range(self.batch_size)
        ][distributed.local_slice(self.batch_size)]
        windows, teacher_frames = [], []
        for index, (top, left), augmentation in draws:
            area = (..., slice(top, top + self.crop), slice(left, left + self.crop))
            windows.append(augmentation.apply_to_window(self.dataset.frames[index][area]))
            if self.teacher_frames:
                images = np.stack([frames[index][area] for frames in self.teacher_frames])
                teacher_frames.append(augmentation.apply_to_images(images))
        return collate(
            np.stack(windows),
            tuple(self.dataset.sources[index] for index, *_ in draws),
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
    """Make a Batch of arrays.

    Args:
        windows: (B, 5, 3, h, w) uint8, the truth in the middle.
        sources: a name for each sample.
        teacher_frames: (B, K, 3, h, w) uint8.

    """
    images = torch.from_numpy(windows).float().div_(255)
    return Batch(
        frames=images[:, [0, 1, 3, 4]],
        truth=images[:, 2].contiguous(),
        sources=sources,
        teacher_frames=None if teacher_frames is None else torch.from_numpy(teacher_frames).float().div_(255),
    )


def sequential(dataset: CropDataset, batch_size: int = 8) -> Iterator[Batch]:
    """Every sample once, in order, uncropped and not augmented, in batches: for validation."""
    for start in range(0, len(dataset), batch_size):
        part = slice(start, start + batch_size)
        yield collate(np.array(dataset.frames[part]), tuple(dataset.sources[part]))


def prefetch(sampler: BatchSampler, first: int, last: int, workers: int = 1) -> Iterator[Batch]:
    """The batches of steps first .. last - 1, each made in the background while an earlier one is used."""
    with ThreadPoolExecutor(workers) as pool:
        pending: deque[Future[Batch]] = deque()
        try:
            for step in range(first, last):
                pending.append(pool.submit(sampler.batch_at, step))
                if len(pending) > 2 * workers:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()
