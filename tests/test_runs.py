"""The scripts in runs/: one is run, in small; the others at least name commands that there are."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tweenlet.cli import app

RUNS = Path(__file__).parents[1] / "runs"


@pytest.mark.long
@pytest.mark.timeout(900)
def test_the_small_twin_of_the_paper_runs(tmp_path):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = ["bash", str(RUNS / "smoke.sh"), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "| part | width | density | parameters |" in re.sub(" +", " ", done.stdout)
    assert "times fewer parameters" in done.stdout
    assert (tmp_path / "compressed" / "report.html").exists()


def published(root: Path) -> None:
    """Vimeo-90K, BVI-DVC and UCF101 in the layouts in which they are published, in small."""
    y, x = np.mgrid[:48, :64]

    def paint(path: Path, shift: float, size: int = 64) -> np.ndarray:
        wave = 128 + 100 * np.sin((x + y - 2 * shift) / 5)
        picture = np.stack([wave, 255 - wave, wave], -1).astype(np.uint8)[:size, :size]
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(path)
        return picture

    names = [f"0000{a}/000{b}" for a in (1, 2) for b in (1, 2, 3)]
    for number, name in enumerate(names):
        for frame in range(1, 8):
            paint(root / "vimeo/sequences" / name / f"im{frame}.png", number + frame)
    (root / "vimeo/sep_trainlist.txt").write_text("\n".join(names[:5]))
    (root / "vimeo/sep_testlist.txt").write_text(names[5])
    for number in range(3):
        tiles = [paint(root / "scrap.png", number + time)[:48, :48] for time in (1, 3, 5, 7, 4)]
        path = root / "bvi" / f"0000{number}" / "quintuplet.png"
        path.parent.mkdir(parents=True)
        Image.fromarray(np.concatenate(tiles, 1)).save(path)
    for number in range(2):
        for time, name in enumerate(("frame0", "frame1", "framet", "frame2", "frame3")):
            paint(root / "benchmarks/ucf101" / str(number) / f"{name}.png", number + time)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_the_paper_runs_from_end_to_end_in_two_processes(tmp_path):
    published(tmp_path)
    small = {
        "GPUS": "2", "NETWORK": "tiny", "EPOCHS": "1", "PRUNE_EPOCHS": "1", "PARAMS": "90k",
        "PROTOCOLS": "ucf101", "SAMPLES": "--crop 32 --recipe.validation 4",
    }  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **small}
    places = [tmp_path / name for name in ("vimeo", "bvi")] + [RUNS.parent / "tests" / "assets"]
    command = [
        "bash",
        str(RUNS / "paper.sh"),
        *map(str, places),
        str(tmp_path / "benchmarks"),
        str(tmp_path / "out"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "8 septuplets and quintuplets, each once an epoch" in done.stderr
    state = torch.load(tmp_path / "out/teacher/state.pt", weights_only=True)
    assert state["step"] == 2
    options = json.loads(state["options"])
    assert (options["optimiser"], options["weight_decay"], options["schedule"]) == ("adamax", 0.0, "step")
    plan = json.loads((tmp_path / "out/compressed/plan.json").read_text())
    assert [plan[name] for name in ("augment", "crop", "batch")] == ["flips", 32, 2]
    assert plan["distill.optimiser"] == "adamax"
    assert (tmp_path / "out/scores/ucf101/report.json").exists()


STUB = """#!/bin/bash
[ "$0" = "${0%torchrun}" ] || shift 4  # --nproc-per-node N -m tweenlet
echo "$(printf '%q ' "$@")" >> "$SAID"
while [ $# -gt 1 ]; do
  if [ "$1" = --out ]; then mkdir -p "$2" && touch "$2/model.safetensors"; fi
  shift
done
"""
"""Stands for tweenlet and torchrun: writes down what it is told, leaves a file where weights should be.

A line at once, since two may run beside each other."""


SCRIPTS = [("default.sh", 4), ("compress.sh", 3), ("paper.sh", 5), ("ours.sh", 5)]
"""With how many places each is called."""


@pytest.mark.parametrize(("name", "places"), SCRIPTS)
def test_what_the_others_say_is_understood(tmp_path, name, places):
    for program in ("tweenlet", "torchrun"):
        (tmp_path / program).write_text(STUB)
        (tmp_path / program).chmod(0o755)
    folder = tmp_path / "said"
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SAID": str(folder), "GPUS": "2"}
    command = ["bash", str(RUNS / name), *(str(tmp_path / f"place{k}") for k in range(places))]
    subprocess.run(command, env=environment, check=True, capture_output=True)
    commands = folder.read_text().splitlines()
    assert len(commands) >= 2
    for line in commands:
        app.parse_args(shlex.split(line), exit_on_error=False, print_error=False)
