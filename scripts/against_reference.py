"""How much faster the network for inference is than the official one executed plainly (tests/reference).

    python scripts/against_reference.py mini [--size 854x480] [--rounds 3]

All run in turn in one process with untrained weights; told is the median of the ratios, pair by pair, and the
most memory that a process of its own held for one frame. Memory is kept for all (tweenlet.memory);
MALLOC_TRIM_THRESHOLD_=131072 before the command gives it back, as glibc does by itself.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from torch import Tensor

from tweenlet.cost import size_of
from tweenlet.evaluation.run import code_version, machine
from tweenlet.memory import peak
from tweenlet.network.fast import Fast
from tweenlet.tiles import padded
from tweenlet.weights import network_of

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from reference.official import Reference

SUBJECTS = ("reference", "float32", "bfloat16")


def subject(name: str, model: str) -> Callable[[Tensor], Tensor]:
    """What maps frames (4, 3, H, W) to the one in their middle."""
    network = network_of(model).eval()
    if name == "reference":
        reference = Reference(network)
        return lambda frames: reference(list(frames))
    fast = Fast(network, getattr(torch, name))
    return lambda frames: fast(padded(frames, fast.stride).unsqueeze(0))


def timed(run: Callable[[Tensor], Tensor], frames: Tensor) -> tuple[float, float]:
    """Wall and CPU seconds of one run."""
    wall, cpu = time.perf_counter(), time.process_time()
    with torch.inference_mode():
        run(frames)
    return time.perf_counter() - wall, time.process_time() - cpu


def main() -> None:
    """Run what was asked for, and print a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("model", choices=("mini", "stmfnet"))
    parser.add_argument("--size", default="854x480")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peak", choices=SUBJECTS, help="run this once, and print the bytes it held at most")
    asked = parser.parse_args()
    width, height = size_of(asked.size)
    frames = torch.rand(4, 3, height, width, generator=torch.Generator().manual_seed(0))
    if asked.peak:
        timed(subject(asked.peak, asked.model), frames)
        print(peak())
        return
    runs = {name: subject(name, asked.model) for name in SUBJECTS}
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in SUBJECTS}
    for turn in range(asked.rounds + 1):
        for name, run in runs.items():
            took = timed(run, frames)
            if turn:  # the first sets up
                times[name].append(took)
    print(
        f"{'':12}{'wall s':>9}{'CPU s':>9}{'wall, times faster':>21}{'CPU, times faster':>20}{'peak MB':>10}"
    )
    for name, found in times.items():
        ratios = [[r[i] / f[i] for r, f in zip(times["reference"], found, strict=True)] for i in (0, 1)]
        wall, cpu = (median(column) for column in zip(*found, strict=True))
        alone = [sys.executable, __file__, asked.model, "--size", asked.size, "--peak", name]
        held = int(subprocess.run(alone, capture_output=True, check=True).stdout)
        speed = f"{wall:9.2f}{cpu:9.2f}{median(ratios[0]):21.2f}{median(ratios[1]):20.2f}"
        print(f"{name:12}{speed}{held / 1e6:10.0f}")
    print(f"{asked.model} at {width}x{height}, tweenlet {code_version()}, {machine()}")


if __name__ == "__main__":
    main()
