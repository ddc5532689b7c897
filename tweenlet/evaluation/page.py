"""Page of an evaluation: one HTML file with tables, charts and the samples on which methods fail.

    Report --------> summary table, charts (charts.py), Markdown tables -----+
                                                                             +-> document (document.py)
    SampleImages --> WebP pictures and error maps, as JSON --> viewer.html --+
                                                               page.js

The viewer overlays two pictures of one sample, divided by a line that can be dragged.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from io import BytesIO
from typing import Any

import numpy as np
from matplotlib import colormaps
from numpy.typing import NDArray
from PIL import Image

from tweenlet.evaluation import charts, published, statistics
from tweenlet.evaluation.catalogue import METRICS
from tweenlet.evaluation.charts import Point, series
from tweenlet.evaluation.document import asset, document, embedded, markdown_html, table, template
from tweenlet.evaluation.report import Report

Pixels = NDArray[np.uint8]
Errors = NDArray[np.float32]

LARGEST = (1280, 720)
"""Longer and shorter side of a picture on the page, in pixels; larger ones are cropped."""
QUALITY, ROUGH = 90, 80
"""WebP quality of compared pictures; and of error maps and the frames before and after."""
FULL_ERROR = 64
"""Mean error of the three channels, of 255, at which a map is brightest."""
FOCUS = 6
"""The initial zoom is to the worst window of 1 / FOCUS of the width and height."""
MAIN = 3
"""Number of metrics to show on a narrow screen."""
_SURE = "Confidence intervals"
_HEAT: Pixels = (colormaps["inferno"](np.arange(256))[:, :3] * 255).round().astype(np.uint8)


@dataclass(frozen=True)
class SampleImages:
    """One sample: inputs, truth and every method's output; ValueError for pictures of different sizes."""

    name: str
    note: str
    """A line about it, such as its time in a clip; may be empty."""
    before: Pixels
    """RGB (3, h, w), like all the others."""
    after: Pixels
    truth: Pixels
    outputs: Mapping[str, Pixels]
    """Outputs by method; the initial zoom follows the first one's errors."""
    values: Mapping[str, Mapping[str, float]]
    """Metrics by method."""

    def __post_init__(self) -> None:
        """ValueError for pictures of different sizes."""
        if not self.outputs:
            raise ValueError(f"expected pictures of {self.name} that a method made, got none")
        pictures = {"truth": self.truth, "before": self.before, "after": self.after, **self.outputs}
        size = self.truth.shape[1:]
        for label, picture in pictures.items():
            if picture.dtype != np.uint8 or picture.shape != (3, *size) or not picture.size:
                wanted = f"expected uint8 (3, {', '.join(map(str, size))})"
                raise ValueError(f"{wanted} for {label} of {self.name}, got {picture.dtype} {picture.shape}")


def page(
    report: Report,
    shown: Sequence[SampleImages],
    *,
    title: str,
    verdict: str = "",
    extra_tables: Sequence[tuple[str, str]] = (),
) -> str:
    """Build the page. ``verdict`` is Markdown; ``extra_tables`` maps headings to Markdown.

    Rows whose name ends in "(published)" are set apart from measurements.
    """
    units = statistics.unit_name(report.values(report.metrics[0], report.names[0]))
    sure = f"Bootstrap over {units}; the p value is that of a paired sign-flip test.\n\n{report.certainty()}"
    tables = [*extra_tables, (_SURE, sure)]
    if report.published:
        markdown = "\n\n".join((published.table(report.published), *report.agreement()))
        tables.insert(0, ("Published, measured by others", markdown))
    parts = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="protocol"><strong>{escape(report.benchmark)}</strong>: {escape(report.protocol)}</p>',
        f'<div class="verdict">{markdown_html(verdict)}</div>' if verdict else "",
        _summary(report),
        _scatters(report),
        _viewer(report, shown) if shown else "",
        _sequences(report),
        *(_section(heading, markdown_html(text)) for heading, text in tables),
        _list("Skipped", [escape(f"{name}: {why}") for name, why in report.skipped]),
        _list("Clips", [_linked(source) for source in report.sources]),
        f"<footer>{escape(report.notes)}<br>\n{escape(report.origin)}</footer>",
    ]
    return document(title, "\n".join(filter(None, parts)), asset("page.js") if shown else "")


def _summary(report: Report) -> str:
    """Means of every method; the best of each column is marked, and those not significantly worse."""
    columns = {METRICS[metric].label: _quality_column(report, metric) for metric in report.metrics}
    main = [*columns][:MAIN]
    for label, time in {"ms / frame": "seconds", "CPU ms / frame": "cpu_seconds"}.items():
        values = [1000 * report.mean(time, name) for name in report.names]
        columns[label] = _cost_column(values, lambda ms: f"{ms:,.0f}" if ms >= 10 else f"{ms:.1f}")
    sizes = [entrant.parameters or None for entrant in report.entrants]
    columns["parameters"] = _cost_column(sizes, lambda count: f"{count:,.0f}")
    kinds = ["number" if label in [*main, "ms / frame"] else "number minor" for label in columns]
    rows = []
    for number, (entrant, *cells) in enumerate(zip(report.entrants, *columns.values(), strict=True)):
        text = escape(entrant.description)
        description = f'<span class="description" title="{text}">{text}</span>' if text else ""
        name = f'<span class="key {series(number)}"></span>{escape(entrant.name)}{description}'
        numbers = (f'<td class="{kind}">{cell}</td>' for kind, cell in zip(kinds, cells, strict=True))
        rows.append(f'<tr><th scope="row" class="text">{name}</th>{"".join(numbers)}</tr>')
    heads = "".join(
        f'<th class="{kind}">{escape(label)}</th>' for kind, label in zip(kinds, columns, strict=True)
    )
    legend = "<mark>Marked</mark>: the best of its column."
    if any("≈" in cell for column in columns.values() for cell in column):
        legend += " ≈: so near to the best that the difference may be chance."
    if any("minor" in kind for kind in kinds):
        legend += '<span class="narrow"> There are more columns on a wider screen.</span>'
    inner = f'{table(f"<tr><th>method</th>{heads}</tr>", rows)}\n<p class="legend">{legend}</p>'
    return f'<div class="means">{inner}</div>'


def _quality_column(report: Report, metric: str) -> list[str]:
    means = {name: report.mean(metric, name) for name in report.names}
    best = max(means, key=lambda name: METRICS[metric].goodness(means[name]))
    others = [name for name in means if name != best]
    level = {name for name in others if not report.difference(metric, best, name).sure}
    texts = {name: f"{mean:.{METRICS[metric].digits}f}" for name, mean in means.items()}
    return [
        _cell(text, text == texts[best] and len(means) > 1, name in level) for name, text in texts.items()
    ]


def _cost_column(values: Sequence[float | None], text: Callable[[float], str]) -> list[str]:
    """A column in which the smallest value is the best."""
    numbers = [value for value in values if value is not None]
    best = text(min(numbers)) if len(numbers) > 1 else ""
    texts = ["–" if value is None else text(value) for value in values]
    return [_cell(written, written == best) for written in texts]


def _cell(text: str, best: bool, level: bool = False) -> str:
    if best:
        return f"<mark>{text}</mark>"
    near = '<span class="near" title="the difference from the best may be chance">≈</span> ' if level else ""
    return f"{near}{text}"


def _scatters(report: Report) -> str:
    """Quality against time, and against parameters if a method has any."""
    metric = _main_metric(report)
    higher = METRICS[metric].sign > 0
    label = f"{METRICS[metric].label}, {METRICS[metric].better} is better"
    places: dict[str, list[float | None]] = {
        "milliseconds per frame; left is faster": [
            max(1000 * report.mean("seconds", name), 1e-3) for name in report.names
        ],
        "parameters; left is smaller": [float(entrant.parameters) or None for entrant in report.entrants],
    }
    means = [report.mean(metric, name) for name in report.names]
    plots = []
    for across, costs in places.items():
        points = [Point(name, x, y) for name, x, y in zip(report.names, costs, means, strict=True)]
        if any(point.x for point in points):
            plots.append(f"<figure>{charts.scatter(points, across, label, higher=higher)}</figure>")
    return f'<div class="charts">{"".join(plots)}</div>'


def _sequences(report: Report) -> str:
    """The first metric per sequence, hardest first; or its course along a single sequence."""
    first = report.metrics[0]
    metric, higher = METRICS[first], METRICS[first].sign > 0
    if report.sequences_tell:
        ours = report.names[0]
        groups = {
            sequence: {name: report.mean(first, name, sequence) for name in report.names}
            for sequence in report.sequences
        }
        hardest = sorted(groups, key=lambda sequence: groups[sequence][ours], reverse=not higher)
        bars, start = charts.bars({sequence: groups[sequence] for sequence in hardest}, metric.digits)
        caption = f"{metric.label}, the hardest for {ours} first. Bars begin at {start:g}."
        return f"<h2>Sequence by sequence</h2>\n<p>{escape(caption)}</p>\n{bars}"
    if len(report.sequences) == 1 and report.count > 1:
        lines = {name: report.values(first, name)[0] for name in report.names}
        bars = charts.course(lines, "samples, in the order of time", metric.label, higher=higher)
        return f'<h2>Along the clip</h2>\n<figure class="course">{bars}</figure>'
    return ""


def _list(heading: str, lines: Sequence[str]) -> str:
    """Lines of HTML below a heading; empty if there are none."""
    rows = "".join(f"<li>{line}</li>" for line in lines)
    return f"<h2>{heading}</h2>\n<ul>{rows}</ul>" if rows else ""


def _section(heading: str, inner: str) -> str:
    kind = ' class="sure"' if heading == _SURE else ""
    return f"<section{kind}>\n<h2>{escape(heading)}</h2>\n{inner}\n</section>"


def _linked(source: str) -> str:
    """Attribution of a clip, with its trailing URL as a link."""
    text, _, url = source.rpartition(", ")
    name, colon, rest = text.partition(": ")
    if not url.startswith(("https://", "http://")) or not colon:
        return escape(source)
    return f'<a href="{escape(url)}" rel="noreferrer">{escape(name)}</a>: {escape(rest)}'


def _main_metric(report: Report) -> str:
    return "psnr" if "psnr" in report.metrics else report.metrics[0]


def _viewer(report: Report, images: Sequence[SampleImages]) -> str:
    metric = _main_metric(report)
    samples = json.dumps([_sample(one, metric) for one in images])
    for sign in "<>&":  # anything that could end the script element
        samples = samples.replace(sign, f"\\u{ord(sign):04x}")
    return template("viewer.html").substitute(
        samples=samples,
        metric=escape(METRICS[metric].label.partition(" (")[0]),
        colours=", ".join("#{:02x}{:02x}{:02x}".format(*_HEAT[place]) for place in range(0, 256, 51)),
        full=FULL_ERROR,
        quality=QUALITY,
    )


def _sample(images: SampleImages, metric: str) -> dict[str, Any]:
    """Data of a sample for page.js: texts, size, initial zoom, and the pictures in order."""
    first = next(iter(images.outputs))
    error = _error(images.outputs[first], images.truth)
    height, width = error.shape
    limits = sorted(LARGEST, reverse=height > width)
    rows, columns = _worst(error, min(height, limits[0]), min(width, limits[1]))
    visible = error[rows, columns]
    notes = [images.note] if images.note else []
    if visible.size < error.size:
        sizes = f"{visible.shape[1]}x{visible.shape[0]} of {width}x{height} pixels"
        notes.append(f"cut to {sizes}, around the largest error of {first}")

    def picture(key: str, label: str, pixels: Pixels, quality: int, value: str = "") -> dict[str, str]:
        visible = pixels[:, rows, columns].transpose(1, 2, 0)
        return {"key": key, "label": label, "value": value, "source": _webp(visible, quality)}

    pictures = [
        picture("before", "frame before", images.before, ROUGH),
        picture("truth", "truth", images.truth, QUALITY),
        picture("after", "frame after", images.after, ROUGH),
    ]
    for name, output in images.outputs.items():
        value = _value(metric, images.values.get(name, {}))
        heat = _webp(_heat(_error(output, images.truth)[rows, columns]), ROUGH)
        pictures.append(picture(f"made {name}", name, output, QUALITY, value))
        pictures.append({"key": f"error {name}", "label": f"error of {name}", "value": "", "source": heat})
    inner_rows, inner_columns = _worst(visible, *(max(1, side // FOCUS) for side in visible.shape))
    return {
        "name": images.name,
        "note": "; ".join(notes),
        "width": visible.shape[1],
        "height": visible.shape[0],
        "focus": [(side.start + side.stop) / 2 for side in (inner_columns, inner_rows)],
        "first": f"made {first}",
        "pictures": pictures,
    }


def _value(metric: str, values: Mapping[str, float]) -> str:
    """A value with its unit, such as 25.30 dB; empty if unknown."""
    if metric not in values:
        return ""
    _, _, unit = METRICS[metric].label.removesuffix(")").partition(" (")
    return f"{values[metric]:.{METRICS[metric].digits}f} {unit}".rstrip()


def _error(output: Pixels, truth: Pixels) -> Errors:
    """Mean absolute error of the three channels, (h, w), 0 to 255."""
    error: Errors = np.abs(output.astype(np.float32) - truth).mean(0)
    return error


def _worst(error: Errors, height: int, width: int) -> tuple[slice, slice]:
    """Rows and columns of the window of a given size with the largest sum of errors."""
    sums = np.pad(error.astype(np.float64).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    bands = sums[height:] - sums[:-height]
    totals = bands[:, width:] - bands[:, :-width]
    top, left = (int(place) for place in np.unravel_index(totals.argmax(), totals.shape))
    return slice(top, top + height), slice(left, left + width)


def _heat(error: Errors) -> Pixels:
    """Errors as colours, (h / 2, w / 2, 3), at half the size to save bytes."""
    height, width = error.shape
    halves = Image.fromarray(error).resize(((width + 1) // 2, (height + 1) // 2), Image.Resampling.BOX)
    levels = (np.asarray(halves) * (255 / FULL_ERROR)).round().clip(0, 255).astype(np.uint8)
    heat: Pixels = _HEAT[levels]
    return heat


def _webp(pixels: Pixels, quality: int) -> str:
    content = BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(content, "WEBP", quality=quality)
    return embedded(content.getvalue(), "webp")
