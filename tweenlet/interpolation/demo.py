"""Demo: the embedded clip made smoother, and one picture of what was put between two of its frames.

assets/demo.mp4 ── interpolate_video ──> tweenlet-demo.mp4 ── the hardest step ──> tweenlet-demo.png

tweenlet-demo.png    before │ between, made │ after
the part that moves most, enlarged
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import nn

from tweenlet import video
from tweenlet.interpolation.video import Summary, interpolate_video
from tweenlet.runtime.atomic import check_free

CLIP = Path(__file__).parents[1] / "assets" / "demo.mp4"
LABELS = ("before", "between: made by tweenlet", "after")
INK, PAPER, GAP = (32, 32, 36), (250, 250, 248), 8

Pixels = NDArray[np.float32]


@dataclass(frozen=True)
class Demo:
    """What a demo wrote."""

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
    """Write tweenlet-demo.mp4 and tweenlet-demo.png into a folder; FileExistsError if one is there."""
    smooth, picture = Path(folder) / "tweenlet-demo.mp4", Path(folder) / "tweenlet-demo.png"
    check_free(picture, overwrite)
    summary = interpolate_video(
        CLIP, smooth, factor=2, model=model, device=device, overwrite=overwrite, progress=progress
    )
    with video.write_files([picture]) as [partial]:
        side_by_side(hardest_step(smooth)).save(partial)
    return Demo(smooth, picture, summary)


def hardest_step(smooth: str | Path) -> tuple[Pixels, Pixels, Pixels]:
    """The two real frames that differ most and the made one between, of a video made twice as dense."""
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


def side_by_side(frames: Sequence[Pixels], labels: Sequence[str] = LABELS) -> Image.Image:
    """Frames (3, H, W) in [0, 1] under their labels, with the part that moves most enlarged below each."""
    height, width = frames[0].shape[1:]
    top, left = _busiest_part(frames[0], frames[-1])
    size = max(14, width // 24)
    font = ImageFont.load_default(size)
    head = 2 * size
    sheet = Image.new("RGB", (len(frames) * (width + GAP) + GAP, head + 2 * (height + GAP)), PAPER)
    draw = ImageDraw.Draw(sheet)
    for i, (frame, label) in enumerate(zip(frames, labels, strict=True)):
        x = GAP + i * (width + GAP)
        whole = Image.fromarray(np.rint(frame.transpose(1, 2, 0) * 255).astype(np.uint8))
        part = whole.crop((left, top, left + width // 3, top + height // 3))
        draw.text((x, head / 2), label, INK, font, anchor="lm")
        sheet.paste(whole, (x, head))
        sheet.paste(part.resize((width, height), Image.Resampling.LANCZOS), (x, head + height + GAP))
    return sheet


def _busiest_part(before: Pixels, after: Pixels) -> tuple[int, int]:
    """Top and left of the part, a third of the height and of the width, in which two frames differ most."""
    difference = np.abs(before - after).mean(0)
    height, width = difference.shape
    sums = cv2.boxFilter(
        difference, -1, (width // 3, height // 3), anchor=(0, 0), borderType=cv2.BORDER_CONSTANT
    )
    inside = sums[: height - height // 3 + 1, : width - width // 3 + 1]
    top, left = np.unravel_index(int(inside.argmax()), inside.shape)
    return int(top), int(left)
