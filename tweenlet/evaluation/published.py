"""Published: what others measured, each number with its source, to stand beside ours and never among them.

published.json holds one entry per method and benchmark:

    {"method": "ST-MFNet", "benchmark": "davis", "frames": 4, "values": {"psnr": 28.29}, "source": "..."}

``benchmark`` is a kind of :mod:`tweenlet.evaluation.benchmarks`, or a set that we have no kind for;
``frames`` tells how many frames the method was given, since results from two and from four are never mixed.
SSIM and LPIPS are those of the source's own code, so only PSNR is held against ours.
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
"""dB of PSNR within which a measured mean is that of the publication."""
_LABELS = {"psnr": "PSNR (dB)", "ssim": "SSIM", "lpips": "LPIPS"}


@dataclass(frozen=True)
class Published:
    """One method on one benchmark, as its source has it."""

    method: str
    benchmark: str
    frames: int
    values: Mapping[str, float]
    """"psnr" in dB, "ssim", "lpips"; as the source's own code computes them."""
    source: str
    parameters: int = 0

    def verdict(self, measured: float | None) -> str:
        """Whether a measured PSNR agrees, in a line of Markdown; None where it is not of the whole set."""
        line = f"{cell(self.method)}: published {self.values['psnr']:g} dB ({cell(self.source)})"
        if measured is None:
            return f"{line}: not to be compared with what was measured, which is not of the whole benchmark"
        gap = abs(measured - self.values["psnr"])
        agrees = gap <= AGREES + 1e-9
        verdict = f"agrees within {AGREES} dB" if agrees else f"DIFFERS by {gap:.2f} dB, more than {AGREES}"
        return f"{line}, measured {measured:.3f} dB: {verdict}"


def published_results(kind: str | None = None, two_frames: bool = False) -> tuple[Published, ...]:
    """All entries, or those of one kind of benchmark that were made from as many frames."""
    text = files("tweenlet.evaluation").joinpath("published.json").read_text(encoding="utf-8")
    entries: list[dict[str, Any]] = json.loads(text)
    all_entries = tuple(Published(**entry) for entry in entries)
    if kind is None:
        return all_entries
    return tuple(p for p in all_entries if p.benchmark == kind and p.frames == (2 if two_frames else 4))


def table(entries: Sequence[Published]) -> str:
    """The entries as a table in Markdown, marked as published; empty without any."""
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
