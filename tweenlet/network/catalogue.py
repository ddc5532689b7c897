"""Catalogue: a checkpoint's size, cost, scores and origin, for people who choose one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tweenlet.network.checkpoint import load
from tweenlet.network.cost import cost
from tweenlet.network.weight_files import find, read_metadata

SIZE = (854, 480)
TITLES = ("model", "parameters", "MB", "GMAC at 480p", "PSNR (dB)", "s / frame", "license")


@dataclass(frozen=True)
class Entry:
    """One checkpoint; fields missing from its metadata are empty."""

    name: str
    parameters: int
    size: int
    """Size of the file, in bytes."""
    multiply_adds: int
    """Multiply-adds per new frame of 854x480."""
    notes: Mapping[str, str]
    scores: Mapping[str, Any]

    def row(self) -> tuple[str, ...]:
        """The cells under TITLES, as text."""
        psnr, seconds = (self.scores.get(key) for key in ("psnr", "seconds"))
        return (
            self.name,
            f"{self.parameters:,}",
            f"{self.size / 1e6:.1f}",
            f"{self.multiply_adds / 1e9:.1f}",
            "-" if psnr is None else f"{psnr:.2f}",
            "-" if seconds is None else f"{seconds:.3f}",
            self.notes.get("license", "-"),
        )

    def lines(self) -> list[str]:
        """Notes below the table: origin, teacher, and the benchmark of the scores."""
        notes = [
            f"{self.name}: {key}: {self.notes[key]}" for key in ("origin", "teacher") if key in self.notes
        ]
        measured = [str(self.scores[key]) for key in ("benchmark", "machine", "date") if key in self.scores]
        return [*notes, f"measured: {', '.join(measured)}"] if measured else notes


def describe(name_or_path: str) -> Entry:
    """Describe a checkpoint; errors are those of :func:`~tweenlet.network.checkpoint.load`."""
    path, model = find(name_or_path), load(name_or_path)
    costs = cost(model.config, SIZE[1], SIZE[0])
    metadata = read_metadata(path)
    scores = json.loads(metadata.get("scores", "{}"))
    return Entry(name_or_path, costs.parameters, path.stat().st_size, costs.multiply_adds, metadata, scores)
