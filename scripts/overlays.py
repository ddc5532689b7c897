"""Overlays: draw subtitles, logos and game displays onto clips, interpolate, and compare with the truth.

    python scripts/overlays.py CLIPS [--subset 1/3] [--show FOLDER]

    window of a clip --> the same picture drawn over all frames --> one JPEG per frame --> frames, truth
    four frames --> the default network, with `ops/overlay.py` and without, and blending --> PSNR

PSNR is that of the whole frame, of the overlay only, and of 8 pixels around it. Clips as `tweenlet evaluate`
takes them. With --show, the first window of each clip is saved: the default, without, and the truth.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torch.nn import functional as F

import tweenlet
from tweenlet.evaluation.clips import clips
from tweenlet.network import four_frames
from tweenlet.runtime.tables import table

AROUND = 8
"""Width of the surroundings of an overlay, in pixels."""
QUALITY = 92
"""JPEG quality: static areas differ from frame to frame in real videos too."""
WHITE, BLACK, CLEAR = (255, 255, 255, 255), (0, 0, 0, 255), (0, 0, 0, 0)


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("clips", type=Path)
    parser.add_argument("--subset", default="1/3")
    parser.add_argument("--show", type=Path)
    options = parser.parse_args()
    network = tweenlet.Interpolator(tweenlet.load("default"))
    methods: dict[str, Callable[[Tensor], Tensor]] = {
        "default": lambda frames: network.middle(list(frames)).clamp(0, 1),
        "without": lambda frames: without_detection(network, frames),
        "blend": lambda frames: (frames[1] + frames[2]) / 2,
    }
    scores = defaultdict(list)
    benchmark = clips(options.clips).part(*map(int, options.subset.split("/")))
    seen_clips = set()
    for sample in benchmark:
        for name, draw in DRAWN.items():
            layer = drawn(draw, *sample.truth.shape[1:])
            *frames, truth = (coded(frame, layer) for frame in (*sample.frames, sample.truth))
            within = (layer[3:] > 0).float()
            near = F.max_pool2d(within, 2 * AROUND + 1, 1, AROUND) - within
            outputs = {method: make(torch.stack(frames)) for method, make in methods.items()}
            for method, middle in outputs.items():
                error = (middle - truth).square().mean(0, keepdim=True)
                parts = (error.mean(), *((error * part).sum() / part.sum() for part in (within, near)))
                scores[name, method].append([-10 * part.clamp_min(1e-8).log10().item() for part in parts])
            if options.show and (sample.sequence, name) not in seen_clips:
                seen_clips.add((sample.sequence, name))
                options.show.mkdir(parents=True, exist_ok=True)
                beside = torch.cat((outputs["default"], outputs["without"], truth), 1)
                picture(beside).save(options.show / f"{Path(sample.sequence).stem}-{name}.png")
    print(f"{benchmark.name}: PSNR in dB, mean of {len(scores[next(iter(DRAWN)), 'blend'])} windows\n")
    rows = [(*key, *(f"{x:.2f}" for x in np.mean(of, 0))) for key, of in scores.items()]
    print(table(("overlay", "method", "whole frame", "overlay only", "8 pixels around it"), rows, names=2))


def without_detection(network: tweenlet.Interpolator, frames: Tensor) -> Tensor:
    """The output of the network without overlay detection."""
    with mock.patch.object(four_frames, "overlay", lambda frames, _: torch.zeros_like(frames[:, 0, :1])):
        return network.middle(list(frames)).clamp(0, 1)


def drawn(draw: Callable[[ImageDraw.ImageDraw, int, int], None], height: int, width: int) -> Tensor:
    """(4, H, W): red, green, blue and how much of it covers."""
    image = Image.new("RGBA", (width, height), CLEAR)
    draw(ImageDraw.Draw(image), width, height)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1) / 255


def coded(frame: Tensor, layer: Tensor) -> Tensor:
    """A frame (3, H, W) with a layer (4, H, W) over it, as a JPEG keeps it."""
    file = BytesIO()
    picture(frame.lerp(layer[:3], layer[3:])).save(file, "JPEG", quality=QUALITY)
    pixels: NDArray[np.uint8] = np.array(Image.open(file))
    return torch.from_numpy(pixels).permute(2, 0, 1) / 255


def picture(frame: Tensor) -> Image.Image:
    """A frame (3, H, W) in [0, 1] as a picture."""
    return Image.fromarray((255 * frame).round().byte().permute(1, 2, 0).numpy())


def subtitles(draw: ImageDraw.ImageDraw, width: int, height: int) -> None:
    """Two lines, white on black outlines."""
    for place, line in (
        (0.83, "I never said that she stole my money,"),
        (0.91, "and you know it as well as I do."),
    ):
        outline = max(1, height // 240)
        draw.text(
            (width / 2, height * place), line, WHITE, font(height / 18), "mm",
            stroke_width=outline, stroke_fill=BLACK,
        )  # fmt: skip


def logo(draw: ImageDraw.ImageDraw, width: int, height: int) -> None:
    """A ring and a name, half transparent."""
    ghost = (255, 255, 255, 150)
    draw.text((width * 0.86, height * 0.1), "tweenTV", ghost, font(height / 16), "mm")
    ring = (width * 0.7, height * 0.07, width * 0.7 + height * 0.07, height * 0.14)
    draw.ellipse(ring, outline=ghost, width=max(2, height // 120))


def score(draw: ImageDraw.ImageDraw, width: int, height: int) -> None:
    """A box with another in it, and letters in both."""
    draw.rectangle((width * 0.05, height * 0.05, width * 0.35, height * 0.12), (20, 30, 90, 255))
    draw.rectangle((width * 0.25, height * 0.05, width * 0.35, height * 0.12), (230, 230, 230, 255))
    draw.text((width * 0.15, height * 0.085), "HOME  AWAY", WHITE, font(height / 24), "mm")
    draw.text((width * 0.3, height * 0.085), "2 : 1", BLACK, font(height / 22), "mm")


def display(draw: ImageDraw.ImageDraw, width: int, height: int) -> None:
    """A game display: thin crosshairs, a bar and a number."""
    green = (0, 255, 0, 255)
    for x in (0.48, 0.52):
        draw.line((width * x - 8, height / 2, width * x + 8, height / 2), green, 2)
    for y in (0.46, 0.54):
        draw.line((width / 2, height * y - 8, width / 2, height * y + 8), green, 2)
    draw.rectangle((width * 0.03, height * 0.9, width * 0.25, height * 0.93), outline=WHITE, width=2)
    draw.rectangle((width * 0.035, height * 0.905, width * 0.18, height * 0.925), (200, 30, 30, 255))
    draw.text((width * 0.9, height * 0.92), "30/120", (255, 220, 0, 255), font(height / 18), "mm")


def font(size: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The font that comes with Pillow."""
    return ImageFont.load_default(max(10, round(size)))


DRAWN = {"subtitles": subtitles, "logo": logo, "score": score, "display": display}

if __name__ == "__main__":
    main()
