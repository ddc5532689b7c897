"""What the README says can be typed: its Python runs, its commands are understood."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from tweenlet import video
from tweenlet.cli import app
from tweenlet.video.images import ImageEncoder

README = (Path(__file__).parent.parent / "README.md").read_text()


def blocks(*languages: str) -> list[str]:
    return [
        text for language, text in re.findall(r"```(\w*)\n(.*?)```", README, re.S) if language in languages
    ]


def commands() -> list[str]:
    lines = "\n".join(blocks("", "bash", "sh", "console")).replace("\\\n", " ").splitlines()
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


@pytest.mark.parametrize("command", commands())
def test_commands_in_the_readme_are_understood(command: str) -> None:
    app.parse_args(shlex.split(command)[1:], exit_on_error=False, print_error=False)


def test_the_readme_shows_both() -> None:
    assert blocks("python")
    assert any(command.startswith("tweenlet interpolate") for command in commands())
    assert "tweenlet demo" in commands()
