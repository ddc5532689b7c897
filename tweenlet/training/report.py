"""The report of a compression: how much smaller, how much faster, and what it cost in quality.

    Compressed --+--> markdown()   for people at a terminal
                 +--> to_json()    for machines
                 +--> html()       one page that needs nothing else: pictures and style inside, no script

The tables are written once, as Markdown; the page shows the same ones. Whatever may hold a name (of a file, a
sample, a machine) is escaped.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from io import BytesIO
from pathlib import Path
from string import Template
from textwrap import indent
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tweenlet.evaluation.report import Report
from tweenlet.training import charts
from tweenlet.training.compact import Compaction
from tweenlet.training.densities import Densities

ENTRANTS = ("teacher", "student", "blend")
"""What the quality is told of, in the words of the report."""
MANY, FAST = ("fewer", "more", "as many"), ("faster", "slower", "as fast")
ZOOM = 2
"""Pixels of the page, at most, for one of a crop."""


@dataclass(frozen=True)
class Crops:
    """One sample, as it was and as it was made."""

    name: str
    """Where the sample is from."""
    pictures: Mapping[str, NDArray[np.uint8]]
    """RGB (3, h, w) by label: before, after, truth, and by whom it was made; shown in this order."""
    psnr: Mapping[str, float]
    """dB, of the pictures that were made, by label."""

    def __post_init__(self) -> None:
        """Refuse what is no picture; ValueError."""
        for label, picture in self.pictures.items():
            if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[0] != 3:
                got = f"{picture.dtype} {picture.shape}"
                raise ValueError(f"expected uint8 (3, h, w) for {label} of {self.name}, got {got}")


@dataclass(frozen=True)
class Compressed:
    """What was made of a network, and all that is to be told about it.

    ValueError where ``quality`` lacks one of :data:`ENTRANTS`.
    """

    compaction: Compaction
    """The network that was sparsified, and the student."""
    densities: Densities
    """Of the sparsified network."""
    quality: Report
    """Of the teacher, the student and blending, at least."""
    sparsify_log: Sequence[Mapping[str, Any]]
    """The parsed lines of the first stage's log."""
    distill_log: Sequence[Mapping[str, Any]]
    """The parsed lines of the second stage's log."""
    crops: tuple[Crops, ...]
    command: str
    """What was typed."""

    def __post_init__(self) -> None:
        """Refuse an evaluation that cannot tell what the compression cost."""
        names = [entrant.name for entrant in self.quality.entrants]
        if not set(ENTRANTS) <= set(names):
            raise ValueError(f"expected an evaluation of {', '.join(ENTRANTS)}; got {', '.join(names)}")

    def summary(self) -> str:
        """All in one paragraph of Markdown: size, speed, quality, and where and when that was measured."""
        table, quality = self.compaction, self.quality
        whole = table.rows[-1]
        multiply_adds = "{:,.2f} G -> {:,.2f} G".format(*(count / 1e9 for count in whole.multiply_adds))
        size = f"for one new frame of {table.width}x{table.height}"
        smaller = [
            f"**{_change(whole.parameters, MANY)} parameters** "
            f"({' -> '.join(f'{count:,}' for count in whole.parameters)})",
            f"**{_change(whole.multiply_adds, MANY)} multiply-adds** ({multiply_adds} {size})",
        ]
        if whole.milliseconds:
            times = " -> ".join(f"{time:,.{0 if time >= 10 else 1}f} ms" for time in whole.milliseconds)
            smaller.append(f"**{_change(whole.milliseconds, FAST)}** ({times})")
        teacher, student, blend = (quality.mean("psnr", name) for name in ENTRANTS)
        return (
            f"{', '.join(smaller)}. On {quality.benchmark} the student has a PSNR of **{student:.2f} dB**: "
            f"{_distance(student, teacher)} the teacher ({teacher:.2f} dB), and {_distance(student, blend)} "
            f"blending the two middle frames ({blend:.2f} dB). "
            f"Measured {quality.date} on {quality.machine}, by tweenlet {quality.version}."
        )

    def markdown(self) -> str:
        """The paragraph, the tables of widths, quality and densities, and the command."""
        parts, _ = self._density_tables()
        told = {
            "summary": self.summary(), "widths": self.compaction.markdown(),
            "quality": self.quality.markdown(), "densities": parts,
        }  # fmt: skip
        plain = {name: text.strip().replace("<", "&lt;") for name, text in told.items()}
        return MARKDOWN.substitute(plain, command=indent(self.command, "    "))

    def to_json(self) -> dict[str, Any]:
        """Everything but the pictures, as plain JSON types."""
        return {
            "compaction": self.compaction.to_json(),
            "densities": self.densities.to_json(),
            "quality": self.quality.to_json(),
            "sparsify_log": [dict(entry) for entry in self.sparsify_log],
            "distill_log": [dict(entry) for entry in self.distill_log],
            "crops": [{"name": crops.name, "psnr": dict(crops.psnr)} for crops in self.crops],
            "command": self.command,
        }

    def html(self) -> str:
        """The whole report as one page; charts of logs that are empty are left out."""
        parts, layers = self._density_tables()
        density = charts.density_chart(self.densities, self.compaction.before)
        density_charts = [_chart("The density of every layer after sparsifying", density)]
        loss_charts = []
        if log := self.sparsify_log:
            density_charts.append(_chart("How the densities moved", charts.density_course(log)))
            loss_charts.append(_chart("Stage 1: the large network is sparsified", charts.loss_curves(log)))
        if log := self.distill_log:
            loss_charts.append(_chart("Stage 2: the small network is taught", charts.loss_curves(log)))
        return PAGE.substitute(
            summary=_as_html(self.summary()),
            widths=_as_html(self.compaction.markdown()),
            quality=_as_html(self.quality.markdown()),
            densities=_as_html(parts),
            density_charts="\n".join(density_charts),
            count=len(self.densities.layers),
            layers=_as_html(layers),
            loss_charts="\n".join(loss_charts),
            crops="\n".join(map(_crops, self.crops)),
            command=escape(self.command),
        )

    def _density_tables(self) -> tuple[str, str]:
        """All and the parts, and the single layers, as tables in Markdown."""
        lines = self.densities.markdown().splitlines()
        layers = len(self.densities.layers)
        return "\n".join(lines[:-layers]), "\n".join([*lines[:2], *lines[-layers:]])


def write(report: Compressed, folder: Path) -> None:
    """Write report.md, report.json, report.html and densities.png, each whole or not at all.

    OSError, naming the file, where that fails. What a name holds that is no Unicode becomes a question mark.
    """
    density = charts.density_chart(report.densities, report.compaction.before)
    files = {
        "densities.png": density,
        "report.md": report.markdown().encode(errors="replace"),
        "report.json": (json.dumps(report.to_json(), indent=1) + "\n").encode(),
        "report.html": report.html().encode(errors="replace"),
    }
    write_files(folder, files)


def write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write files by name, each whole or not at all; OSError, naming the file, where that fails."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        partial = folder / f"{name}.part"
        try:
            partial.write_bytes(content)
            partial.replace(folder / name)
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise OSError(f"cannot write {folder / name}: {error}") from error


def _change(pair: tuple[float, float], words: tuple[str, str, str]) -> str:
    """A number before and after, in words: 11.5 times fewer, 1.2 times more, as many."""
    before, after = pair
    less, more, same = words
    times = f"{max(pair) / min(pair):.1f} times"
    return same if times == "1.0 times" else f"{times} {less if after < before else more}"


def _distance(psnr: float, other: float) -> str:
    """0.75 dB less than, 4.75 dB more than, just that of."""
    if f"{abs(psnr - other):.2f}" == "0.00":
        return "just that of"
    return f"{abs(psnr - other):.2f} dB {'more' if psnr > other else 'less'} than"


def _as_html(markdown: str) -> str:
    """Paragraphs and tables of Markdown as HTML, escaped; all else that Markdown knows does not occur."""
    blocks = markdown.strip().split("\n\n")
    return "\n".join(
        _table(block) if re.match(r"\|.*\n\|-", block) else f"<p>{_inline(block)}</p>" for block in blocks
    )


def _table(block: str) -> str:
    head, rule, *rows = block.splitlines()
    columns = rule.count("|") - 1

    def row(line: str, tag: str) -> str:
        """From the right, where there are only numbers: a name on the left may hold a stroke of its own."""
        cells = line.removeprefix("|").removesuffix("|").rsplit("|", columns - 1)
        return f"<tr>{''.join(f'<{tag}>{_inline(cell.strip())}</{tag}>' for cell in cells)}</tr>"

    body = "\n".join(row(line, "td") for line in rows)
    return (
        f'<div class="table"><table>\n<thead>{row(head, "th")}</thead>\n<tbody>{body}</tbody>\n</table></div>'
    )


def _inline(text: str) -> str:
    """Text of one paragraph or cell, escaped; ** ** is strong, -> an arrow, and lines stay lines."""
    safe = escape(text).replace("-&gt;", "→").replace("\n", "<br>\n")
    return re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", safe)


def _chart(caption: str, png: bytes) -> str:
    image = f'<img class="chart" alt="{escape(caption)}" src="{_embedded(png)}">'
    return f"<figure>{image}<figcaption>{escape(caption)}</figcaption></figure>"


def _crops(crops: Crops) -> str:
    figures = []
    for label, picture in crops.pictures.items():
        png = BytesIO()
        Image.fromarray(np.ascontiguousarray(picture.transpose(1, 2, 0))).save(png, "PNG")
        _, height, width = picture.shape
        size = f'width="{ZOOM * width}" height="{ZOOM * height}"'
        image = f'<img {size} alt="{escape(label)}" src="{_embedded(png.getvalue())}">'
        quality = f" <strong>{crops.psnr[label]:.2f} dB</strong>" if label in crops.psnr else ""
        figures.append(f"<figure>{image}<figcaption>{escape(label)}{quality}</figcaption></figure>")
    side_by_side = "\n".join(figures)
    return f'<h3>{escape(crops.name)}</h3>\n<div class="crops">\n{side_by_side}\n</div>'


def _embedded(png: bytes) -> str:
    return f"data:image/png;base64,{b64encode(png).decode()}"


MARKDOWN = Template("""\
# A compressed network

$summary

## Widths

$widths

## Quality

$quality

## Densities

$densities

![The density of every layer](densities.png)

Every layer, the courses of both trainings and pictures are in report.html.

## To make it again

$command
""")

PAGE = Template("""\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>A compressed network</title>
<style>
:root { --paper: #fff; --ink: #222; --faint: #666; --line: #ddd; --shade: #f5f5f3; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #191919; --ink: #ddd; --faint: #999; --line: #3a3a3a; --shade: #242424; }
  .chart { filter: invert(0.902) hue-rotate(180deg); }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
       font: 16px/1.5 system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main { max-width: 76rem; margin: 0 auto; padding: 2rem 1rem 4rem; }
h1 { margin: 0 0 1rem; font-size: 1.9rem; line-height: 1.2; }
h2 { margin: 3rem 0 0.75rem; padding-top: 0.75rem; border-top: 1px solid var(--line); font-size: 1.3rem; }
h3 { margin: 2rem 0 0.5rem; font-size: 1rem; overflow-wrap: anywhere; }
p { max-width: 48rem; color: var(--faint); overflow-wrap: anywhere; }
.summary p { font-size: 1.15rem; color: var(--ink); }
.table { max-height: 34rem; margin: 0.75rem 0; overflow: auto; font-size: 0.9rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: 0.3rem 0.7rem; border-bottom: 1px solid var(--line); text-align: right;
         white-space: nowrap; }
th { position: sticky; top: 0; background: var(--paper); color: var(--faint); font-weight: 600; }
th:first-child, td:first-child { padding-left: 0; text-align: left; }
figure { margin: 0; }
figcaption { color: var(--faint); font-size: 0.9rem; }
figcaption strong { color: var(--ink); }
.charts { display: grid; gap: 2rem; margin: 1rem 0;
          grid-template-columns: repeat(auto-fit, minmax(min(100%, 28rem), 1fr)); }
.chart { display: block; width: 100%; height: auto; margin-bottom: 0.25rem; }
.crops { display: flex; flex-wrap: wrap; gap: 0.75rem; max-width: 52rem; }
.crops figure { max-width: calc(50% - 0.375rem); }
.crops img { display: block; max-width: 100%; height: auto; image-rendering: pixelated; }
summary { cursor: pointer; }
pre { padding: 0.75rem 1rem; background: var(--shade); border-radius: 0.4rem; font-size: 0.9rem;
      white-space: pre-wrap; overflow-wrap: anywhere; }
</style>
</head>
<body>
<main>
<h1>A compressed network</h1>
<div class="summary">$summary</div>
<h2>Widths</h2>
$widths
<h2>Quality</h2>
$quality
<h2>Densities</h2>
$densities
<div class="charts">
$density_charts
</div>
<details>
<summary>All $count layers</summary>
$layers
</details>
<h2>Training</h2>
<div class="charts">
$loss_charts
</div>
<h2>Pictures</h2>
$crops
<h2>To make it again</h2>
<pre>$command</pre>
</main>
</body>
</html>
""")
