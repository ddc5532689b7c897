"""Footage: the clips in folders of videos or of frame folders, and their windows worth learning from.

    paths --find_clips--> clips --scan--> windows of 7 (stride 1) or 13 (stride 2) consecutive frames
                                          without a cut or a repeated frame, each with its motion

A window with first frame t and stride s has inputs t, t+2s, t+4s, t+6s and truth t+3s. Scanning sees each
frame once, as a small grey thumbnail. PyAV decodes, or OpenCV where PyAV cannot be imported.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from tweenlet import scenes

try:
    import av
except ImportError:  # a machine lent for training may have nothing but OpenCV to decode with
    av = None  # type: ignore[assignment]

Pixels = NDArray[np.uint8]

VIDEOS = frozenset(
    (
        *(".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg"),
        *(".ts", ".y4m", ".h264", ".h265", ".264", ".265", ".hevc"),
    )
)
IMAGES = frozenset((".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff"))
WINDOW = 7
"""Consecutive frames of a window at stride 1; a window of stride s spans 6 s + 1 frames."""
THUMBNAIL = 90
"""Short side of the grey thumbnails that cuts, repeats and motion are judged on."""
REPEAT = 0.12
"""Frames whose thumbnails differ by less than this, on average, in units of 1/255, repeat each other."""


@dataclass(frozen=True)
class Window:
    """Six strides of consecutive frames of one clip."""

    first: int
    stride: int
    blend: float
    """PSNR (dB) at which blending predicts the truth, on thumbnails: low = much motion."""

    @property
    def frames(self) -> tuple[int, int, int, int, int]:
        """Numbers of the frames used, in order of time; the middle one is the truth."""
        t, s = self.first, self.stride
        return (t, t + 2 * s, t + 3 * s, t + 4 * s, t + 6 * s)


@dataclass(frozen=True)
class Footage:
    """What one scan of a clip found."""

    path: Path
    width: int
    height: int
    frames: int
    cuts: int
    repeats: int
    windows: tuple[Window, ...]
    left_out: int
    """Windows of stride 1 not used because of a cut or a repeated frame in them."""


def natural(path: Path) -> list[tuple[int, str]]:
    """A sorting key under which frame10 comes after frame9."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", path.name)]


def find_clips(paths: Iterable[str | Path]) -> list[Path]:
    """Every video file, and every folder of at least seven images, at or below the paths.

    FileNotFoundError for a path that does not exist; ValueError where nothing is found at all.
    """
    clips: set[Path] = set()
    asked = [Path(p) for p in paths]
    for path in asked:
        if not path.exists():
            raise FileNotFoundError(f"no such file or folder: {path}")
        for entry in [path, *path.rglob("*")] if path.is_dir() else [path]:
            if entry.is_dir():
                if len(images_in(entry)) >= WINDOW:
                    clips.add(entry)
            elif entry.suffix.lower() in VIDEOS:
                clips.add(entry)
    if not clips:
        raise ValueError(f"no video and no folder of {WINDOW} or more images in {', '.join(map(str, asked))}")
    return sorted(clips)


def images_in(folder: Path) -> list[Path]:
    """The images of a folder, in the natural order of their names."""
    return sorted((p for p in folder.iterdir() if p.suffix.lower() in IMAGES), key=natural)


def frames_of(clip: Path) -> Iterator[Pixels]:
    """Every frame of a clip, (H, W, 3) uint8 RGB, in order; OSError where it cannot be read."""
    if clip.is_dir():
        for path in images_in(clip):
            picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
            if picture is None:
                raise OSError(f"not a readable image: {path}")
            yield _rgb(picture)
    elif av is not None:
        for frame in _decoded(clip):
            yield frame.to_ndarray(format="rgb24", interpolation="BICUBIC")
    else:
        yield from _decoded_by_opencv(clip)


def thumbnails_of(clip: Path) -> Iterator[tuple[Pixels, tuple[int, int]]]:
    """Every frame of a clip as a grey thumbnail (h, w) uint8, and the (width, height) of the frame."""
    if clip.is_dir() or av is None:
        for picture in frames_of(clip):
            height, width = picture.shape[:2]
            small = cv2.resize(picture, fitted(width, height, THUMBNAIL), interpolation=cv2.INTER_AREA)
            yield np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), np.uint8), (width, height)
        return
    for frame in _decoded(clip):
        w, h = fitted(frame.width, frame.height, THUMBNAIL)
        yield (
            frame.reformat(width=w, height=h, format="gray", interpolation="AREA").to_ndarray(),
            (frame.width, frame.height),
        )


def _decoded(clip: Path) -> Iterator[Any]:
    try:
        with av.open(str(clip)) as container:
            if not container.streams.video:
                raise OSError(f"no video in {clip}")
            yield from container.decode(container.streams.video[0])
    except av.FFmpegError as error:
        raise OSError(f"cannot read {clip}: {error.strerror}") from error


def _decoded_by_opencv(clip: Path) -> Iterator[Pixels]:
    capture = cv2.VideoCapture(str(clip))
    try:
        good, picture = capture.read()
        if not good:
            raise OSError(f"cannot read {clip}")
        while good:
            yield _rgb(picture)
            good, picture = capture.read()
    finally:
        capture.release()


def _rgb(picture: Any) -> Pixels:
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8)


def fitted(width: int, height: int, short_side: int) -> tuple[int, int]:
    """The (width, height) scaled so that the short side is at most `short_side`."""
    scale = min(1.0, short_side / min(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def scan(clip: Path, strides: tuple[int, ...] = (1, 2)) -> Footage:
    """Look at every frame of a clip once, small, and list its usable windows.

    OSError where the clip cannot be read, where its frames change size, or where it has fewer than seven.
    """
    thumbnails: list[Pixels] = []
    size = (0, 0)
    for thumbnail, found in thumbnails_of(clip):
        if thumbnails and found != size:
            raise OSError(f"the frame size changes from {size} to {found} within {clip}")
        thumbnails.append(thumbnail)
        size = found
    if len(thumbnails) < WINDOW:
        raise OSError(f"expected at least {WINDOW} frames, got {len(thumbnails)} in {clip}")
    change = np.array([_difference(a, b) for a, b in pairwise(thumbnails)])
    cuts, repeats = _cuts(thumbnails), change < REPEAT
    broken = np.concatenate([[0], np.cumsum(cuts | repeats)])  # broken[i] = bad steps before frame i
    windows = []
    for stride in strides:
        span = (WINDOW - 1) * stride
        for first in range(len(thumbnails) - span):
            if broken[first + span] == broken[first]:
                before, truth, after = (thumbnails[first + k * stride] for k in (2, 3, 4))
                windows.append(Window(first, stride, _blend_psnr(before, truth, after)))
    singles = sum(window.stride == 1 for window in windows)
    return Footage(
        path=clip, width=size[0], height=size[1], frames=len(thumbnails),
        cuts=int(cuts.sum()), repeats=int(repeats.sum()),
        windows=tuple(windows), left_out=len(thumbnails) - WINDOW + 1 - singles if 1 in strides else 0,
    )  # fmt: skip


def _cuts(thumbnails: Sequence[Pixels]) -> NDArray[np.bool_]:
    """Which of the steps between frames are cuts, judged as when interpolating."""
    tiny = [
        cv2.resize(t, scenes.SMALL[::-1], interpolation=cv2.INTER_AREA) / np.float32(255) for t in thumbnails
    ]
    steps = [None, *(scenes.change(a, b) for a, b in pairwise(tiny)), None]
    return np.array(
        [scenes.is_cut(b, a, c) for a, b, c in zip(steps, steps[1:], steps[2:], strict=False) if b]
    )


def _difference(a: Pixels, b: Pixels) -> float:
    return float(np.abs(a.astype(np.int16) - b).mean())


def _blend_psnr(before: Pixels, truth: Pixels, after: Pixels) -> float:
    error = (before.astype(np.float32) + after) / 2 - truth
    return float(-10 * np.log10(np.mean(error**2) / 255**2 + 1e-8))
