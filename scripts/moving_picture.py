"""The moving picture of the README, made by the product: the demo clip at 7.5 and at 30 frames a second.

    python scripts/moving_picture.py docs/demo.webp

Left, every second frame of the clip, 7.5 a second, each held until the next; right, those and what tweenlet
makes between them, 30 a second. Frames are halved in size after the network has made them.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

import tweenlet
from tweenlet import video
from tweenlet.interpolation.demo import CLIP
from tweenlet.runtime.atomic import atomic_write

FACTOR, EVERY, GAP = 4, 2, 8
MILLISECONDS = 33


def halve(frame: np.ndarray) -> Image.Image:
    """A frame (3, H, W) in [0, 1] as an image of half the size."""
    image = Image.fromarray((frame.clip(0, 1) * 255).round().astype(np.uint8).transpose(1, 2, 0))
    return image.resize((image.width // 2, image.height // 2), Image.Resampling.LANCZOS)


def main() -> None:
    """Write the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", type=Path)
    target = parser.parse_args().target
    with video.read(CLIP) as reader:
        frames = [frame.rgb() for frame in reader][::EVERY]
    dense = [halve(frame) for frame in tweenlet.interpolate(frames, factor=FACTOR, channels="first")]
    pictures = []
    for number, right in enumerate(dense):
        left = dense[number // FACTOR * FACTOR]
        picture = Image.new("RGB", (2 * left.width + GAP, left.height), "white")
        picture.paste(left, (0, 0))
        picture.paste(right, (left.width + GAP, 0))
        pictures.append(picture)
    with atomic_write(target) as partial:
        pictures[0].save(
            partial, "WEBP", save_all=True, append_images=pictures[1:], duration=MILLISECONDS, loop=0,
            quality=55, method=6,
        )  # fmt: skip
    print(f"{target}: {len(pictures)} frames, {target.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
