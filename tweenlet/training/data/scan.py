"""Footage: what there is to learn from in a clip, its windows.

    clip --scan--> windows of 7 (stride 1) or 13 (stride 2) consecutive frames
                   without a cut or a repeated frame, each with its motion

A window with first frame t and stride s has inputs t, t+2s, t+4s, t+6s and truth t+3s. Scanning sees each
frame once, as a small grey thumbnail.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from tweenlet.training.data.clips import WINDOW, Pixels, UnusableError, is_quintuplet, read_thumbnails
from tweenlet.video import scene_detection

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
    quintuplet: bool = False
    """Whether the clip holds the five frames used, and none of those between them."""

    @property
    def frames(self) -> tuple[int, int, int, int, int]:
        """Which frames of the clip are used, counted from 0 in order of time; the middle one is the truth."""
        if self.quintuplet:
            return (0, 1, 2, 3, 4)
        t, s = self.first, self.stride
        return (t, t + 2 * s, t + 3 * s, t + 4 * s, t + 6 * s)


@dataclass(frozen=True)
class ClipScan:
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


def scan_clip(clip: Path, strides: tuple[int, ...] = (1, 2)) -> ClipScan:
    """Look at every frame of a clip once, small, and list its usable windows.

    UnusableError where the clip or a frame of it is missing or cannot be read, where its frames change size,
    or where it has fewer than seven.
    """
    if not clip.exists():
        raise UnusableError(clip, "is missing")
    thumbnails: list[Pixels] = []
    size = (0, 0)
    for thumbnail, found in read_thumbnails(clip, THUMBNAIL):
        if thumbnails and found != size:
            raise UnusableError(clip, f"the frame size changes from {size} to {found}")
        thumbnails.append(thumbnail)
        size = found
    repeats = np.array([_difference(a, b) for a, b in pairwise(thumbnails)]) < REPEAT
    if is_quintuplet(clip):
        cuts = _cuts(thumbnails[:2] + thumbnails[3:])  # the inputs, for these are evenly spaced in time
        possible = int(1 in strides)
        blend = _blend_psnr(*thumbnails[1:4])
        whole = possible and not cuts.any() and not repeats.any()
        windows = [Window(0, 1, blend, quintuplet=True)] if whole else []
    elif len(thumbnails) < WINDOW:
        raise UnusableError(clip, f"expected at least {WINDOW} frames, got {len(thumbnails)}")
    else:
        cuts = _cuts(thumbnails)
        possible = len(thumbnails) - WINDOW + 1 if 1 in strides else 0
        windows = list(_windows(thumbnails, cuts | repeats, strides))
    return ClipScan(
        path=clip, width=size[0], height=size[1], frames=len(thumbnails),
        cuts=int(cuts.sum()), repeats=int(repeats.sum()),
        windows=tuple(windows), left_out=possible - sum(window.stride == 1 for window in windows),
    )  # fmt: skip


def _windows(
    thumbnails: Sequence[Pixels], bad: NDArray[np.bool_], strides: tuple[int, ...]
) -> Iterator[Window]:
    """The windows of consecutive frames without a bad step between any two of them."""
    broken = np.concatenate([[0], np.cumsum(bad)])  # broken[i] = bad steps before frame i
    for stride in strides:
        span = (WINDOW - 1) * stride
        for first in range(len(thumbnails) - span):
            if broken[first + span] == broken[first]:
                before, truth, after = (thumbnails[first + k * stride] for k in (2, 3, 4))
                yield Window(first, stride, _blend_psnr(before, truth, after))


def _cuts(thumbnails: Sequence[Pixels]) -> NDArray[np.bool_]:
    """Which of the steps between frames are cuts, judged as when interpolating."""
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
