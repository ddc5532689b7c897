"""The package without what POSIX alone has, by tests/windows.py; and what a check of the source finds."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
played = pytest.mark.skipif(sys.platform != "linux", reason="Linux plays Windows")
TEXT = {"read_text", "write_text"}
PROGRAM = """
import sys
from pathlib import Path

import tweenlet
from tweenlet.runtime.atomic import Partial, write_bytes_atomically

assert sys.platform == "win32" and "fcntl" not in tweenlet.runtime.locks.__dict__
write_bytes_atomically(Path("a.txt"), b"new")
write_bytes_atomically(Path("a.txt"), b"newer")
held = Partial(Path("b.txt"))
try:
    Partial(Path("b.txt"))
except BlockingIOError:
    held.discard()
else:
    sys.exit("two runs write one file")
made = tweenlet.interpolate_video(tweenlet.interpolation.demo.CLIP, "out.mp4", factor=2, end=0.4)
names = sorted(path.name for path in Path().iterdir())
print(made.frames_in, made.frames_out, Path("a.txt").read_bytes(), names)
"""


def as_windows(*command: object, folder: Path) -> str:
    """What a Python program prints where POSIX is missing."""
    done = subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=folder,
        env={
            **os.environ,
            "PYTHONPATH": f"{ROOT / 'tests'}:{ROOT}:{os.environ.get('PYTHONPATH', '')}",
            "TWEENLET_NATIVE": "0",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@played
@pytest.mark.long
def test_every_module_is_imported_and_a_video_is_made(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    (tmp_path / "empty").mkdir()
    printed = as_windows(ROOT / "tests/windows.py", tmp_path / "program.py", folder=tmp_path / "empty")
    assert printed.split(" ", 2)[2].strip() == "b'newer' ['a.txt', 'out.mp4']"
    before, after = map(int, printed.split()[:2])
    assert after == 2 * before - 1 > 1


@played
@pytest.mark.long
def test_what_is_tested_of_files_holds() -> None:
    names = (
        "test_atomic",
        "evaluation/test_lists",
        "video/test_video_resume",
        "training/test_teacher_outputs",
    )
    posix = "not killed_leaves and not full_disk"  # by signals, and by posix_fallocate
    files = [ROOT / f"tests/{name}.py" for name in names]
    as_windows("-m", "pytest", "-p", "windows", "--no-cov", "-k", posix, *files, folder=ROOT)


def calls_without_encoding(path: Path) -> list[int]:
    """Lines of a file that read or write text in the encoding of the country, which is none that all have."""
    lines = []
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Call):
            continue
        names = {keyword.arg for keyword in node.keywords}
        mode = (
            node.args[0]
            if isinstance(node.func, ast.Attribute) and node.func.attr == "open" and node.args
            else None
        )
        is_text = isinstance(node.func, ast.Attribute) and node.func.attr in TEXT
        is_text |= isinstance(mode, ast.Constant) and mode.value in ("r", "w", "a", "r+", "w+", "x")
        if (is_text and "encoding" not in names) or {"text", "universal_newlines"} & names:
            lines.append(node.lineno)
    return lines


@pytest.mark.parametrize("path", sorted((ROOT / "tweenlet").rglob("*.py")), ids=lambda path: path.stem)
def test_text_is_utf_8_everywhere(path: Path) -> None:
    assert not calls_without_encoding(path)


def test_text_of_an_unknown_encoding_is_found(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(
        "p.read_text()\np.open('a')\np.open('rb')\nrun([], text=True)\np.read_text(encoding='x')"
    )
    assert calls_without_encoding(tmp_path / "a.py") == [1, 2, 4]
