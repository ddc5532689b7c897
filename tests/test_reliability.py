"""Damaged inputs and killed commands, a few of each; docs/reliability.md says how to run more."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def run(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "scripts" / script), *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_damaged_inputs_are_refused_in_words_or_survived() -> None:
    done = run("fuzz.py", "--inputs", "22", "--seconds", "120")
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    assert "faults: none" in done.stdout


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", ["KILL", "HUP"])
def test_a_command_that_is_ended_at_any_moment_leaves_what_was_there(name: str) -> None:
    done = run("kill_test.py", "--kills", "4", "--signal", name)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]


def test_the_list_of_signals_is_complete() -> None:
    listed = set(re.findall(r"`(SIG[A-Z0-9]+)`", (ROOT / "docs" / "reliability.md").read_text()))
    assert {number.name for number in signal.Signals} <= listed
