"""What README and docs say can be typed: Python runs, commands are understood, links lead somewhere."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import standins
from PIL import Image

from tweenlet import video
from tweenlet.cli import app
from tweenlet.cli.app import reorder_paths
from tweenlet.evaluation.benchmarks import KINDS
from tweenlet.evaluation.catalogue import ASKED
from tweenlet.video.images import ImageEncoder

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
EVALUATION = (ROOT / "docs/evaluation.md").read_text()
PAGES = sorted(path for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("weights/*.md")))
SPOKEN = [path for path in PAGES if "log" not in path.parts and path.name != "CHANGELOG.md"]
"""Pages whose commands are today's; those of the log are those of its days."""
ALONE = [path for path in SPOKEN if not path.name.startswith("tutorial")]
"""Pages whose snippets run one by one; test_tutorials.py runs those of a tutorial in order."""


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


def every(find: Callable[[str], list[str]], pages: list[Path] = SPOKEN) -> list[object]:
    """Whatever `find` returns for each page, as parameters with the page in their ids."""
    return [
        pytest.param(found, id=f"{path.relative_to(ROOT)}-{k}")
        for path in pages
        for k, found in enumerate(find(path.read_text()))
    ]


@pytest.mark.slow
@pytest.mark.parametrize("snippet", every(lambda text: blocks("python", text=text), ALONE))
def test_python_on_the_pages_runs(snippet: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in re.findall(r'(?:interpolate_video|read|VideoDecoder|imiter)\(\s*"([^"]+\.\w+)"', snippet):
        small_clip(tmp_path / name)
    standins.install(monkeypatch)
    exec(compile(snippet, "README.md", "exec"), {"__name__": "readme"})
    for name in re.findall(r'"(cat.mp4|out.mp4|dense.nc)"', snippet):
        assert standins.exists(name)


@pytest.mark.parametrize("command", every(commands))
def test_commands_on_the_pages_are_understood(command: str) -> None:
    app.parse_args(reorder_paths(shlex.split(command)[1:]), exit_on_error=False, print_error=False)


def test_the_readme_shows_both() -> None:
    assert blocks("python")
    assert any(command.startswith("tweenlet interpolate") for command in commands())
    assert "tweenlet demo" in commands()


def test_the_readme_is_short() -> None:
    assert len(README.encode()) <= 8 * 1024


def test_the_picture_moves_and_is_small() -> None:
    path = ROOT / re.findall(r"!\[[^]]+\]\(([^)]+)\)", README)[0]
    with Image.open(path) as picture:
        assert (picture.n_frames, picture.info["loop"]) == (45, 0)  # scripts/moving_picture.py
    assert path.stat().st_size < 300_000


def anchors(page: Path) -> set[str]:
    """The names by which GitHub and the docs site link to the headings of a page."""
    headings = re.findall(r"(?m)^#+ (.+)$", page.read_text())
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if re.match(r"\w+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), f"{page.name} links to {link}"
        assert not anchor or anchor in anchors(target), f"{page.name} links to {link}"


@pytest.mark.slow
def test_the_tables_of_results_are_those_of_the_reports() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "scripts/results.py", "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_a_stale_table_is_found(tmp_path: Path) -> None:
    results = [str(path.relative_to(ROOT)) for path in (ROOT / "docs/results").glob("*.json")]
    pages = [*(str(path.relative_to(ROOT)) for path in (ROOT / "docs").glob("*.md")), *results]
    pages += ["README.md", "weights/default.md"]
    for page in (*pages, "scripts/results.py"):
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
