"""How fast each release is: RIFE, the default and MINI beside their own plain modules, a line a release.

python scripts/bench_history.py            measures, appends to docs/history.json, draws docs/history.png
python scripts/bench_history.py --check    measures, and exits with 1 where a ratio is 10 % below the last

Times are of frames of 427x240 in float32, on as many threads as torch has. The ratio is that of CPU times,
taken in turn, so that other work on the machine weighs on both; seconds are this machine's.
"""

from __future__ import annotations

import argparse
import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import torch

import tweenlet
from tweenlet.bench.clock import clock
from tweenlet.bench.memory import peaks
from tweenlet.bench.roofline import ceilings
from tweenlet.bench.targets import Target, make_interpolate, moving_picture
from tweenlet.inference.machine import describe_machine
from tweenlet.interpolation.tiling import padded
from tweenlet.network.checkpoint import network_of
from tweenlet.network.cost import cost
from tweenlet.ops.dispatch import override

ROOT = Path(__file__).resolve().parent.parent
HISTORY, PLOT = ROOT / "docs/history.json", ROOT / "docs/history.png"
NETWORKS = ("default", "rife", "mini")
SIZE = (427, 240)
REGRESSION = 0.9
"""Share of the last release's ratio below which the check fails."""
CPU = torch.device("cpu")


def measure(name: str, runs: int, ceiling: float) -> dict[str, float]:
    """Seconds of a network and of its plain modules, their ratio, memory, and share of the ceiling."""
    target, plain = Target(name), network_of(name).eval()
    run = make_interpolate(target)
    frames = moving_picture(SIZE, runs + 4)
    times: dict[str, tuple[list[float], list[float]]] = {"seconds": ([], []), "plain_seconds": ([], [])}
    for turn in range(runs + 1):
        window = frames[turn : turn + 4]
        with clock(*times["seconds"], CPU):
            run(window)
        with torch.inference_mode(), override("reference"), clock(*times["plain_seconds"], CPU):
            plain(padded(torch.stack(window), plain.stride, plain.padding)[None])
    wall = {key: median(taken[0][1:]) for key, taken in times.items()}
    pairs = zip(times["plain_seconds"][1][1:], times["seconds"][1][1:], strict=True)
    work = cost(plain.config, SIZE[1], SIZE[0]).multiply_adds / 1e9
    return {
        **{key: round(value, 4) for key, value in wall.items()},
        "ratio": round(median(slow / fast for slow, fast in pairs), 3),
        "peak_mb": round(peaks(target, SIZE).get("all", 0) / 1e6, 1),
        "ceiling_share": round(work / wall["seconds"] / ceiling, 3),
    }


def measure_all(runs: int) -> dict[str, Any]:
    """One line of the history."""
    ceiling = ceilings(torch.float32, CPU).convolution
    return {
        "version": tweenlet.__version__,
        "date": datetime.now(UTC).date().isoformat(),
        "machine": describe_machine(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "networks": {name: measure(name, runs, ceiling) for name in NETWORKS},
    }


def regressions(last: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """The networks whose ratio fell by more than a tenth."""
    pairs = (
        (name, last["networks"][name]["ratio"], now["networks"][name]["ratio"]) for name in last["networks"]
    )
    return [
        f"{name}: {new} times as fast as plain, {old} before"
        for name, old, new in pairs
        if new < REGRESSION * old
    ]


def draw(history: list[dict[str, Any]]) -> None:
    """The ratios, a line for each network."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3.5), layout="constrained")
    axes = figure.subplots()
    versions = [entry["version"] for entry in history]
    for name in NETWORKS:
        axes.plot(versions, [entry["networks"][name]["ratio"] for entry in history], marker="o", label=name)
    axes.set_ylabel("times as fast as its plain modules (CPU time)")
    axes.set_ylim(bottom=0)
    axes.legend()
    figure.savefig(PLOT, dpi=110)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--runs", type=int, default=5)
    asked = parser.parse_args()
    history = json.loads(HISTORY.read_text()) if HISTORY.exists() else []
    now = measure_all(asked.runs)
    print(json.dumps(now, indent=1))
    if asked.check:
        sys.exit("; ".join(regressions(history[-1], now)) if history else 0)
    history = [entry for entry in history if entry["version"] != now["version"]] + [now]
    HISTORY.write_text(json.dumps(history, indent=1) + "\n")
    draw(history)
