"""Benchmarks: lists of samples whose middle frame is known. Nothing is scored here.

    a clip   ...   t    t+1   t+2   t+3   t+4   t+5   t+6   ...        the window at t
                   |           |     |     |           |
    Sample   frames[0]  frames[1]  truth  frames[2]  frames[3]

A clip is a video file or a folder of frames. It is decoded once, as a stream, up to its last window.
"""

from __future__ import annotations

import json
import re
import sys
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tweenlet import video
from tweenlet.video.images import is_image

WINDOWS_FILE = "eval_windows.json"
"""Fixes which windows of which clips count: {"windows": {path from this file: [first frame numbers]}}."""

_SPAN = 7
_INPUTS = (0, 2, 4, 6)
_TRUTH = 3
_VIDEOS = {".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpg", ".ts", ".webm", ".y4m"}


@dataclass(frozen=True)
class Sample:
    """Four frames, two steps apart, and the frame between the inner two that is to be made from them."""

    name: str
    sequence: str
    frames: Tensor
    """(4, 3, H, W), RGB in [0, 1], in the order of time."""
    truth: Tensor
    """(3, H, W), half-way between ``frames[1]`` and ``frames[2]``."""


@dataclass(frozen=True)
class Clip:
    """A video file or a folder of frames, with the windows that count."""

    path: Path
    windows: tuple[int, ...] | range
    """First frame numbers, rising. A range ends where the clip ends; a tuple must be met in full."""

    @property
    def name(self) -> str:
        """The folder's or the file's own name."""
        return self.path.name

    def __iter__(self) -> Iterator[Sample]:
        """The samples in the order of time; ValueError when the clip ends before its last window does."""
        count, ahead = 0, iter(self.windows)
        if (start := next(ahead, None)) is None:
            return
        recent: deque[video.Frame] = deque(maxlen=_SPAN)
        with video.read(self.path) as reader:
            for count, frame in enumerate(reader, 1):
                recent.append(frame)
                if count < start + _SPAN:
                    continue
                inputs = np.stack([recent[i].rgb() for i in _INPUTS])
                truth = np.array(recent[_TRUTH].rgb())
                name = f"{self.name}/{start:05d}"
                yield Sample(name, self.name, torch.from_numpy(inputs), torch.from_numpy(truth))
                if (start := next(ahead, None)) is None:
                    return
        if not isinstance(self.windows, range):
            needed = f"its window at {start} needs {start + _SPAN}"
            raise ValueError(f"{self.path} has {count} frames, but {needed}")


@dataclass(frozen=True)
class Benchmark:
    """A named list of clips; iterating yields every sample of every clip."""

    name: str
    clips: tuple[Clip, ...]

    def __iter__(self) -> Iterator[Sample]:
        return chain.from_iterable(self.clips)

    @property
    def count(self) -> int | None:
        """How many samples there are; None where only decoding can tell."""
        if any(isinstance(clip.windows, range) for clip in self.clips):
            return None
        return sum(len(clip.windows) for clip in self.clips)

    def part(self, number: int, of: int) -> Benchmark:
        """Every ``of``-th window of each clip, from the ``number``-th on; ValueError for no such part."""
        if not 1 <= number <= of:
            raise ValueError(f"expected a part such as 1/3 or 3/3, got {number}/{of}")
        chosen = (replace(clip, windows=clip.windows[number - 1 :: of]) for clip in self.clips)
        return Benchmark(f"{self.name}, part {number}/{of}", tuple(chosen))


def benchmark(name: str, part: str = "1/1") -> Benchmark:
    """A benchmark by its kind and place, ``clips:FOLDER``; ``part`` 2/3 is the second of every three samples.

    ValueError for what is not understood; FileNotFoundError for what is not there.
    """
    kind, _, path = name.partition(":")
    if kind not in KINDS or not path:
        raise ValueError(f"expected a benchmark such as {', '.join(f'{k}:PATH' for k in KINDS)}; got {name}")
    match = re.fullmatch(r"(\d+)/(\d+)", part)
    if match is None:
        raise ValueError(f"expected a part such as 1/3, got {part}")
    found = KINDS[kind](Path(path))
    return found if part == "1/1" else found.part(int(match[1]), int(match[2]))


def clips(path: Path) -> Benchmark:
    """Every clip of a folder, or one clip alone; named after the number of clips, so that nine are "clips9".

    ``eval_windows.json`` in or beside the folder fixes clips and windows. Without it, every video and every
    folder of frames counts, and a window starts at every second frame, as the paper has it for DAVIS.
    FileNotFoundError names what is missing; ValueError where no clip is found.
    """
    if not path.exists():
        raise FileNotFoundError(f"no such folder of clips or video: {path}")
    found = _listed(path) or [Clip(clip, range(0, sys.maxsize, 2)) for clip in _clip_paths(path)]
    if not found:
        raise ValueError(f"expected videos or folders of frames in {path}, found none")
    return Benchmark(f"clips{len(found)}", tuple(found))


KINDS: dict[str, Callable[[Path], Benchmark]] = {"clips": clips}


def _listed(path: Path) -> list[Clip]:
    """The clips at or under ``path`` that a windows file names, in its order."""
    for folder in (path, path.parent):
        file = folder / WINDOWS_FILE
        if not file.is_file():
            continue
        try:
            windows: dict[str, list[int]] = json.loads(file.read_text())["windows"]
            named = [Clip(folder / clip, tuple(sorted(set(starts)))) for clip, starts in windows.items()]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f'expected {{"windows": {{clip: [frame numbers]}}}} in {file}') from error
        chosen = [clip for clip in named if clip.path.resolve().is_relative_to(path.resolve())]
        missing = [str(clip.path) for clip in chosen if not clip.path.exists()]
        if missing:
            raise FileNotFoundError(f"{file} names clips that are not there: {', '.join(missing)}")
        return chosen
    return []


def _clip_paths(path: Path) -> list[Path]:
    """``path`` itself where it is a clip, else the clips that lie in it, by name."""
    if path.is_file() or _holds_frames(path):
        return [path]
    return [p for p in sorted(path.iterdir()) if p.suffix.lower() in _VIDEOS or _holds_frames(p)]


def _holds_frames(path: Path) -> bool:
    return path.is_dir() and any(is_image(file) for file in path.iterdir())
