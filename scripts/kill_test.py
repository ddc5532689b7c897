"""Kill test: commands ended at random moments, and what must hold after.

    python scripts/kill_test.py [--kills 50] [--seed 0] [--signal KILL] [--record FILE]

Commands make frames of a clip, as a video and as images, over an older result; train with samples of their
own; evaluate; and compress. Each is ended by a signal after a random part of the time that it takes, and then
run to its end, or left for the next kill. Whatever lies under a final name has to be whole after every kill;
the command that runs to its end has to succeed; and it leaves what it does without a kill, nothing else. Exit
code 1 where that did not hold.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import av
import torch
from fuzz import NETWORK, SAMPLES, SMALL, become, report, warm_up, write_video
from PIL import Image

from tweenlet.network import checkpoint as weights
from tweenlet.network.stmfnet import STMFNet

READERS: dict[str, Callable[[Path], object]] = {
    ".mp4": lambda path: len(_decode(path)),
    ".png": lambda path: Image.open(path).load(),
    ".safetensors": weights.load,
    ".pt": lambda path: torch.load(path, weights_only=True),
    ".json": lambda path: json.loads(path.read_text()),
    ".html": lambda path: path.read_text().rindex("</html>"),
}
"""What fails for a file that is not whole. (Logs and ledgers grow line by line, and say so.)"""


@dataclass(frozen=True)
class Job:
    """A command, and the file or folder that it writes."""

    command: tuple[str, ...]
    output: str
    resumes: bool = False
    """Whether it goes on with what is there, so that only a new folder makes it do all its work."""


INTERPOLATE = ("interpolate", "in.mp4", "--model", "tiny.safetensors", "--overwrite", "--device", "cpu")
TRAIN = (*("train", "config.json", "data", "--out", "run", "--validate", "data/a.mkv"), *SMALL)
EVALUATE = ("evaluate", "blend", "--benchmark", "clips:data", "--metrics", "psnr", "--out", "scores")
COMPRESS = (
    *("compress", "wide.safetensors", "data", "--out", "small", "--validate", "data/a.mkv", *SAMPLES),
    *("--params", "50k", "--passes", "1"),
    *("--distill.steps", "2", "--distill.warmup", "0", "--distill.device", "cpu"),
)
JOBS = (
    Job((*INTERPOLATE, "out.mp4"), "out.mp4"),
    Job((*INTERPOLATE, "frames"), "frames"),
    Job(TRAIN, "run", resumes=True),
    Job(EVALUATE, "scores", resumes=True),
    Job(COMPRESS, "small", resumes=True),
)


def main() -> None:
    """Kill, look, run to the end, look again; print how often something was wrong."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--signal", default="KILL", help="KILL, TERM, HUP, INT, ...")
    parser.add_argument("--record", type=Path, help="a file of results to add this run to")
    options = parser.parse_args()
    number, dice = signal.Signals[f"SIG{options.signal}"], random.Random(options.seed)
    faults, early = list[str](), 0
    warm_up()
    with tempfile.TemporaryDirectory(prefix="kill-") as place:
        folder = Path(place, "room")
        make_inputs(folder)
        took = {job: finish(job, folder, "before any kill", faults) for job in JOBS}
        names = list_names(folder)
        for kill in range(options.kills):
            job, when = dice.choice(JOBS), f"kill {kill}"
            if job.resumes and dice.random() < 0.5:
                finish(job, folder, when, faults)
                shutil.rmtree(folder / job.output)
            child = start(job, folder)
            time.sleep(dice.random() * took[job])
            early += os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
            os.kill(child, number)
            os.waitpid(child, 0)
            faults += [f"{when}: {name} is not whole" for name in find_broken(folder)]
            left = [path.name for path in folder.rglob("*") if ".partial" in path.name]
            if left and number != signal.SIGKILL:
                faults.append(f"{when}: {', '.join(left)} left by SIG{options.signal}")
        for job in JOBS:
            finish(job, folder, "in the end", faults)
        if changed := list_names(folder) ^ names:
            faults.append(f"in the end there is too much or too little: {', '.join(sorted(changed))}")
    print(*faults, sep="\n", end="\n" if faults else "")
    report(
        f"{options.kills} kills by SIG{options.signal}, {early} of them before the end: {len(faults)} faults",
        options.record,
    )
    sys.exit(1 if faults else 0)


def make_inputs(folder: Path) -> None:
    """What the commands read, in a new folder."""
    (folder / "data").mkdir(parents=True)
    write_video(folder / "in.mp4", "libx264", "yuv420p")
    for clip in ("a", "b"):
        write_video(folder / "data" / f"{clip}.mkv", "ffv1", "yuv444p")
    weights.save(folder / "tiny.safetensors", STMFNet(NETWORK))
    levels = tuple(replace(level, width=32) for level in NETWORK.intermediate.levels)
    wide = replace(NETWORK, intermediate=replace(NETWORK.intermediate, levels=levels))
    weights.save(folder / "wide.safetensors", STMFNet(wide))
    (folder / "config.json").write_text(json.dumps(NETWORK.to_json()))


def start(job: Job, folder: Path) -> int:
    """The number of a child process that does a job."""
    if child := os.fork():
        return child
    become(job.command, folder, folder.parent / "output")
    raise AssertionError


def finish(job: Job, folder: Path, when: str, faults: list[str]) -> float:
    """Do a job to its end, and how many seconds that took; it is a fault if it fails."""
    began = time.monotonic()
    if os.waitpid(start(job, folder), 0)[1]:
        faults.append(f"{when}: {job.command[0]} fails: {(folder.parent / 'output').read_text()[-300:]}")
    return time.monotonic() - began


def find_broken(folder: Path) -> list[str]:
    """Files under final names that cannot be read."""
    broken = []
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.suffix in READERS and ".partial" not in name:
            try:
                READERS[path.suffix](path)
            except Exception as error:
                broken.append(f"{name} ({error})")
    return broken


def list_names(folder: Path) -> set[str]:
    """All names below a folder."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def _decode(path: Path) -> list[av.VideoFrame]:
    with av.open(str(path)) as container:
        return list(container.decode(video=0))


if __name__ == "__main__":
    main()
