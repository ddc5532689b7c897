"""mvtools' FlowInter: block motion in both directions, as VapourSynth users know it. A baseline by command.

    pip install vapoursynth vapoursynth-mvtools pillow numpy && vapoursynth config    (Python 3.12 or later)
    tweenlet evaluate default --baseline "mvtools=python scripts/mvtools.py {1} {2} {out}" ...
    python scripts/mvtools.py BEFORE.png AFTER.png OUT.png [--repeat 20]

It needs nothing of tweenlet, so that it runs in an environment of its own. Blocks of 16 pixels overlap by
half, in 4:4:4 of 8 bits; the new frame lies half-way between. --repeat prints the CPU seconds that a frame
takes once everything is loaded.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np
import vapoursynth
from PIL import Image

BLOCK = 16


def interpolate(pictures: list[np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
    """Two pictures (H, W, 3) of bytes -> the one half-way between them."""
    core = vapoursynth.core
    height, width, _ = pictures[0].shape
    blank = core.std.BlankClip(format=vapoursynth.RGB24, width=width, height=height, length=len(pictures))

    def fill(n: int, f: Any) -> Any:
        frame = f.copy()
        for plane in range(3):
            np.copyto(np.asarray(frame[plane]), pictures[n][..., plane])
        return frame

    clip = core.std.ModifyFrame(blank, blank, fill)
    clip = clip.resize.Bicubic(format=vapoursynth.YUV444P8, matrix_s="709")
    levels = core.mv.Super(clip, pel=2)
    vectors = [
        core.mv.Analyse(levels, isb=backward, blksize=BLOCK, overlap=BLOCK // 2) for backward in (True, False)
    ]
    between = core.mv.FlowInter(clip, levels, *vectors, time=50)
    with between.resize.Bicubic(format=vapoursynth.RGB24, matrix_in_s="709").get_frame(0) as frame:
        return np.stack([np.asarray(frame[plane]) for plane in range(3)], -1)


def main() -> None:
    """Make the frame between two files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("before")
    parser.add_argument("after")
    parser.add_argument("out")
    parser.add_argument("--repeat", type=int, default=1)
    options = parser.parse_args()
    pictures = [np.asarray(Image.open(path).convert("RGB")) for path in (options.before, options.after)]
    start = time.process_time()
    for _ in range(options.repeat):
        frame = interpolate(pictures)
    if options.repeat > 1:
        print(f"{(time.process_time() - start) / options.repeat:.3f} CPU s a frame")
    Image.fromarray(frame).save(options.out)


if __name__ == "__main__":
    main()
