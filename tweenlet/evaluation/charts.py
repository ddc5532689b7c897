"""Charts of an evaluation, as SVG and HTML that follow the page's width, type and light or dark theme.

    points ----------------> scatter   quality against time or size, names beside the points
    values by sequence ----> bars      a group for every sequence, a bar for every method
    values along a clip ---> course    a line for every method

The first, second, ... method has the class s0, s1, ... in all charts; page.css sets the colours, the palette
of Okabe and Ito, lighter on a dark page. Names are escaped.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape

PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
"""Colour-blind-safe palette (Okabe and Ito), also in page.css."""
WIDTH, HEIGHT = 480, 310
"""Unscaled size of a chart, in pixels: narrow, so that text stays legible on a phone."""
LEFT, RIGHT, TOP, BOTTOM = 52, WIDTH - 14, 14, HEIGHT - 48
"""Edges of the plot area."""
ASIDE = 74
"""Width of the strip for points without an x value."""
LETTER, LINE, DOT = 8, 17, 6
"""Approximate width of a letter, height of a line, radius of a point."""
LONGEST = 24
"""Longest label of a point, in letters."""
FIRST = 12
"""Groups of bars to show at once; the others unfold."""


@dataclass(frozen=True)
class Point:
    """One method in a scatter chart."""

    name: str
    x: float | None
    """Positive x value; None for a method without one, which is shown aside."""
    y: float


@dataclass(frozen=True)
class _Box:
    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: _Box) -> bool:
        across = self.left < other.right and other.left < self.right
        return across and self.top < other.bottom and other.top < self.bottom


def series(number: int) -> str:
    """CSS classes of a method by number: its colour, and whether another method shares it."""
    return f"s{number % len(PALETTE)}{' again' if number >= len(PALETTE) else ''}"


def scatter(points: Sequence[Point], across: str, up: str, *, higher: bool = True) -> str:
    """Scatter chart over a logarithmic axis; ``across`` and ``up`` name the axes.

    Better is up, even if lower values are better (not ``higher``). Points without an x value are in a strip
    of their own. ValueError if no point has one, or one is not positive.
    """
    placed = [point.x for point in points if point.x is not None]
    if not placed or min(placed) <= 0:
        raise ValueError(f"expected points with a positive x, got {placed}")
    left = LEFT + ASIDE if len(placed) < len(points) else LEFT
    low, high = _padded([math.log10(x) for x in placed], 0.6)
    ends = _ends([point.y for point in points], higher)

    def place(point: Point) -> tuple[float, float]:
        y = _between(point.y, *ends, BOTTOM, TOP)
        if point.x is None:
            return LEFT + ASIDE / 2, y
        return _between(math.log10(point.x), low, high, left, RIGHT), y

    marks = [*_rules(*ends), _text((left + RIGHT) / 2, HEIGHT - 6, across, "middle")]
    for tick in _decades(low, high):
        x = _between(math.log10(tick), low, high, left, RIGHT)
        marks += [_line("axis", x, BOTTOM, x, BOTTOM + 5), _text(x, BOTTOM + 20, _short(tick), "middle")]
    if left > LEFT:
        marks += [
            _line("aside", left, TOP, left, BOTTOM),
            _text(LEFT + ASIDE / 2, BOTTOM + 20, "none", "middle"),
        ]
    places = [place(point) for point in points]
    for number, (point, (x, y)) in enumerate(zip(points, places, strict=True)):
        told = f"{point.name}: {point.y:.4g}" + (f", {_short(point.x)}" if point.x else "")
        circle = f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{DOT}"/>'
        marks.append(f'<g class="{series(number)}"><title>{escape(told)}</title>{circle}</g>')
    return _svg(across, up, [*marks, *_names(points, places)])


def course(lines: Mapping[str, Sequence[float]], across: str, up: str, *, higher: bool = True) -> str:
    """A line per method over the samples, with the names below."""
    ends = _ends([value for line in lines.values() for value in line], higher)
    last = max(len(line) for line in lines.values()) - 1
    marks, keys = [], []
    for number, (name, line) in enumerate(lines.items()):
        places = (
            f"{_between(step, 0, last, LEFT, RIGHT):.1f},{_between(value, *ends, BOTTOM, TOP):.1f}"
            for step, value in enumerate(line)
        )
        title = f"<title>{escape(name)}</title>"
        marks.append(f'<polyline class="{series(number)}" points="{" ".join(places)}">{title}</polyline>')
        keys.append(f'<li><span class="key {series(number)}"></span>{escape(name)}</li>')
    frame = [*_rules(*ends), _text((LEFT + RIGHT) / 2, BOTTOM + 22, across, "middle")]
    above_all = marks[::-1]  # the first method is drawn last
    return f'{_svg(across, up, [*frame, *above_all])}\n<ul class="keys">{"".join(keys)}</ul>'


def bars(groups: Mapping[str, Mapping[str, float]], digits: int) -> tuple[str, float]:
    """A group of bars per sequence, a bar per method; and the value at which bars begin.

    Bars begin at 0 or, if all values are far from it, at a round number below them, to show differences;
    values are printed next to the bars.
    """
    values = [value for group in groups.values() for value in group.values()]
    low, high = min(values), max(values)
    step = _step(high - low or 1)
    start = 0.0 if low < (high - low) / 2 else math.floor((low - step / 2) / step) * step
    blocks = []
    for name, group in groups.items():
        rows = []
        for number, (method, value) in enumerate(group.items()):
            bar = f'<span class="bar" style="--share: {_between(value, start, high, 0, 1):.4f}"></span>'
            who = f'<span class="who">{escape(method)}</span>'
            told = f'<span class="value">{value:.{digits}f}</span>'
            rows.append(f'<li class="{series(number)}">{who}<span class="track">{bar}</span>{told}</li>')
        caption = f'<figcaption title="{escape(name)}">{escape(name)}</figcaption>'
        blocks.append(f'<figure class="group">{caption}<ul>{"".join(rows)}</ul></figure>')
    first, others = (
        f'<div class="groups">{"".join(part)}</div>' for part in (blocks[:FIRST], blocks[FIRST:])
    )
    if len(blocks) > FIRST:
        first += f"\n<details><summary>{len(blocks) - FIRST} more</summary>\n{others}</details>"
    return first, start


def _names(points: Sequence[Point], places: Sequence[tuple[float, float]]) -> list[str]:
    """Labels, each on the side of its point where it overlaps least."""
    occupied = [_Box(x - DOT, y - DOT, x + DOT, y + DOT) for x, y in places]
    names = []
    for point, (x, y) in zip(points, places, strict=True):
        name = point.name if len(point.name) <= LONGEST else point.name[: LONGEST - 1] + "…"
        sides = list(_sides(x, y, LETTER * len(name)))
        inside = [
            (anchor, box)
            for anchor, box in sides
            if box.left >= 0 and box.right <= WIDTH and box.top >= 0 and box.bottom <= BOTTOM
        ]
        anchor, box = min(inside or sides, key=lambda side: sum(side[1].meets(other) for other in occupied))
        occupied.append(box)
        if not box.top - DOT - LINE / 2 < y < box.bottom + DOT + LINE / 2:  # far away: a leader line
            names.append(_line("rule", x, y, x, box.top if box.top > y else box.bottom))
        edge = {"start": box.left, "middle": (box.left + box.right) / 2, "end": box.right}[anchor]
        names.append(_text(edge, box.bottom - 5, name, anchor, "name"))
    return names


def _sides(x: float, y: float, width: float) -> Iterator[tuple[str, _Box]]:
    """Candidate positions of a label: right, left, above, below, and further above and below."""
    gap, half = DOT + 5, LINE / 2
    yield "start", _Box(x + gap, y - half, x + gap + width, y + half)
    yield "end", _Box(x - gap - width, y - half, x - gap, y + half)
    for away in (gap + half + LINE * lines for lines in range(4)):
        for middle in (y - away, y + away):
            yield "middle", _Box(x - width / 2, middle - half, x + width / 2, middle + half)
            yield "start", _Box(x - DOT, middle - half, x - DOT + width, middle + half)
            yield "end", _Box(x + DOT - width, middle - half, x + DOT, middle + half)


def _rules(bottom: float, top: float) -> Iterator[str]:
    """Grid lines at round values, with labels, and the x axis."""
    low, high = sorted((bottom, top))
    step = _step(high - low)
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    for number in range(math.ceil(low / step), math.floor(high / step) + 1):
        y = _between(number * step, bottom, top, BOTTOM, TOP)
        yield _line("rule", LEFT, y, RIGHT, y)
        yield _text(LEFT - 8, y + 4.5, f"{number * step:.{digits}f}", "end")
    yield _line("axis", LEFT, BOTTOM, RIGHT, BOTTOM)


def _decades(low: float, high: float) -> list[float]:
    """Round numbers in a range: 1, 10, 100 over many decades, else 1, 2, 5, 10."""
    leading = (1, 2, 5) if high - low < 2 else (1,)
    powers = range(math.floor(low), math.ceil(high) + 1)
    found = [first * 10.0**power for power in powers for first in leading]
    return [tick for tick in found if low <= math.log10(tick) <= high]


def _svg(across: str, up: str, marks: Sequence[str]) -> str:
    label = escape(f"{up}, against {across}")
    opening = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">'
    return "\n".join([f'<p class="up">{escape(up)}</p>', opening, *marks, "</svg>"])


def _line(kind: str, x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _text(x: float, y: float, text: str, anchor: str, kind: str = "tick") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _ends(values: Sequence[float], higher: bool) -> tuple[float, float]:
    """Values at the bottom and top of a chart."""
    low, high = _padded(values, 1e-3)
    return (low, high) if higher else (high, low)


def _padded(values: Sequence[float], least: float) -> tuple[float, float]:
    """Ends of an axis: values with padding, at least ``least`` apart."""
    low, high = min(values), max(values)
    room = max(0.14 * (high - low), least / 2, 1e-3 * abs(high))
    return low - room, high + room


def _between(value: float, start: float, end: float, first: float, last: float) -> float:
    """Map a value from [start, end] to [first, last]."""
    return first + (value - start) / (end - start or 1) * (last - first)


def _step(span: float) -> float:
    """Tick step: 1, 2 or 5 times a power of ten, two to five of which fit into a span."""
    power: float = 10.0 ** math.floor(math.log10(span / 5))
    return next(power * first for first in (1, 2, 5, 10) if power * first >= span / 5 * 0.999)


def _short(value: float) -> str:
    """0.5, 20, 1,500, 595k, 21M."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= max(size, 1e4):
            return f"{value / size:.3g}{letter}"
    return f"{value:,.3g}" if value < 1000 else f"{value:,.0f}"
