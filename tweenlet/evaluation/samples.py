"""Samples: four frames, and the true frame in their middle.

    a clip   ...   t    t+1   t+2   t+3   t+4   t+5   t+6   ...        the window at t
                   |           |     |     |           |
    Sample   frames[0]  frames[1]  truth  frames[2]  frames[3]

    a video or a folder of frames ──> Clip ────┐                ┌─> Sample, or UnreadableSample and why
                                               ├─> .samples() ──┤
    image files, listed ────────────> Stills ──┘                └─> ...          in order of time

    Benchmark = a name and some of these sequences

A sequence is opened when its samples are iterated, and read once, with few frames held.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from tweenlet import video

SPAN = 7
"""Consecutive frames in a window."""
UNEVEN = 0.25
"""Largest deviation of the truth from halfway in time, as a fraction of the distance to its neighbours."""
INPUTS = (0, 2, 4, 6)
"""Frames of a window that are inputs."""
TRUTH = 3
"""Frame of a window to predict."""

_UNUSABLE = (OSError, ValueError, SyntaxError, Image.DecompressionBombError)
"""Pillow's errors for files that are no pictures, damaged (SyntaxError: a PNG file) or too large."""

Pixels = NDArray[np.uint8]
Fit = Callable[[Pixels], Pixels]
"""A benchmark's preprocessing of a picture (H, W, 3); ValueError for one that does not fit."""
NameFilter = Callable[[str], bool]
Seen = tuple[Fraction, Callable[[], NDArray[np.float32]]]
"""Time of a frame, and a function that returns its picture (3, H, W), RGB in [0, 1]."""


def everything(_name: str) -> bool:
    """Select every sample."""
    return True


def as_it_is(pixels: Pixels) -> Pixels:
    """Leave a picture unchanged."""
    return pixels


@dataclass(frozen=True)
class Sample:
    """Four frames, two steps apart, and the true frame between the inner two."""

    name: str
    sequence: str
    frames: Tensor
    """(4, 3, H, W), RGB in [0, 1], in order of time; a set of two frames a, b gives a, a, b, b."""
    truth: Tensor
    """(3, H, W), half-way between ``frames[1]`` and ``frames[2]``."""


@dataclass(frozen=True)
class UnreadableSample:
    """A sample that cannot be read."""

    name: str
    sequence: str
    reason: str
    """The file at fault, and why."""


class SampleSequence(Protocol):
    """A source of samples: a Clip, Stills, or anything with the same interface."""

    @property
    def name(self) -> str:
        """Name in reports, unique within a benchmark."""

    @property
    def count(self) -> int | None:
        """How many samples there are; None where only decoding can tell."""

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files to read."""

    def part(self, number: int, of: int) -> Self:
        """Every ``of``-th sample from the ``number``-th on, counted from 1."""

    def samples(self, select: NameFilter = everything) -> Iterator[Sample | UnreadableSample]:
        """Yield the selected samples, in order of time."""


@dataclass(frozen=True)
class Clip:
    """A video file or a folder of frames, with its windows."""

    path: Path
    windows: tuple[int, ...] | range
    """First frame numbers, ascending. A range ends with the clip; a tuple must exist in full."""
    name: str = ""
    """Name in reports; default: that of the folder or file."""

    def __post_init__(self) -> None:
        if not isinstance(self.windows, range) and sorted({-1, *self.windows}) != [-1, *self.windows]:
            raise ValueError(f"expected rising frame numbers from 0 on for {self.path}, got {self.windows}")
        if not self.name:
            object.__setattr__(self, "name", self.path.absolute().name)

    @property
    def count(self) -> int | None:
        """How many samples there are; None where only decoding can tell."""
        return None if isinstance(self.windows, range) else len(self.windows)

    @property
    def paths(self) -> tuple[Path, ...]:
        """The video, or the images of the folder."""
        return tuple(sorted(self.path.iterdir())) if self.path.is_dir() else (self.path,)

    def part(self, number: int, of: int) -> Clip:
        """Every ``of``-th window from the ``number``-th on, counted from 1."""
        return replace(self, windows=self.windows[number - 1 :: of])

    def samples(self, select: NameFilter = everything) -> Iterator[Sample | UnreadableSample]:
        """Yield the selected samples in order of time; only their frames are converted to RGB.

        If the clip turns out to be damaged, each later window of a tuple, and the first one of a range, is an
        :class:`UnreadableSample`. So are windows of a tuple beyond the end of the clip, the first of a range
        if the clip is too short, and windows in which the truth is not halfway in time, because frames are
        lost or the rate varies.
        """
        windows = self.windows
        if not isinstance(windows, range):
            windows = tuple(start for start in windows if select(self._named(start)))
        if not windows:
            return
        count, trouble = 0, ""
        recent: deque[Seen] = deque(maxlen=SPAN)
        try:
            with video.read(self.path, strict=True) as reader:
                for count, frame in enumerate(reader, 1):
                    recent.append((frame.time, cache(frame.rgb)))
                    start = count - SPAN
                    if start in windows and select(self._named(start)):
                        yield self._sample(start, recent)
                    if start == windows[-1]:
                        return
        except (OSError, ValueError) as error:
            trouble = f"{error} (after {count} frames)"
        yield from self._left(windows, count, trouble, select)

    def _sample(self, start: int, window: Sequence[Seen]) -> Sample | UnreadableSample:
        times, pictures = zip(*window, strict=True)
        if not half_way(times):
            uneven = f"{self.path}: the frame to be made is not half-way in time"
            return UnreadableSample(self._named(start), self.name, uneven)
        frames = torch.from_numpy(np.stack([pictures[place]() for place in INPUTS]))
        truth = torch.from_numpy(np.array(pictures[TRUTH]()))
        return Sample(self._named(start), self.name, frames, truth)

    def _left(
        self, windows: tuple[int, ...] | range, count: int, trouble: str, select: NameFilter
    ) -> Iterator[UnreadableSample]:
        """The windows that can no longer be read after ``count`` frames."""
        ahead: Iterable[int] = windows
        if isinstance(windows, range):
            passed = max(-(-(count - SPAN + 1 - windows.start) // windows.step), 0)
            ahead = windows[passed : passed + 1] if trouble or not passed else ()
        for start in ahead:
            if start + SPAN > count and select(self._named(start)):
                beyond = f"{self.path} has {count} frames, but its window at {start} needs {start + SPAN}"
                yield UnreadableSample(self._named(start), self.name, trouble or beyond)

    def _named(self, start: int) -> str:
        return f"{self.name}/{start:05d}"


@dataclass(frozen=True)
class Files:
    """The image files of one sample."""

    name: str
    inputs: tuple[Path, ...]
    """Four input files; for a set of two frames a, a, b, b."""
    truth: Path

    @property
    def paths(self) -> tuple[Path, ...]:
        """Every file once, the truth last."""
        return tuple(dict.fromkeys((*self.inputs, self.truth)))


@dataclass(frozen=True)
class Stills:
    """A sequence of listed image files."""

    name: str
    files: tuple[Files, ...]
    fit: Fit = as_it_is

    @property
    def count(self) -> int:
        """How many samples there are."""
        return len(self.files)

    @property
    def paths(self) -> tuple[Path, ...]:
        """The images of all samples."""
        return tuple(path for files in self.files for path in files.paths)

    def part(self, number: int, of: int) -> Stills:
        """Every ``of``-th sample from the ``number``-th on, counted from 1."""
        return replace(self, files=self.files[number - 1 :: of])

    def samples(self, select: NameFilter = everything) -> Iterator[Sample | UnreadableSample]:
        """Yield the samples as listed; files shared by neighbours are read once.

        A sample is an :class:`UnreadableSample` if a file is missing, no picture, not 8-bit, partly
        transparent or of another size than the benchmark's, or if its pictures differ in size.
        """
        pictures: dict[Path, Pixels] = {}
        for files in self.files:
            if not select(files.name):
                continue
            try:
                pictures = {
                    path: pictures[path] if path in pictures else _picture(path, self.fit)
                    for path in files.paths
                }
                _same_size(pictures)
            except ValueError as error:
                yield UnreadableSample(files.name, self.name, str(error))
                continue
            frames = _tensor(np.stack([pictures[path] for path in files.inputs]))
            yield Sample(files.name, self.name, frames, _tensor(pictures[files.truth]))


@dataclass(frozen=True)
class Benchmark:
    """A named list of sequences; iterating yields every sample of every one of them."""

    name: str
    sequences: tuple[SampleSequence, ...]
    two_frames: bool = False
    """Whether there are two input frames, repeated as a, a, b, b."""
    by_sequence: bool = False
    """Whether the mean is over the means of sequences rather than over samples."""
    note: str = ""
    """Note for tables: samples left out, a number other than the published one."""
    whole: bool = True
    """Whether these are all the published samples, so that means are comparable with published ones."""
    sources: tuple[str, ...] = ()
    """Attribution and licence of the clips, a line each, from a list."""

    def __post_init__(self) -> None:
        sequences = [sequence.name for sequence in self.sequences]
        stills = [sequence for sequence in self.sequences if isinstance(sequence, Stills)]
        samples = [files.name for sequence in stills for files in sequence.files]
        for names in (sequences, samples):
            if repeated := [name for name, times in Counter(names).items() if times > 1]:
                raise ValueError(f"{self.name} lists {', '.join(repeated[:5])} more than once")

    def __iter__(self) -> Iterator[Sample]:
        """Yield every sample in order; ValueError at a damaged one."""
        for sequence in self.sequences:
            for sample in sequence.samples():
                if isinstance(sample, UnreadableSample):
                    raise ValueError(f"sample {sample.name} is damaged: {sample.reason}")
                yield sample

    @property
    def count(self) -> int | None:
        """How many samples there are; None where only decoding can tell."""
        counts = [sequence.count for sequence in self.sequences]
        known = [count for count in counts if count is not None]
        return sum(known) if len(known) == len(counts) else None

    def part(self, number: int, of: int) -> Benchmark:
        """Every ``of``-th sample of each sequence, from the ``number``-th on; ValueError if there is none.

        If sequences are single samples, it is every ``of``-th sequence.
        """
        if not 1 <= number <= of:
            raise ValueError(f"expected a subset such as 1/3 or 3/3, got {number}/{of}")
        single = all(sequence.count == 1 for sequence in self.sequences)
        parts = (sequence.part(number, of) for sequence in self.sequences)
        chosen = self.sequences[number - 1 :: of] if single else tuple(s for s in parts if s.count != 0)
        return replace(self, name=f"{self.name}, part {number}/{of}", sequences=chosen, whole=False)


def half_way(times: Sequence[Fraction]) -> bool:
    """Whether the truth of a window of seven frames is halfway in time between its neighbours."""
    before, truth, after = (times[place] for place in (INPUTS[1], TRUTH, INPUTS[2]))
    return after > before and abs(truth - (before + after) / 2) <= UNEVEN * (after - before) / 2


def short_names(paths: Iterable[Path]) -> dict[Path, str]:
    """The shortest unambiguous end of each path."""
    parts = {path: path.absolute().parts for path in paths}
    length, longest = 1, max(map(len, parts.values()), default=0)
    while length < longest and len({own[-length:] for own in parts.values()}) < len(parts):
        length += 1
    return {path: "/".join(own[-length:]) for path, own in parts.items()}


def _picture(path: Path, fit: Fit) -> Pixels:
    """Read an image with Pillow, as the official evaluations do; ValueError if that fails."""
    try:
        with Image.open(path) as image:
            wide = image.mode.startswith(("I", "F")) or any(";16" in str(tile.args) for tile in image.tile)
            if wide or image.mode in ("CMYK", "LAB", "HSV", "YCbCr"):
                kind = "more than 8 bits" if wide else f"{image.mode} colours"
                raise ValueError(f"it has {kind}, expected 8-bit RGB")
            if image.has_transparency_data:
                opacity = image.convert("RGBA").getchannel("A").getextrema()
                if opacity != (255, 255):
                    raise ValueError("it has transparent parts, expected 8-bit RGB")
            return fit(np.asarray(image.convert("RGB")))
    except FileNotFoundError:
        raise ValueError(f"{path} is missing") from None
    except _UNUSABLE as error:
        raise ValueError(f"{path} cannot be used: {error}") from None


def _same_size(pictures: dict[Path, Pixels]) -> None:
    sizes = {path.name: f"{pixels.shape[1]}x{pixels.shape[0]}" for path, pixels in pictures.items()}
    if len(set(sizes.values())) > 1:
        told = ", ".join(f"{name} {size}" for name, size in sizes.items())
        folder = next(iter(pictures)).parent
        raise ValueError(f"{folder} has pictures of different sizes in one sample: {told}")


def _tensor(pixels: Pixels) -> Tensor:
    """(..., H, W, 3) of 0 to 255 -> (..., 3, H, W) in [0, 1]."""
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(pixels, -1, -3), np.float32)) / 255
