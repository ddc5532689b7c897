#!/usr/bin/env python
"""From file to file: what a new frame takes in `tweenlet interpolate`, decoding and encoding included.

    python scripts/end_to_end.py CLIP [--size 854x480] [--frames 20 80] [--runs 3] [-- options of interpolate]

Runs it on a short and a longer part of the clip, scaled, in turn, each in a process of its own, and divides
the difference in time by that in new frames, so that what happens once costs nothing. Prints wall and CPU
seconds, the median and the range over the runs, and the peak memory.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from fractions import Fraction
from itertools import cycle, islice
from pathlib import Path
from statistics import median

import av

from tweenlet.inference.machine import describe_machine


def make_clip(source: Path, target: Path, size: tuple[int, int], count: int) -> None:
    """The first frames of a clip, scaled, back and forth if there are too few."""
    with av.open(str(source)) as clip:
        frames = [x.reformat(*size, "yuv420p") for x in islice(clip.decode(video=0), count)]
    there_and_back = cycle([*frames, *frames[-2:0:-1]])
    with av.open(str(target), "w") as output:
        stream = output.add_stream("libx264", Fraction(24), {"preset": "fast", "crf": "16"})
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for number, frame in enumerate(islice(there_and_back, count)):
            frame.pts, frame.time_base = number, Fraction(1, 24)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))


def run(clip: Path, options: list[str]) -> tuple[float, float, int]:
    """Wall seconds, CPU seconds and peak kilobytes of one process."""
    command = [sys.executable, "-m", "tweenlet", "interpolate", str(clip), f"{clip}.out.mp4", "-y", "--quiet"]
    began = time.perf_counter()
    process = subprocess.Popen([*command, *options])
    _, status, used = os.wait4(process.pid, 0)
    wall = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"tweenlet interpolate ended with {process.returncode}")
    return wall, used.ru_utime + used.ru_stime, used.ru_maxrss


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("clip", type=Path)
    parser.add_argument("--size", default="854x480")
    parser.add_argument("--frames", type=int, nargs=2, default=(20, 80))
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("options", nargs="*")
    arguments = parser.parse_args()
    width, height = map(int, arguments.size.split("x"))
    short, long = sorted(arguments.frames)
    rates: list[tuple[float, ...]] = []
    peak = 0
    with tempfile.TemporaryDirectory() as folder:
        clips = [Path(folder, f"{count}.mp4") for count in (short, long)]
        for clip, count in zip(clips, (short, long), strict=True):
            make_clip(arguments.clip, clip, (width, height), count)
        for _ in range(arguments.runs):
            once, more = (run(clip, arguments.options) for clip in clips)
            rates.append(tuple((b - a) / (long - short) for a, b in zip(once[:2], more[:2], strict=True)))
            peak = max(peak, more[2])
    for name, values in zip(("wall", "CPU"), zip(*rates, strict=True), strict=True):
        print(f"{median(values):.3f} {name} s for a new frame ({min(values):.3f} to {max(values):.3f})")
    print(f"{peak / 1024:.0f} MB at most; {width}x{height}, {arguments.runs} runs; {describe_machine()}")


if __name__ == "__main__":
    main()
