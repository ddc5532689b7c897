"""Native code: compiled once, and done without where that cannot be."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tweenlet import native

LOADED = (
    "import torch; from tweenlet import native; "
    "print(native.told(), sum('native-' in line for line in open('/proc/self/maps')) > 0)"
)
compiled = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")


def told(**environment: str) -> str:
    """What a process of its own says of native code."""
    made = subprocess.run(
        [sys.executable, "-c", LOADED],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return made.stdout.strip()


@compiled
def test_it_is_compiled_once(tmp_path: Path) -> None:
    cache = {"XDG_CACHE_HOME": str(tmp_path)}
    assert told(**cache) == "native code True"
    (made,) = (tmp_path / "tweenlet").iterdir()
    written = made.stat().st_mtime_ns
    assert told(**cache) == "native code True"
    assert made.stat().st_mtime_ns == written
    assert list((tmp_path / "tweenlet").iterdir()) == [made]


def test_it_can_be_done_without(tmp_path: Path) -> None:
    cache = {"XDG_CACHE_HOME": str(tmp_path)}
    assert told(TWEENLET_NATIVE="0", **cache) == "no native code False"
    assert told(CC="no-such-compiler", **cache) == "no native code False"
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    assert told(CC=str(broken), **cache) == "no native code False"


@compiled
def test_a_damaged_library_is_none(tmp_path: Path) -> None:
    cache = {"XDG_CACHE_HOME": str(tmp_path)}
    told(**cache)
    (made,) = (tmp_path / "tweenlet").iterdir()
    made.write_bytes(b"damaged")
    assert told(**cache) == "no native code False"


@compiled
@pytest.mark.parametrize("source", native.SOURCES, ids=lambda path: path.name)
@pytest.mark.parametrize("kind", ["native", "x86-64-v3", "x86-64"])
def test_it_compiles_without_warnings(source: Path, kind: str, tmp_path: Path) -> None:
    if kind != "native" and os.uname().machine != "x86_64":
        pytest.skip("flags of another processor")
    flags = [f"-march={kind}" if flag.startswith("-march") else flag for flag in native.FLAGS]
    command = ["cc", *flags, "-Wextra", "-Werror", "-fsyntax-only", str(source)]
    subprocess.run(command, check=True, timeout=120)
