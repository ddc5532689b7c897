#!/usr/bin/env python
"""Speed from release to release: networks for inference beside their plain modules, kept and plotted.

    python scripts/bench_history.py            appends to docs/results/bench_history.json, and plots
    python scripts/bench_history.py --check    exits with 1 if a ratio is 10 % below the last

A ratio is the CPU time of the plain module divided by that of the copy for inference in a stream, on one
thread; the two take turns, and the median counts. Weights cost no time: RIFE and MINI are untrained.
Ratios depend on the width of a machine's vectors: what is compared has the same. A release
has one line for each machine; measured again, it replaces the one before.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

from tweenlet.bench.memory import peaks
from tweenlet.bench.run import bench
from tweenlet.bench.targets import Stream, Target, make_interpolate, moving_picture
from tweenlet.inference.machine import describe_machine
from tweenlet.network.checkpoint import network_of

ROOT = Path(__file__).resolve().parent.parent
HISTORY = ROOT / "docs/results/bench_history.json"
PLOT = ROOT / "docs/bench-history.png"
NETWORKS = {"rife": "#2563a8", "default": "#b45309", "mini": "#15803d"}
"""What is measured, and the colour of its curves."""
SIZE = (512, 256)
"""Width and height of the frames: multiples of every stride, as plain modules need them."""
TOLERANCE = 0.1
"""Share of a ratio by which it may be lower than the last."""


def measure(name: str, size: tuple[int, int], turns: int) -> dict[str, float]:
    """The ratio of times, the peak memory in MB and the share of the machine's ceiling of one network."""
    target = Target(name)
    stream, plain = make_interpolate(target), network_of(name).eval()
    frames = moving_picture(size, turns + 4)
    time_of_frame = {"time": 0.5} if plain.takes_time else {}

    def whole(window: list[Tensor]) -> Tensor:
        with torch.inference_mode():
            result: Tensor = plain(torch.stack(window)[None], **time_of_frame)
        return result

    assert isinstance(stream, Stream)
    stream(frames[:4])  # what is done once: packing, the first pair's motion
    ratios = []
    for turn in range(1, turns + 1):
        window = frames[turn : turn + 4]
        fast = seconds_of(stream, window)
        ratios.append(seconds_of(whole, window) / fast)
    report = bench([target], size, runs=turns, memory=False)
    share = report.results[0].share("all", report.ceilings["float32"])
    return {
        "ratio": round(median(ratios), 3),
        "megabytes": round(peaks(target, size).get("all", 0) / 1e6, 1),
        "ceiling": round(share or 0.0, 3),
    }


def seconds_of(run: Callable[[list[Tensor]], Tensor], window: list[Tensor]) -> float:
    """CPU seconds of one call."""
    begun = time.process_time()
    run(window)
    return time.process_time() - begun


def slower(lines: list[dict[str, Any]], line: dict[str, Any]) -> list[str]:
    """What is slower than in the last of the lines with the same vectors, in words."""
    before = [old for old in lines if old["vectors"] == line["vectors"]]
    if not before:
        return []
    last = before[-1]
    return [
        f"{name}: {values['ratio']:.2f} times as fast as the plain module, "
        f"{last['networks'][name]['ratio']:.2f} in {last['version']} ({last['date']})"
        for name, values in line["networks"].items()
        if name in last["networks"] and values["ratio"] < (1 - TOLERANCE) * last["networks"][name]["ratio"]
    ]


def added(lines: list[dict[str, Any]], line: dict[str, Any]) -> list[dict[str, Any]]:
    """The lines and one more; it replaces that of the same release on the same machine."""
    release = line["version"], line["machine"]
    return [old for old in lines if (old["version"], old["machine"]) != release] + [line]


def plot(lines: list[dict[str, Any]], path: Path) -> None:
    """Three columns of curves over releases: ratio, memory, share of the ceiling; one for each network."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    pyplot.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
    titles = {"ratio": "times as fast as plain", "megabytes": "peak MB", "ceiling": "share of the ceiling"}
    figure, axes = pyplot.subplots(1, len(titles), figsize=(9.6, 2.8))
    for axis, (key, title) in zip(axes, titles.items(), strict=True):
        for machine in dict.fromkeys(line["machine"] for line in lines):
            own = [line for line in lines if line["machine"] == machine]
            for name, colour in NETWORKS.items():
                points = [(line["version"], line["networks"][name][key]) for line in own]
                axis.plot(*zip(*points, strict=True), "o-", color=colour, lw=1.6, ms=4.5, label=name)
        axis.set_title(title, fontsize=10, loc="left")
        axis.set_ylim(bottom=0)
        axis.grid(axis="y", color="#e5e7eb", lw=0.7)
    handles = dict(zip(*reversed(axes[0].get_legend_handles_labels()), strict=True))
    axes[0].legend(handles.values(), handles.keys(), frameon=False)
    figure.tight_layout()
    figure.savefig(path, dpi=140)


def main() -> None:
    """Measure, then check or keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--size", type=int, nargs=2, default=SIZE)
    parser.add_argument("--history", type=Path, default=HISTORY)
    parser.add_argument("--plot", type=Path, default=PLOT)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    line = {
        "version": version("tweenlet"),
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "machine": describe_machine(),
        "vectors": torch.backends.cpu.get_cpu_capability(),
        "networks": {name: measure(name, tuple(options.size), options.turns) for name in NETWORKS},
    }
    print(json.dumps(line, indent=1))
    lines = json.loads(options.history.read_text()) if options.history.exists() else []
    if options.check:
        if not any(old["vectors"] == line["vectors"] for old in lines):
            print(f"nothing with {line['vectors']} to compare with", file=sys.stderr)
        if worse := slower(lines, line):
            sys.exit("\n".join(worse))
        return
    lines = added(lines, line)
    options.history.write_text(json.dumps(lines, indent=1) + "\n")
    plot(lines, options.plot)


if __name__ == "__main__":
    main()
