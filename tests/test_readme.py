"""What the README says can be typed: its Python runs, its commands are understood."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tweenlet import video
from tweenlet.cli import app
from tweenlet.evaluation.benchmarks import KINDS
from tweenlet.evaluation.metrics import ASKED
from tweenlet.video.images import ImageEncoder

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
EVALUATION = (ROOT / "docs/evaluation.md").read_text()


def blocks(*languages: str, text: str = README) -> list[str]:
    return [
        inside for language, inside in re.findall(r"```(\w*)\n(.*?)```", text, re.S) if language in languages
    ]


def commands(text: str = README) -> list[str]:
    lines = "\n".join(blocks("", "bash", "sh", "console", text=text)).replace("\\\n", " ").splitlines()
    parts = [part.strip().removeprefix("$ ") for line in lines for part in re.split(r"&&|\||#", line)]
    return [part for part in parts if part.startswith("tweenlet ")]


def small_clip(path: Path) -> None:
    frames = path.parent / "few frames"
    frames.mkdir(exist_ok=True)
    x = np.linspace(0, 6, 64, dtype=np.float32)
    for i in range(4):
        wave = 0.5 + 0.4 * np.sin(x[None, None] + x[None, :48, None] + 0.2 * i)
        ImageEncoder(".png", 8).write(np.repeat(wave, 3, 0), frames / f"{i}.png")
    with video.read(frames) as reader, video.write(path, reader, video.IMAGE_RATE) as writer:
        for frame in reader:
            writer.write(frame, frame.time, frame.duration)


@pytest.mark.parametrize("snippet", blocks("python"))
def test_python_in_the_readme_runs(snippet: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in re.findall(r'(?:interpolate_video|read)\(\s*"([^"]+\.\w+)"', snippet):
        small_clip(tmp_path / name)
    exec(compile(snippet, "README.md", "exec"), {"__name__": "readme"})


@pytest.mark.parametrize("command", commands() + commands(EVALUATION))
def test_commands_in_the_readme_are_understood(command: str) -> None:
    app.parse_args(shlex.split(command)[1:], exit_on_error=False, print_error=False)


def test_the_readme_shows_both() -> None:
    assert blocks("python")
    assert any(command.startswith("tweenlet interpolate") for command in commands())
    assert "tweenlet demo" in commands()


def test_the_tables_of_results_are_those_of_the_reports() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "scripts/results.py", "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_stale_table_is_found(tmp_path: Path) -> None:
    for page in ("README.md", "weights/default.md", "docs/results/clips9.json", "scripts/results.py"):
        (tmp_path / page).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / page, tmp_path / page)
    script = [sys.executable, tmp_path / "scripts/results.py"]
    readme = tmp_path / "README.md"
    readme.write_text(re.sub(r"\| default +\| +(\d)", r"| default | 9\1", README, count=1))
    checked = subprocess.run([*script, "--check"], capture_output=True, text=True, check=False)
    assert checked.returncode == 1
    assert "README.md is stale" in checked.stderr
    subprocess.run(script, check=True, capture_output=True)
    assert readme.read_text() == README


def test_the_page_on_evaluation_knows_every_kind_and_metric() -> None:
    kinds = {name.removeprefix("snufilm") for name in KINDS if name != "snufilm-easy"}
    assert not [name for name in (*kinds, *ASKED) if f"`{name}`" not in EVALUATION]
