"""Batches: data loading; samples cut, flipped, turned, reversed in time in an order fixed by (seed, step).

    store/train --(seed, epoch)--> which samples --(seed, step)--> crop, Turn --> Batch

Nothing is remembered between batches, so a run that is resumed at any step sees what it would have seen.
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
from tweenlet.training.data.store import CropDataset

Array = NDArray[Any]


@dataclass(frozen=True)
class Batch:
    """Windows to learn from. The inputs are frames t, t+2, t+4, t+6 and the truth is frame t+3."""

    frames: Tensor
    """(B, 4, 3, h, w) float32 in [0, 1]."""
    truth: Tensor
    """(B, 3, h, w) float32 in [0, 1]."""
    flows: Tensor | None = None
    """(B, 4, 2, h, w) float32, pixels (dx, dy), of I1->I0, I1->I2, I2->I1, I2->I3."""
    sources: tuple[str, ...] = ()
    """Clip and frame that each sample is from, to name in a message."""
    teacher_frames: Tensor | None = None
    """(B, K, 3, h, w) float32 in [0, 1]: what each of K teachers made of it beforehand."""

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on a device."""

        def there(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else tensor.to(device, non_blocking=True)

        frames, truth = (tensor.to(device, non_blocking=True) for tensor in (self.frames, self.truth))
        return Batch(frames, truth, there(self.flows), self.sources, there(self.teacher_frames))


@dataclass(frozen=True)
class Augmentation:
    """One of the ways in which a sample can be seen: all are as likely in nature, or nearly."""

    left_right: bool = False
    up_down: bool = False
    transposed: bool = False
    reversed: bool = False
    """In time."""
    channels: tuple[int, int, int] = (0, 1, 2)

    @classmethod
    def draw(cls, random: np.random.Generator) -> Augmentation:
        """Any of the 96, with equal chances."""
        left_right, up_down, transposed, backwards = (bool(bit) for bit in random.integers(0, 2, 4))
        r, g, b = random.permutation(3)
        return cls(left_right, up_down, transposed, backwards, (int(r), int(g), int(b)))

    def frames(self, frames: Array) -> Array:
        """Turn the five frames of a sample, (5, 3, h, w)."""
        return self.pictures(frames[::-1] if self.reversed else frames)

    def pictures(self, pictures: Array) -> Array:
        """Turn pictures of the truth's moment, (K, 3, h, w)."""
        return self._in_space(pictures)[:, self.channels]

    def flows(self, flows: Array) -> Array:
        """Turn the four flows of a sample, (4, 2, h, w), to what they are between the turned frames."""
        flows = self._in_space(flows[::-1] if self.reversed else flows)
        if self.transposed:
            flows = flows[:, ::-1]
        signs = np.array([-1.0 if self.left_right else 1.0, -1.0 if self.up_down else 1.0], np.float32)
        return flows * signs[:, None, None]

    def _in_space(self, planes: Array) -> Array:
        if self.transposed:
            planes = planes.swapaxes(-1, -2)
        if self.left_right:
            planes = planes[..., ::-1]
        if self.up_down:
            planes = planes[..., ::-1, :]
        return planes


class BatchSampler:
    """An endless course of batches over samples: ``batches.batch_at(step)`` is always the same batch.

    ``teacher_frames``: precomputed, an array (N, 3, h, w) uint8 for each teacher.
    """

    def __init__(
        self,
        samples: CropDataset,
        size: int = 8,
        crop: int = 128,
        seed: int = 0,
        teacher_frames: Sequence[Array] = (),
    ) -> None:
        side = samples.frames.shape[-1]
        if not 0 < crop <= side:
            raise ValueError(f"expected a crop of 1 to {side}, the size of the stored samples, got {crop}")
        if not len(samples):
            raise ValueError("expected at least one sample, got none")
        if size < 1:
            raise ValueError(f"expected a batch of one sample or more, got {size}")
        if any(said.shape != samples.frames[:, 0].shape for said in teacher_frames):
            raise ValueError(
                f"expected teacher frames of shape {samples.frames[:, 0].shape}, one for each sample, "
                f"got {[said.shape for said in teacher_frames]}"
            )
        distributed.local_slice(size)
        self.samples, self.size, self.crop, self.seed, self.teacher_frames = (
            samples,
            size,
            crop,
            seed,
            teacher_frames,
        )

    def batch_at(self, step: int) -> Batch:
        """The batch of a step, counted from 0; of processes that train together, each one's share of it."""
        random = np.random.default_rng([self.seed, 1, step])
        room = self.samples.frames.shape[-1] - self.crop
        drawn = [
            (
                self._index(step * self.size + place),
                random.integers(0, room + 1, 2),
                Augmentation.draw(random),
            )
            for place in range(self.size)
        ][distributed.local_slice(self.size)]
        frames, flows, teacher_frames = [], [], []
        for index, (top, left), turn in drawn:
            area = (..., slice(top, top + self.crop), slice(left, left + self.crop))
            frames.append(turn.frames(self.samples.frames[index][area]))
            if self.samples.flows is not None:
                flows.append(turn.flows(self.samples.flows[index][area]))
            if self.teacher_frames:
                teacher_frames.append(
                    turn.pictures(np.stack([said[index][area] for said in self.teacher_frames]))
                )
        return collate(
            np.stack(frames),
            np.stack(flows, dtype=np.float32) if flows else None,
            tuple(self.samples.sources[index] for index, *_ in drawn),
            np.stack(teacher_frames) if teacher_frames else None,
        )

    def _index(self, drawn: int) -> int:
        epoch, place = divmod(drawn, len(self.samples))
        return int(_order(len(self.samples), self.seed, epoch)[place])


@lru_cache(maxsize=8)
def _order(count: int, seed: int, epoch: int) -> Array:
    """The order of the samples in one epoch."""
    return np.random.default_rng([seed, 0, epoch]).permutation(count)


def collate(
    frames: Array, flows: Array | None, sources: tuple[str, ...] = (), teacher_frames: Array | None = None
) -> Batch:
    """A Batch from uint8 frames (B, 5, 3, h, w), truth in the middle, flows (B, 4, 2, h, w), and what was
    taught, uint8 (B, K, 3, h, w).
    """
    pictures = torch.from_numpy(frames).float().div_(255)
    inputs = pictures[:, [0, 1, 3, 4]]
    motion = None if flows is None else torch.from_numpy(flows).float()
    said = None if teacher_frames is None else torch.from_numpy(teacher_frames).float().div_(255)
    return Batch(inputs, pictures[:, 2].contiguous(), motion, sources, said)


def sequential(samples: CropDataset, size: int = 8) -> Iterator[Batch]:
    """All samples once, whole and as they are, in batches: for validation."""
    for start in range(0, len(samples), size):
        part = slice(start, start + size)
        flows = None if samples.flows is None else np.array(samples.flows[part])
        yield collate(np.array(samples.frames[part]), flows, tuple(samples.sources[part]))


def prefetch(batches: BatchSampler, first: int, last: int, workers: int = 1) -> Iterator[Batch]:
    """The batches of steps first .. last - 1, made in the background while the one before is used."""
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[Future[Batch]] = deque()
        try:
            for step in range(first, last):
                waiting.append(pool.submit(batches.batch_at, step))
                if len(waiting) > 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
