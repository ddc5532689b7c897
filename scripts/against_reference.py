"""Speed-up of the fused network over the official one, executed plainly (tests/reference).

    python scripts/against_reference.py mini [--size 854x480] [--rounds 3]

    this script --"frame"--> a process for each subject --> wall and CPU seconds, peak memory

The processes take turns frame by frame, with untrained weights. The table shows medians, the medians of the
ratios to both references, pair by pair, and the peak memory of each process, Python and torch included. The
reference runs as its users run it: no native code, glibc's defaults; the second time with memory retained.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Self

import torch
from torch import Tensor

from tweenlet.inference.fused import FusedSTMFNet
from tweenlet.inference.machine import describe_machine
from tweenlet.interpolation.tiling import padded
from tweenlet.network.checkpoint import network_of
from tweenlet.network.cost import size_of
from tweenlet.runtime.malloc import peak_rss

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from reference.official import Reference

PLAIN, RETAINED = "reference", "reference, memory kept"
ASLEEP = {"OMP_WAIT_POLICY": "PASSIVE"}  # as tweenlet does where it is imported before torch
SUBJECTS = {
    PLAIN: {"TWEENLET_NATIVE": "0", "TWEENLET_KEEP_MEMORY": "0"},
    RETAINED: {"TWEENLET_NATIVE": "0"},
    "float32": ASLEEP,
    "bfloat16": ASLEEP,
}
"""Environment of each subject."""


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("model", choices=("mini", "stmfnet"))
    parser.add_argument("--size", default="854x480")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--serve", choices=SUBJECTS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    width, height = size_of(options.size)
    if options.serve:
        serve(subject(options.serve, options.model), width, height)
        return
    from tweenlet.evaluation.run import code_version  # 90 MB of libraries that no worker needs

    timings: dict[str, list[dict[str, float]]] = {name: [] for name in SUBJECTS}
    with ExitStack() as at_end:
        workers = {name: at_end.enter_context(Worker(name, options.model, options.size)) for name in SUBJECTS}
        for turn in range(options.rounds + 1):
            for name, worker in workers.items():
                took = worker.frame()
                if turn:  # the first sets up
                    timings[name].append(took)
    print(f"{'':24}{'':30}{'speed-up over the reference':>34}{'memory retained':>20}")
    print(f"{'':24}{'wall s':>10}{'CPU s':>10}{'peak MB':>10}" + 2 * f"{'wall':>14}{'CPU':>8}")
    for name, frames in timings.items():
        wall, cpu = (median(frame[clock] for frame in frames) for clock in ("wall", "cpu"))
        line = f"{name:24}{wall:10.2f}{cpu:10.2f}{frames[-1]['peak'] / 1e6:10.0f}"
        for reference in (PLAIN, RETAINED):
            for clock in ("wall", "cpu"):
                ratios = [r[clock] / f[clock] for r, f in zip(timings[reference], frames, strict=True)]
                line += f"{median(ratios):{14 if clock == 'wall' else 8}.2f}"
        print(line)
    print(f"{options.model} at {width}x{height}, tweenlet {code_version()}, {describe_machine()}")


class Worker:
    """A process that makes one frame whenever it is asked to."""

    def __init__(self, name: str, model: str, size: str) -> None:
        self._name = name
        self._process = subprocess.Popen(
            [sys.executable, __file__, model, "--size", size, "--serve", name],
            env=os.environ | SUBJECTS[name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def frame(self) -> dict[str, float]:
        """Make one; its "wall" and "cpu" seconds, the "peak" bytes so far. RuntimeError where it ended."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print("frame", file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the process of {self._name} ended early: see above")
        took: dict[str, float] = json.loads(answer)
        return took

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()


def serve(run: Callable[[Tensor], Tensor], width: int, height: int) -> None:
    """In a process of its own: a frame for each line that is read, and a line of JSON about it."""
    frames = torch.rand(4, 3, height, width, generator=torch.Generator().manual_seed(0))
    for _ in sys.stdin:
        wall, cpu = time.perf_counter(), time.process_time()
        with torch.inference_mode():
            run(frames)
        took = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
        print(json.dumps(took | {"peak": peak_rss()}), flush=True)


def subject(name: str, model: str) -> Callable[[Tensor], Tensor]:
    """What maps frames (4, 3, H, W) to the one in their middle."""
    network = network_of(model).eval()
    if name in (PLAIN, RETAINED):
        reference = Reference(network)
        return lambda frames: reference(list(frames))
    fast = FusedSTMFNet(network, getattr(torch, name))
    return lambda frames: fast(padded(frames, fast.stride).unsqueeze(0))


if __name__ == "__main__":
    main()
