"""What an installation of torch or of lite holds is enough to make frames, and starts fast."""

from __future__ import annotations

import json
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
CORE = {"numpy", "av", "safetensors", "cyclopts", "rich"}


def name_of(requirement: str) -> str:
    return re.split(r"[^\w.-]", requirement, maxsplit=1)[0]


def closure(names: set[str]) -> set[str]:
    """The packages and all that they require, of those that are installed here."""
    closed: set[str] = set()
    waiting = set(names)
    while waiting:
        name = waiting.pop()
        try:
            requirements = distribution(name).requires or []
        except PackageNotFoundError:  # for another platform or Python
            continue
        closed.add(name)
        waiting |= {name_of(text) for text in requirements if "extra ==" not in text} - closed
    return closed


def link(folder: Path, names: set[str]) -> Path:
    """A folder of links to some packages, to what they require, and to tweenlet as it is here."""
    for place in (ROOT / "tweenlet", ROOT / "weights"):
        (folder / place.name).symlink_to(place)
    for name in {*closure(names), "tweenlet"}:
        package = distribution(name)
        for top in {file.parts[0] for file in package.files or [] if file.parts[0] != ".."}:
            place = Path(str(package.locate_file(top)))
            if place.exists() and not (folder / top).exists():
                (folder / top).symlink_to(place)
    return folder


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is installed without extras."""
    return link(tmp_path_factory.mktemp("bare"), CORE)


@pytest.fixture(scope="module")
def with_torch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is installed with the extra torch."""
    return link(tmp_path_factory.mktemp("torch"), CORE | {"torch"})


@pytest.fixture(scope="module")
def lite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is installed with the extra lite."""
    pytest.importorskip("onnxruntime", reason="the extra lite is not installed")
    return link(tmp_path_factory.mktemp("lite"), CORE | {"onnxruntime"})


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command without the site packages of this interpreter."""
    program = f"import sys; sys.path.append({str(folder)!r}); from tweenlet.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-I", "-S", "-c", program, *arguments],
        capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip


def test_the_requirements_are_these() -> None:
    assert {name_of(text) for text in PROJECT["dependencies"]} == CORE


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return Path(shutil.copy(ROOT / "tests/assets/learning-area-elf.mp4", tmp_path / "clip.mp4"))


@pytest.mark.long
def test_frames_are_made_with_pytorch_and_no_other_extra(with_torch: Path, clip: Path) -> None:
    done = run(with_torch, "interpolate", str(clip), "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["engine"] == "eager"
    assert clip.with_name("clip.2x.mp4").exists()


@pytest.mark.optional
def test_frames_are_made_without_pytorch(lite: Path, clip: Path) -> None:
    done = run(lite, "interpolate", str(clip), "--to", "0.3", "--factor", "3", "--engine", "auto", "--json")
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout.splitlines()[-1])
    assert (summary["engine"], summary["frames_in"], summary["frames_out"]) == ("lite", 8, 22)
    assert clip.with_name("clip.3x.mp4").exists()


@pytest.mark.optional
@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["--device", "cuda"], "the lite engine runs on the CPU: for cuda pip install 'tweenlet[torch]'"),
        (
            ["--precision", "bfloat16"],
            "the lite engine runs in float32: for bfloat16 pip install 'tweenlet[torch]'",
        ),
        (["--engine", "eager"], "PyTorch is not installed: pip install 'tweenlet[torch]'"),
    ],
    ids=lambda value: value[1] if isinstance(value, list) else "",
)
def test_what_needs_pytorch_says_so(arguments: list[str], hint: str, lite: Path, clip: Path) -> None:
    done = run(lite, "interpolate", str(clip), *arguments)
    assert (done.returncode, done.stderr) == (1, f"tweenlet: {hint}\n")


def test_without_anything_to_run_a_network_both_ways_are_named(bare: Path, clip: Path) -> None:
    done = run(bare, "interpolate", str(clip))
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "'tweenlet[torch]'" in done.stderr
    assert "'tweenlet[lite]'" in done.stderr


@pytest.mark.long
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
    arguments: list[str], hint: str, with_torch: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.png", "b.png", "a.mp4"):
        Path(name).touch()
    done = run(with_torch, *arguments)
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
