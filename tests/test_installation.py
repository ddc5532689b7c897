"""What an installation without extras holds is enough to make frames, and starts fast."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CORE = {"torch", "numpy", "av", "safetensors", "cyclopts", "rich"}


def name_of(requirement: str) -> str:
    return re.split(r"[^\w.-]", requirement, maxsplit=1)[0]


def closure(names: set[str]) -> set[str]:
    """The packages and all that they require, of those that are installed here."""
    known: set[str] = set()
    waiting = set(names)
    while waiting:
        name = waiting.pop()
        try:
            requirements = distribution(name).requires or []
        except PackageNotFoundError:  # for another platform or Python
            continue
        known.add(name)
        waiting |= {name_of(text) for text in requirements if "extra ==" not in text} - known
    return known


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of links to what is installed without extras, and to tweenlet."""
    folder = tmp_path_factory.mktemp("bare")
    for name in closure(CORE):
        package = distribution(name)
        for top in {file.parts[0] for file in package.files or [] if file.parts[0] != ".."}:
            place = Path(str(package.locate_file(top)))
            if place.exists() and not (folder / top).exists():
                (folder / top).symlink_to(place)
    (folder / "tweenlet").symlink_to(ROOT / "tweenlet")
    (folder / "weights").symlink_to(ROOT / "weights")
    return folder


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command without the site packages of this interpreter."""
    program = f"import sys; sys.path.append({str(folder)!r}); from tweenlet.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-I", "-S", "-c", program, *arguments],
        capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip


def test_the_requirements_are_these() -> None:
    assert {name_of(text) for text in PROJECT["dependencies"]} == CORE


@pytest.mark.slow
def test_frames_are_made_without_extras(bare: Path, tmp_path: Path) -> None:
    clip = tmp_path / "clip.mp4"
    shutil.copy(ROOT / "tests/assets/learning-area-elf.mp4", clip)
    done = run(bare, "interpolate", str(clip), "--json")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "clip.2x.mp4").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["interpolate", "a.png", "b.png"], "Pillow is not installed: pip install 'tweenlet[images]'"),
        (["compare", "a.mp4"], "OpenCV is not installed: pip install 'tweenlet[evaluate]'"),
        (["train", "small", ".", "--out", "r"], "OpenCV is not installed: pip install 'tweenlet[evaluate]'"),
        (["export", "student", "x.onnx"], "onnx is not installed: pip install 'tweenlet[onnx]'"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)  # fmt: skip
def test_what_needs_an_extra_names_it(
    arguments: list[str], hint: str, bare: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.png", "b.png", "a.mp4"):
        Path(name).touch()
    done = run(bare, *arguments)
    assert done.returncode == 1
    assert done.stderr == f"tweenlet: {hint}\n"


def cpu_seconds(program: str) -> float:
    """CPU seconds of a fresh interpreter that runs a program: the least of three, as machines are shared."""
    clock = f"{program}\nimport time, os; print(time.process_time(), file=sys.__stderr__)"
    outputs = [
        subprocess.run([sys.executable, "-c", clock], capture_output=True, text=True, check=True).stderr
        for _ in range(3)
    ]
    return min(float(text.split()[-1]) for text in outputs)


def test_importing_the_package_is_fast_and_does_not_import_torch() -> None:
    empty = cpu_seconds("import sys")
    assert cpu_seconds("import sys, tweenlet; assert 'torch' not in sys.modules") - empty < 0.15


def test_help_is_fast_and_does_not_import_torch() -> None:
    empty = cpu_seconds("import sys")
    program = (
        "import io, sys; from tweenlet.cli import app; sys.stdout = io.StringIO()\n"
        "app(['--help'], result_action='return_value')\n"
        "assert 'tweenlet' in sys.stdout.getvalue(); assert not {'torch', 'numpy', 'av'} & sys.modules.keys()"
    )
    assert cpu_seconds(program) - empty < 1.2
