"""Charts of a compression, as PNG bytes, legible in a paper and on a phone.

    densities ---> density_chart    a bar for every layer, coloured by part
    students ----> tradeoff_chart   parameters against PSNR
    log -----+---> density_course   a line for every part, over the steps
             +---> loss_curves      training loss and PSNR on held-out samples, over the steps

A log is a list of the parsed lines of log.jsonl. Colours are the colour-blind-safe palette of Okabe and Ito.
Matplotlib is used through its objects only: no window, no global state.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO
from itertools import cycle
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from tweenlet.compression.densities import Densities, widths_of
from tweenlet.compression.widths import PARTS
from tweenlet.evaluation.charts import PALETTE
from tweenlet.network.config import ModelConfig

Log = Sequence[Mapping[str, Any]]

INK, LOSS, QUALITY = "#222222", PALETTE[0], PALETTE[5]
WIDTH = 7.0
"""Width in inches: narrow, with large type, so that a phone can scale it down."""
LETTERS, SMALL_LETTERS = 13, 11.5
DOTS = 200
"""Dots per inch."""
GAP = 2.5
"""Gap between the bars of two parts, in bars."""
SMOOTH = 50
"""The running mean spans 1 / SMOOTH of the log to either side, but at least REACH lines."""
REACH = 2


def density_chart(densities: Densities, config: ModelConfig) -> bytes:
    """A bar per layer for its density, grouped by part, and a line for each part as a whole.

    ``config`` is that of the sparsified network: the legend names the widths of each part.
    """
    figure, axes = _figure(4.2)
    widths: dict[str, list[str]] = {}
    for name, width in widths_of(config).items():
        widths.setdefault(PARTS[name.split(".")[0]], []).append(str(width))
    start = 0.0
    for (part, mean), colour in zip(densities.parts.items(), cycle(PALETTE), strict=False):
        shares = [d.share for name, d in densities.layers.items() if name.split(".")[0] == part]
        places = start + np.arange(len(shares))
        label = f"{part} {' '.join(widths.get(part, []))}: {mean.share:.3f}"
        axes.bar(places, np.ones(len(shares)), width=1, color=colour, alpha=0.12)
        axes.bar(places, shares, width=0.8, color=colour, label=label)
        axes.hlines(mean.share, places[0] - 0.5, places[-1] + 0.5, color=INK, linewidth=2)
        start = places[-1] + GAP
    axes.plot([], [], color=INK, linewidth=2, label=f"a part as a whole; all: {densities.of().share:.3f}")
    axes.set(xlim=(-1.5, start - GAP + 1.5), ylim=(0, 1), xticks=[])
    _label(axes, f"{len(densities.layers)} layers, in the order of the network", "density (share not zero)")
    return _drawn(figure, columns=2)


def tradeoff_chart(points: Sequence[tuple[str, float, float]], teacher: float, blend: float) -> bytes:
    """Cost and quality of several students: a point for each (name, parameters, PSNR in dB).

    Lines show the PSNR of their ``teacher`` and of blending.
    """
    figure, axes = _figure(4.2)
    ordered = sorted(points, key=lambda point: point[1])
    axes.plot([p[1] / 1e6 for p in ordered], [p[2] for p in ordered], "o-", color=QUALITY, linewidth=2)
    for name, parameters, psnr in ordered:
        place = (parameters / 1e6, psnr)
        axes.annotate(name, place, (6, -14), textcoords="offset points", fontsize=SMALL_LETTERS)
    axes.axhline(teacher, color=INK, linestyle="--", label=f"teacher, {teacher:.2f} dB")
    axes.axhline(blend, color=INK, linestyle=":", label=f"blending, {blend:.2f} dB")
    _label(axes, "parameters (M)", "PSNR (dB)")
    return _drawn(figure, columns=2)


def density_course(log: Log) -> bytes:
    """Densities of the network and its parts over the steps; ValueError for a log without any."""
    if not any("density all" in entry for entry in log):
        raise ValueError("expected a log of sparsify, with lines of 'density all'; found none")
    figure, axes = _figure(3.9)
    names = dict.fromkeys(name for entry in log for name in entry if name.startswith("density "))
    parts = [name for name in names if name != "density all"]
    for name, colour in zip(parts, cycle(PALETTE), strict=False):
        steps, values = _course(log, name)
        label = f"{name.removeprefix('density ')}, in the end {values[-1]:.3f}"
        axes.plot(steps, values, _dot(steps), color=colour, linewidth=2, label=label)
    steps, values = _course(log, "density all")
    label = f"all, in the end {values[-1]:.3f}"
    axes.plot(steps, values, _dot(steps, "--"), color=INK, linewidth=2.5, label=label)
    axes.set(xlim=(0, None), ylim=(0, 1.02))
    _label(axes, "training step", "density (share not zero)")
    return _drawn(figure, columns=2)


def loss_curves(log: Log) -> bytes:
    """Training loss with its running mean, and the PSNR of validations and of blending, if any.

    ValueError for a log without a loss.
    """
    steps, losses = _course(log, "loss")
    if not len(steps):
        raise ValueError("expected a log of a training, with lines of 'loss'; found none")
    figure, axes = _figure(3.9)
    axes.plot(steps, losses, color=LOSS, alpha=0.5, linewidth=1, label="training loss")
    axes.plot(steps, _running_mean(losses), _dot(steps), color=LOSS, linewidth=2.5, label="its running mean")
    if losses.min() > 0 and losses.max() > 20 * losses.min():
        axes.set_yscale("log")
    axes.set_xlim(0, None)
    _label(axes, "training step", "training loss", colour=LOSS)
    if any(entry.get("psnr") is not None for entry in log):
        _psnr(axes, log)
    return _drawn(figure, columns=2)


def _psnr(axes: Axes, log: Log) -> None:
    """A second axis with the PSNR of validations, and of blending as a dashed line."""
    right = axes.twinx()
    right.plot(*_course(log, "psnr"), "o-", color=QUALITY, linewidth=1.5, markersize=5, label="PSNR")
    _, blend = _course(log, "blend_psnr")
    if len(blend):
        right.axhline(blend[-1], color=QUALITY, linewidth=1.5, linestyle="--", label="PSNR of blending")
    right.spines[["top", "left", "bottom"]].set_visible(False)
    right.tick_params(labelsize=SMALL_LETTERS, colors=QUALITY)
    right.set_ylabel("PSNR, held out (dB)", fontsize=LETTERS, color=QUALITY)


def _course(log: Log, name: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Steps and values, both (n,), of one entry of a log; empty if it never occurs."""
    told = [(entry["step"], entry[name]) for entry in log if entry.get(name) is not None]
    steps, values = np.array(told, np.float64).reshape(-1, 2).T
    return steps, values


def _dot(steps: NDArray[np.float64], style: str = "-") -> str:
    """Style of a line; a dot if it has one point only."""
    return "o" if len(steps) == 1 else style


def _running_mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n,) -> (n,), centred running mean with symmetric windows, which keeps slopes straight at the ends."""
    places = np.arange(len(values))
    reach = np.minimum(max(REACH, len(values) // SMOOTH), np.minimum(places, places[::-1]))
    total = np.concatenate(([0.0], np.cumsum(values)))
    mean: NDArray[np.float64] = (total[places + reach + 1] - total[places - reach]) / (2 * reach + 1)
    return mean


def _figure(height: float) -> tuple[Figure, Axes]:
    """An empty figure of a height in inches, with two spines and a faint grid."""
    figure = Figure(figsize=(WIDTH, height), dpi=DOTS, layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_axisbelow(True)
    axes.grid(axis="y", color="#dddddd", linewidth=0.8)
    axes.tick_params(labelsize=SMALL_LETTERS)
    return figure, axes


def _label(axes: Axes, x: str, y: str, colour: str = INK) -> None:
    axes.set_xlabel(x, fontsize=LETTERS)
    axes.set_ylabel(y, fontsize=LETTERS, color=colour)


def _drawn(figure: Figure, columns: int) -> bytes:
    """The figure as a PNG, with the legend of all its axes below."""
    figure.legend(loc="outside lower center", ncols=columns, fontsize=SMALL_LETTERS, frameon=False)
    png = BytesIO()
    figure.savefig(png, format="png")
    return png.getvalue()
