"""The page of messages quotes what the code says, and the drawing is that of the default network."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs/troubleshooting.md").read_text()
MESSAGES = re.findall(r"(?m)^\| `([^`]+)` \|", PAGE)
CODE = "\n".join(path.read_text() for path in (ROOT / "tweenlet").rglob("*.py"))


def test_there_are_messages() -> None:
    assert len(MESSAGES) >= 10


@pytest.mark.parametrize("message", MESSAGES)
def test_a_message_of_the_page_is_one_of_the_code(message: str) -> None:
    assert message in CODE


def test_what_is_drawn_is_what_is_built() -> None:
    command = [sys.executable, ROOT / "scripts/draw_network.py", "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.long
@pytest.mark.optional
def test_the_list_of_licences_is_that_of_what_is_installed() -> None:
    for package in ("huggingface_hub", "torch_pruning", "openvino", "onnxscript"):
        pytest.importorskip(package, reason=f"{package} is not installed")
    command = [sys.executable, ROOT / "scripts/licences.py", "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
