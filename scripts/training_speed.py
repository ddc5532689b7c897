"""How many samples a training learns from in a second: this checkout, and another revision in turn with it.

    python scripts/training_speed.py [--against REV] [--steps 9] [--cases distill train] [--precisions ...]

                +--"step"--> a process of this checkout -------------> wall and CPU seconds, loss, gradient
    this script |
                +--"step"--> a process of REV, from a git worktree --> wall and CPU seconds, loss, gradient

Two cases, each a whole step of batch 4 (batch made, forward, loss, backward, optimiser, average) on one
thread: `distill` teaches MINI by a frozen ST-MFNet on crops of 128, `train` the default network on crops of
192, its flow given. Weights are fresh and the samples synthetic, the same for both. The two take turns step
by step; told are medians, the median of the ratios step by step, and how far the two are apart in what they
learn: in the loss and in the norm of its gradient, at the step where they are furthest.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any, Self

import cv2
import numpy as np
import torch

import tweenlet
from tweenlet.compression.distill import Distillation, network_teacher
from tweenlet.evaluation.run import code_version
from tweenlet.inference.machine import describe_machine
from tweenlet.network.config import DEFAULT, MINI, STMFNET
from tweenlet.network.stmfnet import STMFNet
from tweenlet.training.data.batches import BatchSampler, prefetch
from tweenlet.training.data.dataset import CropDataset
from tweenlet.training.data.synthetic import moving_scene
from tweenlet.training.losses import build_objective
from tweenlet.training.options import TrainOptions
from tweenlet.training.state import TrainingState

HERE = Path(__file__).parents[1]
BATCH = 4
CROPS = {"distill": 128, "train": 192}
WARM_UP = 2
"""First steps that are not counted: buffers, kernels and caches are made in them."""


def main() -> None:
    """Run what was asked for, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--against", metavar="REV", help="revision of git to compare with")
    parser.add_argument("--steps", type=int, default=9, help="steps that are counted")
    parser.add_argument("--cases", nargs="+", choices=CROPS, default=list(CROPS))
    precisions = ("float32", "bfloat16")
    parser.add_argument("--precisions", nargs="+", choices=precisions, default=list(precisions))
    parser.add_argument("--learn", nargs=3, metavar=("CASE", "PRECISION", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.learn:
        learn(*options.learn)
        return
    with ExitStack() as at_end:
        folder = Path(at_end.enter_context(tempfile.TemporaryDirectory()))
        make_samples(folder)
        places = {"here": HERE}
        if options.against:
            places[options.against] = folder / "against"
            git("worktree", "add", "--detach", str(folder / "against"), options.against)
            at_end.callback(git, "worktree", "remove", "--force", str(folder / "against"))
        print(
            f"{'':20}{'':12}{'samples/s':>10}{'wall s':>8}{'CPU s':>8}{'wall, times':>13}{'CPU, times':>12}"
        )
        for case in options.cases:
            for precision in options.precisions:
                compare(case, precision, folder, places, options.steps)
    print(
        f"medians of {options.steps} steps of {BATCH} samples, tweenlet {code_version()}, "
        f"{describe_machine()}"
    )


def compare(case: str, precision: str, folder: Path, places: dict[str, Path], steps: int) -> None:
    """Time one case in every place, in turn, and print a line for each."""
    timings: dict[str, list[dict[str, float]]] = {name: [] for name in places}
    with ExitStack() as at_end:
        learners = {
            name: at_end.enter_context(Learner(place, case, precision, folder))
            for name, place in places.items()
        }
        for turn in range(WARM_UP + steps):
            for name in list(learners)[:: 1 if turn % 2 else -1]:
                timings[name].append(learners[name].step())
    mine, *rest = (timings[name][WARM_UP:] for name in places)
    for name, found in timings.items():
        wall, cpu = (median(step[clock] for step in found[WARM_UP:]) for clock in ("wall", "cpu"))
        line = f"{case + ' ' + precision:20}{name:12}{BATCH / wall:10.2f}{wall:8.2f}{cpu:8.2f}"
        print(line, end="\n" if name != "here" or not rest else "")
        for other in rest if name == "here" else ():
            for width, clock in ((13, "wall"), (12, "cpu")):
                ratio = median(theirs[clock] / ours[clock] for ours, theirs in zip(mine, other, strict=True))
                print(f"{ratio:{width}.2f}", end="")
            print()
    for name in list(places)[1:]:
        apart = {
            clock: max(
                abs(a[clock] / b[clock] - 1) for a, b in zip(timings["here"], timings[name], strict=True)
            )
            for clock in ("loss", "gradient")
        }
        loss, gradient = apart["loss"], apart["gradient"]
        print(f"{'':20}apart by at most {loss:.0e} in the loss, {gradient:.0e} in the gradient's norm")


class Learner:
    """A process that trains, one step whenever it is asked to."""

    def __init__(self, place: Path, case: str, precision: str, folder: Path) -> None:
        environment = os.environ | {"PYTHONPATH": str(place), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, __file__, "--learn", case, precision, str(folder)]
        self._process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._place = place

    def step(self) -> dict[str, float]:
        """Take a step; its "wall" and "cpu" seconds, "loss" and "gradient". RuntimeError where it ended."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("step\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the training of {self._place} ended early: see above")
        told: dict[str, float] = json.loads(answer)
        return told

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()


def learn(case: str, precision: Any, folder: str) -> None:
    """Train, in a process of its own: one step for each line that is read, and a line of JSON about it."""
    if not Path(tweenlet.__file__).is_relative_to(os.environ["PYTHONPATH"]):
        raise RuntimeError(f"expected tweenlet from {os.environ['PYTHONPATH']}, got {tweenlet.__file__}")
    cv2.setNumThreads(1)
    torch.manual_seed(0)
    options = TrainOptions(steps=10_000, warmup=0, learning_rate=1e-4, precision=precision, device="cpu")
    objective = build_objective(options)
    if case == "distill":
        objective = Distillation(options, [network_teacher(STMFNet(STMFNET))])
    with tempfile.TemporaryDirectory() as out:
        state = TrainingState(STMFNet(MINI if case == "distill" else DEFAULT), options, Path(out))
        batches = prefetch(BatchSampler(CropDataset(Path(folder)), BATCH, CROPS[case]), 0, options.steps)
        for _ in sys.stdin:
            wall, cpu = time.perf_counter(), time.process_time()
            values = state.train_step(next(batches).to("cpu"), objective)
            took = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
            learnt = {what: values[what] for what in ("loss", "gradient")}
            print(json.dumps(took | learnt), flush=True)


def make_samples(folder: Path, count: int = 16, size: int = 224) -> None:
    """A store of synthetic scenes, (count, 5, 3, size, size)."""
    random = np.random.default_rng(0)
    stills = [
        cv2.resize(random.uniform(0, 255, (60, 60, 3)), (360, 360), interpolation=cv2.INTER_CUBIC)
        .clip(0, 255)
        .astype(np.uint8)
        for _ in range(4)
    ]
    scenes = [moving_scene(stills, size, random) for _ in range(count)]
    np.save(folder / "frames.npy", np.stack(scenes).transpose(0, 1, 4, 2, 3))
    (folder / "sources.json").write_text(json.dumps([f"scene {number}" for number in range(count)]))


def git(*arguments: str) -> None:
    """Run git on this checkout."""
    subprocess.run(["git", "-C", str(HERE), *arguments], check=True, capture_output=True)


if __name__ == "__main__":
    main()
