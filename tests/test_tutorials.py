"""The tutorials as a reader follows them: each page from top to bottom, and the files that it promises.

So, too, the README's examples of `interpolate`. test_readme.py has the snippets of other pages.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from fractions import Fraction
from pathlib import Path

import av
import imageio_ffmpeg
import pytest
import torch
from test_readme import small_clip

from tweenlet.cli import app
from tweenlet.network import official
from tweenlet.network.config import MINI
from tweenlet.network.stmfnet import STMFNet

ROOT = Path(__file__).resolve().parents[1]
CLIPS = ROOT / "tests/assets"
FENCE = re.compile(r"```(\w*)\n(.*?)```", re.S)
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
HUB = """
from pathlib import Path

hf_hub_download = None

class ModelHubMixin:
    def push_to_hub(self, repo, **options):
        folder = Path("hub", repo)
        folder.mkdir(parents=True)
        self._save_pretrained(folder)
        return f"https://hub/{repo}"
"""
"""The part of huggingface_hub that `push` calls, with a folder for the Hub."""


def snippets(name: str) -> list[tuple[str, str]]:
    """Language and text of each snippet of a tutorial."""
    return FENCE.findall((ROOT / f"docs/tutorial-{name}.md").read_text())


def run_snippets(texts: list[tuple[str, str]], folder: Path) -> str:
    """Run snippets and return their output; AssertionError with the snippet and its error if one fails."""
    programs = {
        "tweenlet": f'exec {sys.executable} -m tweenlet "$@"',
        "pip": "exit 0",
        "ffmpeg": f'exec {imageio_ffmpeg.get_ffmpeg_exe()} "$@"',
        "ffplay": "exec cat > played.y4m",
    }
    for program, line in programs.items():
        path = folder / "bin" / program
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{line}\n")
        path.chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
        "PYTHONPATH": f"{folder / 'packages'}:{ROOT}:{os.environ.get('PYTHONPATH', '')}",
        "XDG_CACHE_HOME": os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache")),
        "OMP_NUM_THREADS": "1",
    }
    shells = {"bash": ["bash", "-euo", "pipefail", "-c"], "python": [sys.executable, "-W", "error", "-c"]}
    printed = []
    for language, text in texts:
        done = subprocess.run(
            [*shells[language], text],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{text}\n{done.stderr}"
        printed.append(done.stdout)
    return "\n".join(printed)


def described(path: Path) -> tuple[int, Fraction]:
    """The number of frames of a video, and its length in seconds."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = sum(1 for _ in container.decode(video=0))
        return frames, Fraction(stream.duration or 0) * (stream.time_base or 0)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("name", ["video", "compress", "arrays"])
def test_every_snippet_is_in_a_language_that_is_run(name: str) -> None:
    assert {language for language, _ in snippets(name)} <= {"bash", "python"}


@pytest.mark.parametrize("name", ["video", "compress"])
def test_installed_extras_exist(name: str) -> None:
    text = "\n".join(text for _, text in snippets(name))
    lists = re.findall(r"pip install -c constraints\.txt '\.\[([\w,]+)\]'", text)
    assert len(lists) == text.count("pip install")
    assert lists
    assert {extra for group in lists for extra in group.split(",")} <= set(EXTRAS)


def test_troubleshooting_names_real_options() -> None:
    table = (ROOT / "docs/tutorial-video.md").read_text().partition("## When it looks wrong")[2]
    options = re.findall(r"`(--[^`]+)`", table)
    assert len(options) > 4
    for option in options:
        words = ["interpolate", "in.mp4", *option.split()]
        app.parse_args(words if " " in option else [*words, "1"], exit_on_error=False, print_error=False)


@pytest.mark.slow
def test_with_arrays(tmp_path: Path) -> None:
    shutil.copy(CLIPS / "learning-area-elf.mp4", tmp_path / "in.mp4")
    printed = run_snippets(snippets("arrays"), tmp_path)
    frames, _ = described(tmp_path / "in.mp4")
    assert described(tmp_path / "out.mp4")[0] == 2 * frames - 1
    assert f"{frames} {2 * frames - 1} " in printed
    assert printed.count("(5, 48, 64, 3)") == 2


@pytest.mark.long
def test_with_a_video(tmp_path: Path) -> None:
    shutil.copy(CLIPS / "learning-area-elf.mp4", tmp_path / "holiday.mp4")
    printed = run_snippets(snippets("video"), tmp_path)
    frames, seconds = described(tmp_path / "holiday.mp4")
    assert {"tweenlet-demo.mp4", "tweenlet-demo.png", "holiday.compare.html"} <= names(tmp_path)
    assert described(tmp_path / "holiday.2x.mp4")[0] == 2 * frames - 1
    assert described(tmp_path / "smooth.mp4")[0] == pytest.approx(float(60 * seconds), abs=2)
    assert described(tmp_path / "slow.mp4")[1] == pytest.approx(float(4 * seconds), rel=0.1)
    assert "holiday.2x.mp4" in printed


@pytest.mark.long
@pytest.mark.timeout(3000)
def test_with_a_network(tmp_path: Path) -> None:
    """An untrained network, with few samples and two steps, too few to estimate statistics of activations."""
    torch.save({"state_dict": official.to_official(STMFNet(MINI))}, tmp_path / "stmfnet_mini.pth")
    (tmp_path / "tweenlet.toml").write_text(
        '[compress]\nbatch = 1\ncrop = 64\n"distill.steps" = 2\n"distill.freeze_bn_after" = 0\n'
        '"recipe.samples" = 8\n"recipe.validation" = 2\n"recipe.crop" = 64\n"recipe.synthetic" = 0\n'
        '[bench]\nsize = "128x96"\n[evaluate]\nsubset = "1/8"\n'
    )
    for clip in sorted(CLIPS.glob("*.mp4")):
        place = tmp_path / ("held_out" if "rabbit" in clip.name else "my_videos")
        place.mkdir(exist_ok=True)
        shutil.copy(clip, place)
    shutil.copy(CLIPS / "learning-area-elf.mp4", tmp_path / "in.mp4")
    (tmp_path / "packages").mkdir()
    (tmp_path / "packages/huggingface_hub.py").write_text(HUB)
    printed = run_snippets(snippets("compress"), tmp_path)
    assert {"student.safetensors", "report.html"} <= names(tmp_path / "small")
    assert described(tmp_path / "out.mp4")[0] == 2 * described(tmp_path / "in.mp4")[0] - 1
    assert (tmp_path / "student.onnx").stat().st_size > 10_000
    student, pushed = tmp_path / "small/student.safetensors", tmp_path / "hub/me/student/model.safetensors"
    assert pushed.read_bytes() == student.read_bytes()
    for method in ("student", "mini", "dis", "blend"):
        assert re.search(rf"(?m)^\W*{method}\b", printed), printed


@pytest.mark.slow
def test_readme_examples(tmp_path: Path) -> None:
    for name in ("in.mp4", "in.mkv"):
        small_clip(tmp_path / name)
    (tmp_path / "few frames").rename(tmp_path / "frames")
    for number, name in enumerate("ab"):
        shutil.copy(tmp_path / f"frames/{number}.png", tmp_path / f"{name}.png")
    readme = FENCE.findall((ROOT / "README.md").read_text())
    (text,) = (text for _, text in readme if "in.mkv out.mkv" in text)
    run_snippets([("bash", text)], tmp_path)
    assert described(tmp_path / "out.mkv")[0] == 4 * 4 - 3
    assert {"slow.mp4", "ramp.mp4", "out.mov", "between.png"} <= names(tmp_path)
    assert {"in.mp4", "00001.png", "00007.png"} <= names(tmp_path / "out")
    assert described(tmp_path / "played.y4m")[0] == 2 * 4 - 1
