"""Cost by size and length: time and memory against pixels, factor and length, measured and plotted.

    python scripts/scaling.py docs [--runs 3] [--only length]    writes docs/scaling.json and .png
    python scripts/scaling.py docs --farm [--price 0.04]         measures a farm and estimates its cost

Every point is a clip made on the spot and `tweenlet.interpolate_video` in a process of its own, with one
thread for the network; the table printed is the one of docs/scaling.md. CPU seconds are those of the whole
process between opening the clip and closing the result: decoding, flow, network, encoding. Peak memory is the
process's, Python and torch included.
"""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import subprocess
import sys
import tempfile
import time
from fractions import Fraction
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import av
import matplotlib
import numpy as np
import torch

import tweenlet
from tweenlet import video
from tweenlet.runtime.malloc import peak_rss
from tweenlet.video import scene_detection
from tweenlet.video.container import Clip
from tweenlet.video.journal import SEGMENT

SIZES = (
    *((320, 180), (640, 360), (960, 540), (1280, 720), (1920, 1080), (2560, 1440), (3840, 2160)),
    (7680, 4320),
)
FULL_HD = (1920, 1080)
TAKEN_OVER = 8
"""Frames around the start of a segment that its worker reads beside those that it makes others between."""
LENGTHS = (100, 300, 1000, 3000, 10000)
SWEEPS = {  # name -> what grows, and the points: (width, height, frames, factor)
    "pixels": ("pixels of a frame", [(w, h, 9, 2) for w, h in SIZES]),
    "factor": ("frames made", [(320, 180, 5, factor) for factor in (2, 4, 8, 16, 32)]),
    "length": ("frames made", [(64, 64, count, 2) for count in LENGTHS]),
}
LONG = 20.0
"""CPU seconds from which one run is enough."""
HOUR = 3600 * 24
"""Frames of a film of an hour."""
PRICE = 0.04
"""Dollars for a core and an hour: an assumption, about what clouds ask for one on demand."""
WORKERS = (1, 10, 100, 1000)


def make_clip(path: Path, width: int, height: int, count: int) -> None:
    """A clip of a smooth texture that wanders."""
    coarse = torch.rand(1, 3, 9, 16, generator=torch.Generator().manual_seed(0))
    size = (height + 32, width + 32)
    wide = torch.nn.functional.interpolate(coarse, size, mode="bicubic").clamp(0, 1)[0]
    texture = (255 * wide).to(torch.uint8).permute(1, 2, 0).numpy()
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", Fraction(24), {"preset": "ultrafast", "crf": "12"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for i in range(count):
            x, y = (round(16 + 15 * f(i / 9)) for f in (np.sin, np.cos))
            picture = np.ascontiguousarray(texture[y : y + height, x : x + width])
            output.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        output.mux(stream.encode(None))


def measure(clip: str, factor: int) -> dict[str, float]:
    """One run in this process."""
    torch.set_num_threads(1)
    model = tweenlet.load("default")
    wall, cpu = time.perf_counter(), time.process_time()
    summary = tweenlet.interpolate_video(clip, f"{clip}.out.mp4", factor=factor, model=model, overwrite=True)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    peak = peak_rss() / 2**20
    return {"made": summary.frames_made, "wall": wall, "cpu": cpu, "peak_mb": peak}


def measure_farm(clip: str) -> dict[str, float]:
    """CPU seconds that a farm takes beside the frames that it makes, at the size of a clip of five seconds.

    ``walk``: for each frame of the source, on the machine that asks. ``segment``: for each segment, in its
    worker: the network, the file opened at its end, and the frames that the worker takes over.
    """
    torch.set_num_threads(1)
    began = time.process_time()
    with video.read(clip) as reader:
        fingerprints = [
            scene_detection.fingerprint(torch.from_numpy(frame.rgb(clip=False))) for frame in reader
        ]
    walk = (time.process_time() - began) / len(fingerprints)
    began = time.process_time()
    tweenlet.Interpolator(tweenlet.load("default"))
    with video.read(clip, clip=Clip(Fraction(4))) as reader:
        for frame in islice(reader, TAKEN_OVER):
            scene_detection.fingerprint(torch.from_numpy(frame.rgb(clip=False)))
    return {"walk": walk, "segment": time.process_time() - began}


def reckon(measured: dict[str, Any], price: float = PRICE) -> list[str]:
    """Rows of a table: an hour of 1080p at 24 frames/s made twice as dense, by farms of so many cores."""
    (point,) = (p for p in measured["sweeps"]["pixels"] if (p["width"], p["height"]) == FULL_HD)
    each, beside = point["cpu"] / point["made"], measured["farm"]
    walk, alone = HOUR * beside["walk"], HOUR * each
    work = alone + 2 * HOUR / SEGMENT * beside["segment"]
    rows = []
    for workers in WORKERS:
        seconds = max(walk, work / workers)
        rows.append(
            f"{workers:,} | {seconds / 3600:.1f} | {2 * HOUR / seconds:,.1f} | {alone / seconds:.1f} | "
            f"{work / workers / seconds:.0%} | {workers * seconds / 3600 * price:,.2f}"
        )
    return rows


def sweep(name: str, runs: int) -> list[dict[str, float]]:
    """All points of one sweep, medians over the runs."""
    points = []
    for width, height, count, factor in SWEEPS[name][1]:
        timings: list[dict[str, float]] = []
        with tempfile.TemporaryDirectory() as folder:
            clip = Path(folder, "clip.mp4")
            make_clip(clip, width, height, count)
            while len(timings) < runs and (not timings or timings[0]["cpu"] < LONG):
                command = [sys.executable, __file__, "point", str(clip), str(factor)]
                said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
                timings.append(json.loads(said))
        point = {key: median(run[key] for run in timings) for key in timings[0]}
        point |= {"width": width, "height": height, "frames": count, "factor": factor, "runs": len(timings)}
        point["grows"] = width * height if name == "pixels" else point["made"]
        points.append(point)
        print(f"| {row(point)} |", flush=True)
    return points


def sweep_farm(runs: int) -> dict[str, float]:
    """What a farm does beside, in 1080p: the medians over the runs."""
    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder, "clip.mp4")
        make_clip(clip, *FULL_HD, 120)
        command = [sys.executable, __file__, "farm", str(clip)]
        texts = [
            subprocess.run(command, capture_output=True, text=True, check=True).stdout for _ in range(runs)
        ]
    measured = [json.loads(text) for text in texts]
    return {key: median(each[key] for each in measured) for key in measured[0]}


def row(point: dict[str, float]) -> str:
    """One row of the table."""
    p = {key: round(value) for key, value in point.items()}
    each = point["cpu"] / point["made"]
    return (
        f"{p['width']}x{p['height']} | {p['frames']:,} | {p['factor']} | {p['made']:,} | "
        f"{point['wall']:.1f} | {point['cpu']:.1f} | {each:.3f} | {p['peak_mb']:,}"
    )


HEAD = (
    "| size | frames in | factor | new frames | wall s | CPU s | CPU s per new frame | peak MB |\n"
    "|---|---:|---:|---:|---:|---:|---:|---:|"
)


FARM_HEAD = "| cores | hours | frames/s | speed-up | utilisation | dollars |\n|---:|---:|---:|---:|---:|---:|"


def slope(points: list[dict[str, float]], key: str) -> float:
    """The power with which a cost grows, by least squares on logarithms of the larger half."""
    larger = points[len(points) // 2 - 1 :]
    x, y = (np.log([p[k] for p in larger]) for k in ("grows", key))
    return float(np.polyfit(x, y, 1)[0])


def plot(sweeps: dict[str, list[dict[str, float]]], path: Path) -> None:
    """Time above, memory below, one column for each sweep, all on logarithmic axes."""
    matplotlib.use("agg")
    from matplotlib import pyplot

    pyplot.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
    figure, axes = pyplot.subplots(
        2, len(sweeps), figsize=(9.6, 5.2), sharex="col", sharey="row", squeeze=False
    )
    for column, (name, points) in enumerate(sweeps.items()):
        x = [p["grows"] for p in points]
        for axis, key, colour, title in (
            (axes[0, column], "cpu", "#2563a8", "CPU seconds"),
            (axes[1, column], "peak_mb", "#b45309", "peak MB"),
        ):
            y = [p[key] for p in points]
            axis.loglog(x, y, "o-", color=colour, lw=1.6, ms=4.5)
            axis.grid(which="major", color="#e5e7eb", lw=0.7)
            axis.set_axisbelow(True)
            axis.annotate(
                f"slope {slope(points, key):.2f}", (0.05, 0.9), xycoords="axes fraction", color=colour
            )
            if key == "cpu":
                axis.plot(x, [y[-1] * a / x[-1] for a in x], ":", color="#9ca3af", lw=1.2, zorder=0)
            if not column:
                axis.set_ylabel(title)
        axes[0, column].set_title(f"against {name}", fontsize=10, loc="left")
        axes[1, column].set_xlabel(SWEEPS[name][0])
    axes[1, 0].set_ylim(100, 10_000)
    axes[0, 0].annotate("dotted: slope 1", (0.05, 0.8), xycoords="axes fraction", color="#6b7280")
    figure.tight_layout()
    figure.savefig(path, dpi=140)


def main() -> None:
    """Measure what was asked for, keep the rest of an earlier run, plot all."""
    if sys.argv[1:2] == ["point"]:
        print(json.dumps(measure(sys.argv[2], int(sys.argv[3]))))
        return
    if sys.argv[1:2] == ["farm"]:
        print(json.dumps(measure_farm(sys.argv[2])))
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--only", choices=[*SWEEPS], action="append")
    parser.add_argument("--farm", action="store_true")
    parser.add_argument("--price", type=float, default=PRICE, help="dollars for a core and an hour")
    options = parser.parse_args()
    file = options.folder / "scaling.json"
    measured = json.loads(file.read_text()) if file.exists() else {"sweeps": {}}
    if options.farm:
        measured["farm"] = sweep_farm(options.runs)
        file.write_text(json.dumps(measured, indent=1) + "\n")
        print(FARM_HEAD, *(f"| {line} |" for line in reckon(measured, options.price)), sep="\n")
        return
    measured |= {
        "date": f"{datetime.date.today()}",
        "machine": platform.platform(),
        "torch": torch.__version__,
    }
    print(HEAD)
    for name in options.only or SWEEPS:
        measured["sweeps"][name] = sweep(name, options.runs)
        file.write_text(json.dumps(measured, indent=1) + "\n")
    sweeps = {name: measured["sweeps"][name] for name in SWEEPS if name in measured["sweeps"]}
    for name, points in sweeps.items():
        print(
            f"{name}: CPU time grows with power {slope(points, 'cpu'):.2f}, "
            f"memory with power {slope(points, 'peak_mb'):.2f}"
        )
    plot(sweeps, options.folder / "scaling.png")


if __name__ == "__main__":
    main()
