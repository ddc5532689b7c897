"""The hardest samples of a benchmark, side by side: the truth, and what each method makes of it.

    python scripts/contact_sheet.py CLIPS OUT.jpg before=FOLDER now=default rife=rife.safetensors [--count 12]

A method is the name or file of a network, or a folder with its frames as CLIP/N.png, N the number of the
frame that was interpolated. Hardest are the samples where the first method's frame is furthest from the truth
in features (`tweenlet.evaluation.features`). The sheet shows, at twice its size, the piece of each where the
first method is furthest off.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor
from torch.nn import functional as F

import tweenlet
from tweenlet.evaluation.clips import clips
from tweenlet.evaluation.features import feature_distance
from tweenlet.evaluation.samples import Sample

PIECE = (120, 160)
"""Height and width of what is shown of a frame, in its pixels."""
LARGEST = 900_000
"""Pixels of the largest frame that is looked at."""
GAP = 4
"""Pixels between pictures."""

Method = Callable[[Sample], Tensor]


class Row(NamedTuple):
    """One sample: the first method's distance from the truth, and the pieces that are shown."""

    distance: float
    name: str
    pieces: list[Tensor]


def main() -> None:
    """Make the sheet that was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("clips", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("methods", nargs="+")
    parser.add_argument("--count", type=int, default=12)
    options = parser.parse_args()
    methods = {name: method(source) for name, _, source in (text.partition("=") for text in options.methods)}
    first = next(iter(methods.values()))
    ranked: list[tuple[float, str]] = []
    for sample in _small(options.clips):
        ranked.append((feature_distance(first(sample), sample.truth), sample.name))
    hardest = {name: distance for distance, name in sorted(ranked, reverse=True)[: options.count]}
    rows = [
        row(sample, hardest[sample.name], methods)
        for sample in _small(options.clips)
        if sample.name in hardest
    ]
    sheet(sorted(rows, reverse=True, key=lambda r: r.distance), ["truth", *methods]).save(
        options.out, quality=88
    )


def _small(folder: Path) -> list[Sample]:
    return [
        sample
        for sample in clips(folder)
        if isinstance(sample, Sample) and sample.truth.shape[1] * sample.truth.shape[2] <= LARGEST
    ]


def method(source: str) -> Method:
    """A function from a sample to a frame (3, H, W) in [0, 1]."""
    if Path(source).is_dir():
        return lambda sample: _from_folder(Path(source), sample)
    network = tweenlet.Interpolator(tweenlet.load(source))
    return lambda sample: network.middle(list(sample.frames)).clamp(0, 1)


def _from_folder(folder: Path, sample: Sample) -> Tensor:
    number = int(re.findall(r"\d+", sample.name)[-1])
    with Image.open(folder / sample.sequence / f"{number}.png") as picture:
        return torch.from_numpy(np.asarray(picture.convert("RGB")).copy()).permute(2, 0, 1) / 255


def row(sample: Sample, distance: float, methods: dict[str, Method]) -> Row:
    """What is shown of a sample: the piece in which the first method is furthest off, of all."""
    frames = [method(sample) for method in methods.values()]
    height, width = PIECE
    error = (frames[0] - sample.truth).square().mean(0, keepdim=True)
    means = F.avg_pool2d(error, PIECE, 8)[0]
    top, left = (8 * int(place) for place in np.unravel_index(int(means.argmax()), means.shape))
    area = (..., slice(top, top + height), slice(left, left + width))
    return Row(distance, sample.name, [picture[area] for picture in (sample.truth, *frames)])


def sheet(rows: list[Row], titles: list[str]) -> Image.Image:
    """All rows as one picture, two of them side by side, the titles above."""
    height, width = (2 * side + GAP for side in PIECE)
    across = len(titles) * width + 3 * GAP
    picture = Image.new("RGB", (2 * across, 20 + -(-len(rows) // 2) * height), "white")
    draw = ImageDraw.Draw(picture)
    for place in range(2 * len(titles)):
        half, column = divmod(place, len(titles))
        draw.text((half * across + column * width + GAP, 4), titles[column], "black")
    for number, each in enumerate(rows):
        for column, piece in enumerate(each.pieces):
            array = (piece.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
            enlarged = Image.fromarray(array).resize((2 * PIECE[1], 2 * PIECE[0]), Image.Resampling.BICUBIC)
            picture.paste(enlarged, (number % 2 * across + column * width, 20 + number // 2 * height))
    return picture


if __name__ == "__main__":
    main()
