"""How much faster the network for inference is than the official one executed plainly (tests/reference).

    python scripts/against_reference.py mini [--size 854x480] [--rounds 3]

Both run in turn in one process with untrained weights; told is the median of the ratios, pair by pair.
Memory is kept for both (tweenlet.memory); MALLOC_TRIM_THRESHOLD_=131072 before the command gives it back, as
glibc does by itself.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from torch import Tensor

from tweenlet.cost import size_of
from tweenlet.evaluation.run import code_version, machine
from tweenlet.network.fast import Fast
from tweenlet.tiles import padded
from tweenlet.weights import network_of

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from reference.official import Reference


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
    asked = parser.parse_args()
    width, height = size_of(asked.size)
    model = network_of(asked.model).eval()
    frames = torch.rand(1, 4, 3, height, width, generator=torch.Generator().manual_seed(0))
    reference = Reference(model)
    subjects: dict[str, Callable[[Tensor], Tensor]] = {"reference": lambda x: reference(list(x[0]))}
    for dtype in (torch.float32, torch.bfloat16):
        fast = Fast(model, dtype)
        subjects[str(dtype).removeprefix("torch.")] = lambda x, f=fast: f(padded(x[0], f.stride).unsqueeze(0))
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in subjects}
    for turn in range(asked.rounds + 1):
        for name, run in subjects.items():
            took = timed(run, frames)
            if turn:  # the first sets up
                times[name].append(took)
    print(f"{'':12}{'wall s':>9}{'CPU s':>9}{'wall, times faster':>21}{'CPU, times faster':>20}")
    for name, found in times.items():
        ratios = [[r[i] / f[i] for r, f in zip(times["reference"], found, strict=True)] for i in (0, 1)]
        wall, cpu = (median(column) for column in zip(*found, strict=True))
        print(f"{name:12}{wall:9.2f}{cpu:9.2f}{median(ratios[0]):21.2f}{median(ratios[1]):20.2f}")
    print(f"{asked.model} at {width}x{height}, tweenlet {code_version()}, {machine()}")


if __name__ == "__main__":
    main()
