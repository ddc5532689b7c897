"""The script that measures overlays: its table, and the pictures that it shows."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent


@pytest.mark.long
def test_what_is_drawn_is_better_kept_than_without(tmp_path):
    script, clip = TESTS.parent / "scripts/overlays.py", TESTS / "assets/learning-area-rabbit.mp4"
    command = [sys.executable, script, clip, "--subset", "5/30", "--show", tmp_path]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in said.splitlines() if "|" in line]
    drawn = {(row[0], row[1]): float(row[3]) for row in rows[2:]}
    assert len(drawn) == 12
    assert drawn["subtitles", "default"] > drawn["subtitles", "without"] + 1
    assert len(list(tmp_path.glob("learning-area-rabbit-*.png"))) == 4
