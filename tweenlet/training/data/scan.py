"""Scan: find usable windows in footage, from one pass over thumbnails of every frame.

    clips --scan_clip--> windows of 7 (stride 1) or 13 (stride 2) consecutive frames
                         without a cut or a repeated frame, each with its motion
          --scan_footage--> clips to train on, clips held out, unusable files

A window with first frame t and stride s has inputs t, t+2s, t+4s, t+6s and truth t+3s.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from tweenlet.training.data.clips import (
    WINDOW,
    Pixels,
    UnusableError,
    is_quintuplet,
    name_few,
    read_thumbnails,
)
from tweenlet.video import scene_detection

WORKERS = 2
"""Clips that are decoded at the same time."""
THUMBNAIL = 90
"""Short side of the grey thumbnails for detecting cuts, repeats and motion, in pixels."""
REPEAT = 0.12
"""Mean difference of thumbnails, in units of 1/255, below which a frame repeats the one before."""
MAX_HELD_OUT = 8
"""Most clips to hold out for validation if none are named."""


@dataclass(frozen=True)
class Window:
    """Consecutive frames of one clip for one sample: seven times the stride."""

    first: int
    stride: int
    blend_psnr: float
    """PSNR of blending against the truth, on thumbnails, in dB: low = much motion."""
    quintuplet: bool = False
    """Whether the clip holds only the five frames of the sample."""

    @property
    def frames(self) -> tuple[int, int, int, int, int]:
        """Numbers of the sample's frames, from 0 in order of time; the middle one is the truth."""
        if self.quintuplet:
            return (0, 1, 2, 3, 4)
        t, s = self.first, self.stride
        return (t, t + 2 * s, t + 3 * s, t + 4 * s, t + 6 * s)


@dataclass(frozen=True)
class ClipScan:
    """Result of scanning one clip."""

    path: Path
    width: int
    height: int
    frames: int
    """Number of frames."""
    cuts: int
    repeats: int
    windows: tuple[Window, ...]
    rejected: int
    """Windows of stride 1 that contain a cut or a repeated frame."""

    @property
    def short_side(self) -> int:
        """Short side of its frames, in pixels."""
        return min(self.width, self.height)


@dataclass(frozen=True)
class FootageScan:
    """Result of scanning all clips."""

    training: tuple[ClipScan, ...]
    held_out: tuple[ClipScan, ...]
    unusable: tuple[tuple[str, str], ...]
    """(file, reason) per unusable clip; the file may be one of its images."""

    def __str__(self) -> str:
        clips = self.training + self.held_out
        windows = sum(window.stride == 1 for clip in clips for window in clip.windows)
        rejected, cuts = sum(clip.rejected for clip in clips), sum(clip.cuts for clip in clips)
        summary = (
            f"{len(clips)} clips, {sum(clip.frames for clip in clips)} frames, {windows} windows; "
            f"{len(self.held_out)} clips held out; {rejected} windows left out for {cuts} cuts "
            f"and {sum(clip.repeats for clip in clips)} repeated frames; {len(self.unusable)} clips unusable"
        )
        return "\n".join([summary, *(f"unusable: {line}" for line in _by_reason(self.unusable))])


def _by_reason(unusable: Sequence[tuple[str, str]]) -> list[str]:
    """One line for each of the ten most common reasons, with the number of clips and the first few names."""
    files = defaultdict(list)
    for file, reason in unusable:
        files[reason].append(file)
    ordered = sorted(files.items(), key=lambda item: -len(item[1]))
    lines = [f"{len(names)} x {reason}: {name_few(names)}" for reason, names in ordered[:10]]
    others = [file for _, names in ordered[10:] for file in names]
    return [*lines, f"{len(others)} x for other reasons: {name_few(others)}"] if others else lines


def scan_footage(
    clips: Collection[Path],
    crop: int,
    validation: Collection[Path] | None = None,
    strides: tuple[int, ...] = (1, 2),
    progress: Callable[[str, int, int], None] | None = None,
) -> FootageScan:
    """Scan every clip for windows, and hold some clips out for validation.

    Args:
        clips: from :func:`~tweenlet.training.data.clips.find_clips`.
        crop: side of the crops, in pixels, that frames must have room for.
        validation: clips to hold out; about one usable clip in seven by default, at most MAX_HELD_OUT.
        strides: strides of the windows, in frames.
        progress: called with the name of the work under way, the units done and the total.

    Raises:
        ValueError: no clip can be trained on.

    """
    paths = sorted({*clips, *(validation or ())})
    usable: dict[Path, ClipScan] = {}
    unusable: list[tuple[str, str]] = []
    with ThreadPoolExecutor(WORKERS) as pool:
        results = pool.map(lambda path: _scan_or_reason(path, crop, strides), paths)
        for done, (path, result) in enumerate(zip(paths, results, strict=True), 1):
            if isinstance(result, ClipScan):
                usable[path] = result
            else:
                unusable.append(result)
            if progress:
                progress("scanning footage", done, len(paths))
    held_out = _hold_out(list(usable)) if validation is None else set(validation)
    training = tuple(clip for path, clip in usable.items() if path not in held_out)
    if not training:
        reasons = "; ".join(_by_reason(unusable)) or "all are held out to validate on"
        raise ValueError(f"none of {len(paths)} clips can be trained on ({reasons})")
    return FootageScan(training, tuple(usable[path] for path in usable if path in held_out), tuple(unusable))


def _hold_out(clips: Sequence[Path]) -> set[Path]:
    """Choose about one clip in seven by the hash of its name, independently of the other clips."""
    by_hash = sorted(clips, key=lambda clip: hashlib.sha256(clip.name.encode()).digest())
    return set(by_hash[: min(MAX_HELD_OUT, len(clips) // 7 or len(clips) // 2)])


def _scan_or_reason(path: Path, crop: int, strides: tuple[int, ...]) -> ClipScan | tuple[str, str]:
    """Scan a clip; returns (file, reason) if it cannot be used."""
    try:
        clip = scan_clip(path, strides)
    except UnusableError as error:
        return str(error.file), error.reason
    except OSError as error:
        return str(path), str(error)
    if clip.short_side < crop:
        return str(path), f"{clip.width}x{clip.height} is smaller than a crop of {crop}"
    if not clip.windows:
        steps = " or ".join(map(str, strides))
        return str(path), f"no window of stride {steps} without a cut or a repeated frame"
    return clip


def scan_clip(path: Path, strides: tuple[int, ...] = (1, 2)) -> ClipScan:
    """Read every frame of a clip once, as a thumbnail, and list its usable windows.

    Raises:
        UnusableError: the clip or a frame of it is missing or cannot be read, frames change size, or there
            are fewer than seven.

    """
    if not path.exists():
        raise UnusableError(path, "is missing")
    thumbnails, size = _read_thumbnails(path)
    repeats = np.array([_difference(a, b) for a, b in pairwise(thumbnails)]) < REPEAT
    if is_quintuplet(path):
        cuts = _find_cuts(thumbnails[:2] + thumbnails[3:])  # the inputs, which are evenly spaced in time
        candidates = int(1 in strides)
        clean = candidates and not cuts.any() and not repeats.any()
        windows = [Window(0, 1, _blend_psnr(*thumbnails[1:4]), quintuplet=True)] if clean else []
    elif len(thumbnails) < WINDOW:
        raise UnusableError(path, f"expected at least {WINDOW} frames, got {len(thumbnails)}")
    else:
        cuts = _find_cuts(thumbnails)
        candidates = len(thumbnails) - WINDOW + 1 if 1 in strides else 0
        windows = list(_find_windows(thumbnails, cuts | repeats, strides))
    return ClipScan(
        path=path, width=size[0], height=size[1], frames=len(thumbnails),
        cuts=int(cuts.sum()), repeats=int(repeats.sum()),
        windows=tuple(windows), rejected=candidates - sum(window.stride == 1 for window in windows),
    )  # fmt: skip


def _read_thumbnails(path: Path) -> tuple[list[Pixels], tuple[int, int]]:
    """All frames of a clip as thumbnails, and their (width, height); UnusableError if the size changes."""
    thumbnails: list[Pixels] = []
    first = (0, 0)
    for thumbnail, size in read_thumbnails(path, THUMBNAIL):
        if thumbnails and size != first:
            raise UnusableError(path, f"the frame size changes from {first} to {size}")
        thumbnails.append(thumbnail)
        first = size
    return thumbnails, first


def _find_windows(
    thumbnails: Sequence[Pixels], bad_steps: NDArray[np.bool_], strides: tuple[int, ...]
) -> Iterator[Window]:
    """The windows of consecutive frames that contain no bad step."""
    bad_before = np.concatenate([[0], np.cumsum(bad_steps)])  # of each frame
    for stride in strides:
        span = (WINDOW - 1) * stride
        for first in range(len(thumbnails) - span):
            if bad_before[first + span] == bad_before[first]:
                before, truth, after = (thumbnails[first + k * stride] for k in (2, 3, 4))
                yield Window(first, stride, _blend_psnr(before, truth, after))


def _find_cuts(thumbnails: Sequence[Pixels]) -> NDArray[np.bool_]:
    """Which steps between frames are cuts, by the same test as interpolation."""
    tiny = [
        cv2.resize(t, scene_detection.SMALL[::-1], interpolation=cv2.INTER_AREA) / np.float32(255)
        for t in thumbnails
    ]
    steps = [None, *(scene_detection.change(a, b) for a, b in pairwise(tiny)), None]
    return np.array(
        [scene_detection.is_cut(b, a, c) for a, b, c in zip(steps, steps[1:], steps[2:], strict=False) if b]
    )


def _difference(a: Pixels, b: Pixels) -> float:
    return float(np.abs(a.astype(np.int16) - b).mean())


def _blend_psnr(before: Pixels, truth: Pixels, after: Pixels) -> float:
    error = (before.astype(np.float32) + after) / 2 - truth
    return float(-10 * np.log10(np.mean(error**2) / 255**2 + 1e-8))
