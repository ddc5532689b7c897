"""Demo: interpolate the bundled clip, and picture one of the new frames between its neighbours.

assets/demo.mp4 ── interpolate_video ──> tweenlet-demo.mp4 ── the hardest step ──> tweenlet-demo.png

tweenlet-demo.png    before │ new │ after
                     below each, the area with the most motion, enlarged
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import av
import numpy as np
from numpy.typing import NDArray

from tweenlet import video
from tweenlet.interpolation.video import Summary, interpolate_video
from tweenlet.runtime.folders import check_free
from tweenlet.video.images import ImageEncoder

if TYPE_CHECKING:
    import torch
    from torch import nn

CLIP = Path(__file__).parents[1] / "assets" / "demo.mp4"
GAP = 8
"""Pixels of white around each picture."""

Pixels = NDArray[np.float32]


@dataclass(frozen=True)
class Demo:
    """The outputs of a demo."""

    video: Path
    picture: Path
    summary: Summary


def demo(
    folder: str | Path = ".",
    *,
    model: str | Path | nn.Module = "default",
    device: str | torch.device | None = None,
    overwrite: bool = False,
    progress: Callable[[int, int | None], None] | None = None,
) -> Demo:
    """Write tweenlet-demo.mp4 and tweenlet-demo.png into a folder; FileExistsError if one exists."""
    smooth, picture = Path(folder) / "tweenlet-demo.mp4", Path(folder) / "tweenlet-demo.png"
    check_free(picture, overwrite)
    summary = interpolate_video(
        CLIP, smooth, factor=2, model=model, device=device, overwrite=overwrite, progress=progress
    )
    with video.write_files([picture]) as [partial]:
        ImageEncoder(".png", 8).write(side_by_side(hardest_step(smooth)), partial)
    return Demo(smooth, picture, summary)


def hardest_step(smooth: str | Path) -> tuple[Pixels, Pixels, Pixels]:
    """From a video of doubled rate, the two source frames that differ most and the new frame between them."""
    most, hardest = -1.0, None
    recent: deque[Pixels] = deque(maxlen=3)
    with video.read(smooth) as reader:
        for index, frame in enumerate(reader):
            recent.append(frame.rgb())
            if index >= 2 and index % 2 == 0:
                difference = float(np.abs(recent[0] - recent[2]).mean())
                if difference > most:
                    most, hardest = difference, (recent[0], recent[1], recent[2])
    if hardest is None:
        raise ValueError(f"{smooth}: expected three frames or more")
    return hardest


def side_by_side(frames: Sequence[Pixels]) -> Pixels:
    """Frames (3, H, W) in [0, 1] in a row on white, each above an enlarged crop of the strongest motion."""
    height, width = frames[0].shape[1:]
    top, left = _busiest_part(frames[0], frames[-1])
    sheet = np.ones((3, 2 * (height + GAP) + GAP, len(frames) * (width + GAP) + GAP), np.float32)
    for i, frame in enumerate(frames):
        part = frame[:, top : top + height // 3, left : left + width // 3]
        enlarged = _enlarge(part, height, width)
        for row, picture in enumerate((frame, enlarged)):
            y, x = GAP + row * (height + GAP), GAP + i * (width + GAP)
            sheet[:, y : y + height, x : x + width] = picture
    return sheet


def _enlarge(part: Pixels, height: int, width: int) -> Pixels:
    """Resize a picture (3, h, w) in [0, 1], bicubically, to 8 bits."""
    values = np.rint(part.transpose(1, 2, 0).clip(0, 1) * 255).astype(np.uint8)
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(values))
    enlarged = frame.reformat(width, height, interpolation="BICUBIC").to_ndarray()
    return np.asarray(enlarged.transpose(2, 0, 1) / 255, np.float32)


def _busiest_part(before: Pixels, after: Pixels) -> tuple[int, int]:
    """Top and left of the crop, a third of the height and width, in which two frames differ most."""
    difference = np.abs(before - after).mean(0)
    down, across = before.shape[1] // 3, before.shape[2] // 3
    above = np.pad(difference.cumsum(0, np.float64).cumsum(1), ((1, 0), (1, 0)))  # the integral image
    inside = above[down:, across:] - above[:-down, across:] - above[down:, :-across] + above[:-down, :-across]
    top, left = np.unravel_index(int(inside.argmax()), inside.shape)
    return int(top), int(left)
