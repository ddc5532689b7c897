"""The scripts in runs/: one is run, in small; the others at least name commands that there are."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

import pytest

from tweenlet.cli import app

RUNS = Path(__file__).parents[1] / "runs"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_small_twin_of_the_paper_runs(tmp_path):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = ["bash", str(RUNS / "smoke.sh"), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "| part | width before | density | width after |" in done.stdout
    assert "times fewer parameters" in done.stdout
    assert (tmp_path / "compressed" / "report.html").exists()


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


SCRIPTS = [("default.sh", 4), ("compress.sh", 3), ("paper.sh", 5)]
"""With how many places each is called."""


@pytest.mark.parametrize(("name", "places"), SCRIPTS)
def test_what_the_others_say_is_understood(tmp_path, name, places):
    for program in ("tweenlet", "torchrun"):
        (tmp_path / program).write_text(STUB)
        (tmp_path / program).chmod(0o755)
    said = tmp_path / "said"
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SAID": str(said), "GPUS": "2"}
    command = ["bash", str(RUNS / name), *(str(tmp_path / f"place{k}") for k in range(places))]
    subprocess.run(command, env=environment, check=True, capture_output=True)
    commands = said.read_text().splitlines()
    assert len(commands) >= 2
    for line in commands:
        app.parse_args(shlex.split(line), exit_on_error=False, print_error=False)
