"""Published: other people's results with their sources, shown beside ours and never mixed with them.

published.json holds one entry per method and benchmark:

    {"method": "ST-MFNet", "benchmark": "davis", "frames": 4, "values": {"psnr": 28.29}, "source": "..."}

``benchmark`` is a kind of :mod:`tweenlet.evaluation.benchmarks`, or another set; ``frames`` is the number of
input frames, since results from two and from four are never mixed. SSIM and LPIPS are by the source's own
code, so only PSNR is compared with ours.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from tweenlet.runtime import tables
from tweenlet.runtime.tables import cell

AGREES = 0.05
"""Largest difference of PSNR, in dB, at which a measured mean agrees with the publication."""
_LABELS = {"psnr": "PSNR (dB)", "ssim": "SSIM", "lpips": "LPIPS"}


@dataclass(frozen=True)
class Published:
    """One method on one benchmark, from its source."""

    method: str
    benchmark: str
    frames: int
    values: Mapping[str, float]
    """"psnr" in dB, "ssim", "lpips", by the source's own code."""
    source: str
    parameters: int = 0

    def verdict(self, measured: float | None) -> str:
        """Whether a measured PSNR agrees, in a line of Markdown; None if it is not of the whole set."""
        line = f"{cell(self.method)}: published {self.values['psnr']:g} dB ({cell(self.source)})"
        if measured is None:
            return f"{line}: not to be compared with what was measured, which is not of the whole benchmark"
        gap = abs(measured - self.values["psnr"])
        agrees = gap <= AGREES + 1e-9
        verdict = f"agrees within {AGREES} dB" if agrees else f"DIFFERS by {gap:.2f} dB, more than {AGREES}"
        return f"{line}, measured {measured:.3f} dB: {verdict}"


def published_results(kind: str | None = None, two_frames: bool = False) -> tuple[Published, ...]:
    """All entries, or those of one kind of benchmark and number of input frames."""
    text = files("tweenlet.evaluation").joinpath("published.json").read_text(encoding="utf-8")
    entries: list[dict[str, Any]] = json.loads(text)
    all_entries = tuple(Published(**entry) for entry in entries)
    if kind is None:
        return all_entries
    return tuple(p for p in all_entries if p.benchmark == kind and p.frames == (2 if two_frames else 4))


def table(entries: Sequence[Published]) -> str:
    """The entries as a table in Markdown, marked as published; empty if there are none."""
    if not entries:
        return ""
    kinds = [kind for kind in _LABELS if any(kind in entry.values for entry in entries)]
    rows = [
        (
            f"{cell(entry.method)} (published)",
            *(f"{entry.values[kind]:g}" if kind in entry.values else "-" for kind in kinds),
            f"{entry.parameters:,}" if entry.parameters else "-",
            cell(entry.source),
        )
        for entry in entries
    ]
    return tables.table(("method", *(_LABELS[kind] for kind in kinds), "parameters", "source"), rows)
