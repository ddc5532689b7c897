"""The version stands in one form in all its places, and a release writes it there."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PLACES = ("pyproject.toml", "CITATION.cff", "CHANGELOG.md")


def run(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, ROOT / "scripts/versions.py", "--root", root, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for name in PLACES:
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def test_all_places_have_the_same_version() -> None:
    done = run(ROOT)
    assert done.returncode == 0, done.stderr


def test_a_release_writes_it_everywhere(copy: Path) -> None:
    assert run(copy, "--set", "7.8.9").stdout == "7.8.9\n"
    assert 'version = "7.8.9"' in (copy / "pyproject.toml").read_text()
    assert "\nversion: 7.8.9\n" in (copy / "CITATION.cff").read_text()
    changelog = (copy / "CHANGELOG.md").read_text()
    assert re.search(r"## \[Unreleased\]\n\n## \[7\.8\.9\] - \d{4}-\d\d-\d\d\n\n###", changelog)
    again = run(copy, "--set", "7.9.0")
    assert again.returncode == 1
    assert again.stderr == "CHANGELOG.md has nothing under Unreleased\n"


def test_a_version_that_differs_is_named(copy: Path) -> None:
    citation = copy / "CITATION.cff"
    citation.write_text(re.sub(r"(?m)^version: .*$", "version: 3.2.1", citation.read_text()))
    done = run(copy)
    assert done.returncode == 1
    assert "CITATION.cff 3.2.1" in done.stderr


def test_a_release_of_a_strange_version_is_refused() -> None:
    done = subprocess.run([ROOT / "scripts/release", "soon"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "expected a version such as 0.2.0, got soon\n"
