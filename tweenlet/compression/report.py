"""Report of a compression: how much smaller and faster, at what loss of quality.

    Compressed --+--> markdown()   for the terminal
                 +--> to_json()    for programs
                 +--> html()       one self-contained page: pictures and style inside, no script

Tables are written once, in Markdown; the page shows the same ones, by evaluation/document.py. Names (of
files, samples, machines) are escaped.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from io import BytesIO
from pathlib import Path
from string import Template
from textwrap import indent
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tweenlet.compression import charts
from tweenlet.compression.densities import Densities
from tweenlet.compression.widths import Compaction
from tweenlet.evaluation.catalogue import METRICS
from tweenlet.evaluation.document import document, embedded, markdown_html, write_files
from tweenlet.evaluation.report import Report
from tweenlet.runtime.tables import table

ENTRANTS = ("teacher", "student", "blend")
"""Methods whose quality is reported, by label."""
MANY, FAST = ("fewer", "more", "as many"), ("faster", "slower", "as fast")
ZOOM = 2
"""Largest magnification of a crop on the page."""


@dataclass(frozen=True)
class Crops:
    """Crops of one sample: inputs, truth and each method's output."""

    name: str
    """Origin of the sample."""
    pictures: Mapping[str, NDArray[np.uint8]]
    """RGB (3, h, w) by label: before, after, truth, and the methods; shown in this order."""
    psnr: Mapping[str, float]
    """PSNR of the outputs, in dB, by label."""

    def __post_init__(self) -> None:
        """ValueError for anything but pictures."""
        for label, picture in self.pictures.items():
            if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[0] != 3:
                got = f"{picture.dtype} {picture.shape}"
                raise ValueError(f"expected uint8 (3, h, w) for {label} of {self.name}, got {got}")


@dataclass(frozen=True)
class Compressed:
    """A compression and its results.

    ValueError if ``quality`` lacks one of :data:`ENTRANTS`.
    """

    compaction: Compaction
    """Comparison of the original network and the student."""
    densities: Densities | None
    """Densities of the sparsified network, if any."""
    quality: Report
    """Evaluation of at least the teacher, the student and blending."""
    sparsify_log: Sequence[Mapping[str, Any]]
    """The parsed lines of the first stage's log."""
    distill_log: Sequence[Mapping[str, Any]]
    """The parsed lines of the second stage's log."""
    crops: tuple[Crops, ...]
    command: str
    """The command line."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """Settings by name: the budget, the pruning method, ..."""
    steps: Sequence[str] = ()
    """Reductions of the network, and why, line by line."""

    def __post_init__(self) -> None:
        """ValueError for an evaluation without the teacher, the student or blending."""
        names = [entrant.name for entrant in self.quality.entrants]
        if not set(ENTRANTS) <= set(names):
            raise ValueError(f"expected an evaluation of {', '.join(ENTRANTS)}; got {', '.join(names)}")

    def verdict(self) -> str:
        """Whether the student is fit for use, in one sentence of Markdown."""
        teacher, student, blend = (self.quality.mean("psnr", name) for name in ENTRANTS)
        if student <= blend:
            return (
                f"**Not usable: no better than blending the two middle frames** ({student:.2f} dB, blending "
                f"{blend:.2f} dB). More steps, a larger budget or more footage may help."
            )
        share = (student - blend) / (teacher - blend) if teacher > blend else 1.0
        if share >= 1:
            return "**As good as the teacher.**"
        return f"**Usable: it keeps {100 * share:.0f} % of what the teacher gains over blending, in dB.**"

    def summary(self) -> str:
        """Summary in one paragraph of Markdown: size, speed and quality, with the machine and the date."""
        table, quality = self.compaction, self.quality
        total = table.rows[-1]
        multiply_adds = "{:,.2f} G -> {:,.2f} G".format(*(count / 1e9 for count in total.multiply_adds))
        size = f"for one new frame of {table.width}x{table.height}"
        smaller = [
            f"**{_change(total.parameters, MANY)} parameters** "
            f"({' -> '.join(f'{count:,}' for count in total.parameters)})",
            f"**{_change(total.multiply_adds, MANY)} multiply-adds** ({multiply_adds} {size})",
        ]
        if total.milliseconds:
            times = " -> ".join(f"{time:,.{0 if time >= 10 else 1}f} ms" for time in total.milliseconds)
            smaller.append(f"**{_change(total.milliseconds, FAST)}** ({times})")
        teacher, student, blend = (quality.mean("psnr", name) for name in ENTRANTS)
        return (
            f"{', '.join(smaller)}. On {quality.benchmark} the student has a PSNR of **{student:.2f} dB**: "
            f"{_distance(student, teacher)} the teacher ({teacher:.2f} dB), and {_distance(student, blend)} "
            f"blending the two middle frames ({blend:.2f} dB). "
            f"Measured {quality.date} on {quality.machine}, by tweenlet {quality.version}."
        )

    def markdown(self) -> str:
        """The summary, tables of widths, quality and densities, and the command line, in Markdown."""
        sections = {
            "verdict": self.verdict(), "summary": self.summary(), "settings": self._settings(),
            "widths": self.compaction.markdown(), "quality": self.quality.markdown(),
            "densities": self._densities(),
        }  # fmt: skip
        plain = {name: re.sub(r"(?<!\\)<", r"\\<", text.strip()) for name, text in sections.items()}
        return MARKDOWN.substitute(plain, command=indent(self.command, "    "))

    def to_json(self) -> dict[str, Any]:
        """Everything but the pictures, as plain JSON types."""
        return {
            "compaction": self.compaction.to_json(),
            "verdict": self.verdict(),
            "settings": dict(self.settings),
            "steps": list(self.steps),
            "densities": self.densities.to_json() if self.densities else None,
            "quality": self.quality.to_json(),
            "sparsify_log": [dict(entry) for entry in self.sparsify_log],
            "distill_log": [dict(entry) for entry in self.distill_log],
            "crops": [{"name": crops.name, "psnr": dict(crops.psnr)} for crops in self.crops],
            "command": self.command,
        }

    def html(self) -> str:
        """The report as one page; charts of empty logs are left out."""
        loss_charts = []
        if log := self.sparsify_log:
            loss_charts.append(_chart("Stage 1: the large network is sparsified", charts.loss_curves(log)))
        if log := self.distill_log:
            loss_charts.append(_chart("Stage 2: the small network is taught", charts.loss_curves(log)))
        body = BODY.substitute(
            verdict=markdown_html(self.verdict()),
            settings=markdown_html(self._settings()),
            summary=markdown_html(self.summary()),
            widths=markdown_html(self.compaction.markdown(), minor=("density", "multiply-adds (G)")),
            quality=markdown_html(self.quality.markdown(), minor=self._minor_scores()),
            densities=self._densities_html(),
            loss_charts="\n".join(loss_charts),
            crops="\n".join(map(_crops, self.crops)),
            command=escape(self.command),
        )
        return document("A compressed network", body)

    def _minor_scores(self) -> list[str]:
        """Column headings of the quality tables to hide on a narrow screen."""
        labels = [METRICS[metric].label for metric in self.quality.metrics[3:]]
        return [*labels, "CPU s / frame", "parameters", "mean, 95 %", "minus, 95 %"]

    def _settings(self) -> str:
        """Settings and reductions, as lists in Markdown."""
        asked = [(name, str(value)) for name, value in self.settings.items()]
        settings = [table(("setting", "value"), asked, names=2), ""] if asked else []
        return "\n".join([*settings, *(f"- {step}" for step in self.steps)])

    def _densities(self) -> str:
        """Section on densities, in Markdown; empty if nothing was sparsified."""
        if self.densities is None:
            return ""
        parts, _ = _density_tables(self.densities)
        return f"## Densities\n\n{parts}\n\n![The density of every layer](densities.png)\n"

    def _densities_html(self) -> str:
        if self.densities is None:
            return ""
        parts, layers = _density_tables(self.densities)
        density = charts.density_chart(self.densities, self.compaction.before)
        images = [_chart("The density of every layer after sparsifying", density)]
        if log := self.sparsify_log:
            images.append(_chart("How the densities moved", charts.density_course(log)))
        return DENSITIES.substitute(
            densities=markdown_html(parts), density_charts="\n".join(images),
            count=len(self.densities.layers), layers=markdown_html(layers),
        )  # fmt: skip


def _density_tables(densities: Densities) -> tuple[str, str]:
    """Tables of the total and parts, and of the layers, in Markdown."""
    lines = densities.markdown().splitlines()
    layers = len(densities.layers)
    return "\n".join(lines[:-layers]), "\n".join([*lines[:2], *lines[-layers:]])


def write(report: Compressed, folder: Path) -> None:
    """Write report.md, report.json, report.html and, if there are densities, densities.png, each atomically.

    OSError, with the file's name, if that fails. Bytes in names that are not Unicode become question marks.
    """
    files = {
        "report.md": report.markdown().encode(errors="replace"),
        "report.json": (json.dumps(report.to_json(), indent=1) + "\n").encode(),
        "report.html": report.html().encode(errors="replace"),
    }
    if report.densities is not None:
        files["densities.png"] = charts.density_chart(report.densities, report.compaction.before)
    write_files(folder, files)


def _change(pair: tuple[float, float], words: tuple[str, str, str]) -> str:
    """A number before and after, as text: 11.5 times fewer, 1.2 times more, as many."""
    before, after = pair
    less, more, same = words
    times = f"{max(pair) / min(pair):.1f} times"
    return same if times == "1.0 times" else f"{times} {less if after < before else more}"


def _distance(psnr: float, other: float) -> str:
    """0.75 dB less than, 4.75 dB more than, just that of."""
    if f"{abs(psnr - other):.2f}" == "0.00":
        return "just that of"
    return f"{abs(psnr - other):.2f} dB {'more' if psnr > other else 'less'} than"


def _chart(caption: str, png: bytes) -> str:
    image = f'<img class="chart" alt="{escape(caption)}" src="{embedded(png)}">'
    return f"<figure>{image}<figcaption>{escape(caption)}</figcaption></figure>"


def _crops(crops: Crops) -> str:
    figures = []
    for label, picture in crops.pictures.items():
        png = BytesIO()
        Image.fromarray(np.ascontiguousarray(picture.transpose(1, 2, 0))).save(png, "PNG")
        _, height, width = picture.shape
        size = f'width="{ZOOM * width}" height="{ZOOM * height}"'
        image = f'<img {size} alt="{escape(label)}" src="{embedded(png.getvalue())}">'
        quality = f" <strong>{crops.psnr[label]:.2f} dB</strong>" if label in crops.psnr else ""
        figures.append(f"<figure>{image}<figcaption>{escape(label)}{quality}</figcaption></figure>")
    side_by_side = "\n".join(figures)
    return f'<h3>{escape(crops.name)}</h3>\n<div class="crops">\n{side_by_side}\n</div>'


MARKDOWN = Template("""\
# A compressed network

$verdict

$summary

$settings

## Widths

$widths

## Quality

$quality

$densities
Every layer, the courses of both trainings and pictures are in report.html.

## To make it again

$command
""")

BODY = Template("""\
<h1>A compressed network</h1>
<div class="summary">$verdict$summary</div>
$settings
<h2>Widths</h2>
$widths
<h2>Quality</h2>
$quality
$densities
<h2>Training</h2>
<div class="charts">
$loss_charts
</div>
<h2>Pictures</h2>
$crops
<h2>To make it again</h2>
<pre>$command</pre>
""")

DENSITIES = Template("""\
<h2>Densities</h2>
$densities
<div class="charts">
$density_charts
</div>
<details>
<summary>All $count layers</summary>
$layers
</details>
""")
