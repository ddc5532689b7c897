from __future__ import annotations

import json
import re
from base64 import b64decode
from dataclasses import replace
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tweenlet.compression.charts import _running_mean as running_mean
from tweenlet.compression.charts import density_chart, density_course, loss_curves
from tweenlet.compression.densities import Densities, Density, densities
from tweenlet.compression.report import Compressed, Crops, write
from tweenlet.compression.widths import compaction
from tweenlet.evaluation import MethodInfo, Report, Score
from tweenlet.network.checkpoint import load
from tweenlet.network.config import TINY
from tweenlet.network.stmfnet import STMFNet

HOSTILE = "<script>alert(1)</script>|&"
SMALLER = replace(TINY, texture=None)
PARTS = ("features", "multi_flow", "fusion", "texture")
PSNR = {"teacher": (30.0, 32.0), "student": (29.0, 31.5), "blend": (25.0, 26.0)}


def log_entries(steps: int = 60, validated: bool = True) -> list[dict[str, float]]:
    log: list[dict[str, float]] = []
    for step in range(10, steps + 1, 10):
        shares = {f"density {name}": 1 - 0.8 * step / steps for name in ("all", *PARTS)}
        log.append({"step": step, "loss": 0.1 / step, **shares, "gradient": 0.3, "seconds": step})
        if validated and step % 20 == 0:
            log.append({"step": step, "psnr": 20 + step / 10, "blend_psnr": 25.0, "seconds": step})
    return log


def evaluated(name: str = "clips2") -> Report:
    entrants = MethodInfo("teacher", 20_000, "ab"), MethodInfo("student", 8_000, "cd"), MethodInfo("blend")
    scores = tuple(
        Score(method, f"{clip}/{place}", clip, (64, 32), {"psnr": pair[number], "ssim": 0.9}, 0.5, 1.0)
        for number, clip in enumerate(("calm", name))
        for place in range(2)
        for method, pair in PSNR.items()
    )
    made = "0.1.0", f"machine of {name}", "2026-11-24T12:00:00+00:00"
    return Report(name, entrants, ("psnr", "ssim"), scores, *made)


def sparse() -> Densities:
    torch.manual_seed(0)
    full = densities(STMFNet(TINY)).layers
    return Densities(
        {name: Density(d.total // (2 + k % 3), d.total) for k, (name, d) in enumerate(full.items())}
    )


def picture(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (3, 12, 20), np.uint8)


def compressed(name: str = "clips2") -> Compressed:
    crops = Crops(
        f"{name}#7",
        {"truth": picture(0), "teacher": picture(1), f"by {name}": picture(2)},
        {"teacher": 31.234},
    )
    shares = sparse()
    table = compaction(TINY, SMALLER, shares, (64, 32))
    return Compressed(
        table, shares, evaluated(name), log_entries(), log_entries(), (crops,), f"tweenlet compress {name}"
    )


class Page(HTMLParser):
    """What a page holds: its tags, the text that is said, the rows of its tables, and its links."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.links: list[str] = []
        self.rows: list[tuple[str, ...]] = []
        self.said = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "srcset")]
        if tag == "tr":
            self.rows.append(())
        if tag in ("td", "th"):
            self.rows[-1] += ("",)

    def handle_data(self, data: str) -> None:
        self.said += data
        if self.rows and self.rows[-1]:
            *others, cell = self.rows[-1]
            self.rows[-1] = (*others, (cell + data).rstrip("\n"))

    def handle_endtag(self, tag: str) -> None:
        if tag == "table":
            self.rows.append(())

    @property
    def images(self) -> list[Image.Image]:
        return [Image.open(BytesIO(b64decode(link.partition("base64,")[2]))) for link in self.links]


def colours(png: bytes) -> int:
    """How many colours a chart has that is wide enough to be read: one where it is blank."""
    image = Image.open(BytesIO(png)).convert("RGB")
    assert image.width >= 1000
    return len(image.getcolors(image.width * image.height))


@pytest.fixture(scope="module")
def report() -> Compressed:
    return compressed()


@pytest.mark.slow
def test_the_paragraph_says_what_became_smaller_and_what_it_cost(report):
    before, after = report.compaction.rows[-1].parameters
    text = report.summary()
    assert f"({before:,} -> {after:,})" in text
    assert f"**{before / after:.1f} times fewer parameters**" in text
    assert "for one new frame of 64x32" in text
    assert "**30.25 dB**: 0.75 dB less than the teacher (31.00 dB), and 4.75 dB more than blending" in text
    assert "2026-11-24T12:00:00+00:00 on machine of clips2, by tweenlet 0.1.0." in text
    assert "faster" not in text


@pytest.mark.parametrize(
    ("times", "text"),
    [
        ((2400.0, 600.0), "**4.0 times faster** (2,400 ms -> 600 ms)"),
        ((5.0, 7.5), "**1.5 times slower** (5.0 ms -> 7.5 ms)"),
        ((100.0, 99.0), "**as fast** (100 ms -> 99 ms)"),
    ],
)
def test_speed_is_told_where_it_was_measured(report, times, text):
    rows = report.compaction.rows
    timed = replace(report.compaction, rows=(*rows[:-1], replace(rows[-1], milliseconds=times)))
    assert text in replace(report, compaction=timed).summary()


def test_markdown_has_the_tables_of_the_house(report):
    text = report.markdown()
    for part in (report.summary(), report.compaction.markdown(), report.quality.markdown()):
        assert part.strip() in text
    row = f"| **texture** | {report.densities.parts['texture'].total:,} |"
    assert row in re.sub(" +", " ", text)
    assert "texture.out" not in text
    assert "\n    tweenlet compress clips2\n" in text


def test_json_holds_everything_but_pictures(report):
    values = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert Densities.from_json(values["densities"]) == report.densities
    assert values["compaction"] == json.loads(json.dumps(report.compaction.to_json()))
    assert values["quality"]["means"]["student"]["psnr"] == pytest.approx(30.25)
    assert values["sparsify_log"] == values["distill_log"] == log_entries()
    assert values["crops"] == [{"name": "clips2#7", "psnr": {"teacher": 31.234}}]
    assert values["command"] == "tweenlet compress clips2"


def rows_of(markdown: str) -> list[tuple[str, ...]]:
    """The cells of all tables, row by row, as the page writes them."""
    rows = [line for line in markdown.splitlines() if line.startswith("|") and "--" not in line]
    plain = (row.strip("|").replace("*", "").replace("->", "→").split("|") for row in rows)
    return [tuple(cell.strip() for cell in row) for row in plain]


@pytest.mark.slow
def test_the_page_says_what_markdown_says(report):
    page = Page(report.html())
    tables = report.compaction.markdown(), report.quality.markdown(), report.densities.markdown()
    assert set(filter(None, page.rows)) == {row for table in tables for row in rows_of(table)}
    assert report.summary().replace("**", "").replace("->", "→") in page.said
    assert "teacher 31.23 dB" in page.said
    assert "tweenlet compress clips2" in page.said


@pytest.mark.slow
def test_the_page_needs_nothing_else(report):
    text = report.html()
    page = Page(text)
    assert all(link.startswith("data:image/png;base64,") for link in page.links)
    assert not re.search(r"url\(|@import|<link|<script", text)
    assert "prefers-color-scheme: dark" in text
    assert len(page.images) == 4 + 3
    shown = page.images[4]
    np.testing.assert_array_equal(np.asarray(shown), picture(0).transpose(1, 2, 0))
    assert f'width="{2 * 20}" height="{2 * 12}"' in text


@pytest.mark.slow
def test_hostile_names_are_escaped():
    report = compressed(HOSTILE)
    text = report.html()
    assert "<script" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;|&amp;#7" in text
    page = Page(text)
    assert "script" not in page.tags
    assert (HOSTILE, "32.00", "31.50", "26.00") in page.rows  # its stroke is no cell
    prose, _, command = report.markdown().partition("## To make it again")
    assert not re.search(r"(?<!\\)<", prose)
    assert f"\n    tweenlet compress {HOSTILE}\n" in command


@pytest.mark.slow
def test_charts_are_pictures(report):
    drawn = [density_chart(report.densities, TINY), density_course(log_entries()), loss_curves(log_entries())]
    default = load("default")
    drawn.append(density_chart(densities(default), default.config))
    assert all(colours(png) > 50 for png in drawn)
    assert len(set(drawn)) == 4


@pytest.mark.slow
def test_charts_without_validation_and_of_short_logs():
    with_it, without = loss_curves(log_entries()), loss_curves(log_entries(validated=False))
    assert colours(without) > 50
    assert with_it != without
    for steps in (10, 20):
        assert colours(loss_curves(log_entries(steps))) > 50
        assert colours(density_course(log_entries(steps, validated=False))) > 50


def test_the_running_mean_is_as_long_and_bends_no_slope():
    slope = np.linspace(5, 1, 400)
    np.testing.assert_allclose(running_mean(slope), slope)
    noise = np.random.default_rng(0).normal(size=400)
    assert running_mean(noise)[10:-10].std() < 0.4 * noise.std()
    for length in (1, 2, 3):
        np.testing.assert_allclose(running_mean(slope[:length]), slope[:length])


def test_charts_of_what_is_not_there():
    with pytest.raises(ValueError, match="lines of 'loss'; found none"):
        loss_curves([{"step": 10, "psnr": 20.0}])
    with pytest.raises(ValueError, match="lines of 'density all'; found none"):
        density_course([{"step": 10, "loss": 0.1}])


def test_a_page_without_logs(report):
    assert len(Page(replace(report, sparsify_log=(), distill_log=()).html()).images) == 1 + 3


def test_what_cannot_be_reported(report):
    partial = replace(report.quality, entrants=report.quality.entrants[:2])
    with pytest.raises(
        ValueError, match="expected an evaluation of teacher, student, blend; got teacher, student"
    ):
        replace(report, quality=partial)
    with pytest.raises(
        ValueError, match=r"expected uint8 \(3, h, w\) for truth of x, got float64 \(3, 4, 4\)"
    ):
        Crops("x", {"truth": np.zeros((3, 4, 4))}, {})


@pytest.mark.slow
def test_files_are_written_whole(report, tmp_path):
    folder = tmp_path / "new" / "run"
    write(report, folder)
    assert sorted(p.name for p in folder.iterdir()) == [
        "densities.png", "report.html", "report.json", "report.md",
    ]  # fmt: skip
    assert (folder / "report.md").read_text() == report.markdown()
    assert (folder / "report.html").read_text() == report.html()
    assert json.loads((folder / "report.json").read_text())["command"] == report.command
    assert (folder / "densities.png").read_bytes() == density_chart(report.densities, TINY)


@pytest.mark.slow
def test_names_that_are_no_unicode_do_not_lose_the_report(tmp_path):
    write(compressed("clip\udcff"), tmp_path)
    assert "clip?" in (tmp_path / "report.md").read_text()
    assert "clip?" in (tmp_path / "report.html").read_text()


@pytest.mark.slow
def test_or_not_at_all(report, tmp_path, monkeypatch):
    write(report, tmp_path)
    files = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(path: Path, content: bytes) -> int:
        with path.open("wb") as file:
            file.write(content[:5])
        raise OSError("no space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match=r"cannot write .*: no space left"):
        write(replace(report, command="another"), tmp_path)
    monkeypatch.undo()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == files
