"""Trade-off: cost and quality of the students of several budgets, next to the teacher and blending.

{budget: Compressed} --write_tradeoff--> tradeoff.md, tradeoff.json, tradeoff.png
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tweenlet.compression import charts
from tweenlet.compression.report import Compressed
from tweenlet.evaluation.catalogue import METRICS
from tweenlet.evaluation.document import write_files
from tweenlet.runtime.tables import table


def write_tradeoff(reports: Mapping[str, Compressed], folder: Path) -> None:
    """Write a comparison of students of several budgets: tradeoff.md, .json and .png, each atomically.

    OSError, with the file's name, if writing fails.
    """
    values = _tradeoff(reports)
    teacher, *students, blend = values["rows"]
    points = [(row["name"], float(row["parameters"]), row["scores"]["psnr"]) for row in students]
    files = {
        "tradeoff.md": tradeoff_table(values).encode(errors="replace"),
        "tradeoff.json": (json.dumps(values, indent=1) + "\n").encode(),
        "tradeoff.png": charts.tradeoff_chart(points, teacher["scores"]["psnr"], blend["scores"]["psnr"]),
    }
    write_files(folder, files)


def _tradeoff(reports: Mapping[str, Compressed]) -> dict[str, Any]:
    """Costs and scores of the teacher, the student of each budget and blending, as plain JSON types."""
    first = next(iter(reports.values()))

    def row(
        name: str, report: Compressed, method: str, side: int | None, verdict: str = ""
    ) -> dict[str, Any]:
        scores = {metric: report.quality.mean(metric, method) for metric in report.quality.metrics}
        whole = report.compaction.rows[-1]
        costs: dict[str, Any] = {}
        if side is not None:
            costs = {"parameters": whole.parameters[side], "multiply_adds": whole.multiply_adds[side]}
            costs["ms"] = whole.milliseconds[side] if whole.milliseconds else None
        return {"name": name, "verdict": verdict, **costs, "scores": scores}

    students = [row(name, report, "student", 1, report.verdict()) for name, report in reports.items()]
    return {
        "benchmark": f"{first.quality.benchmark}: {first.quality.protocol}",
        "size": [first.compaction.width, first.compaction.height],
        "origin": first.quality.origin,
        "rows": [row("teacher", first, "teacher", 0), *students, row("blend", first, "blend", None)],
    }


def tradeoff_table(values: Mapping[str, Any]) -> str:
    """The contents of a tradeoff.json as a table in Markdown."""

    def cells(row: Mapping[str, Any]) -> list[str]:
        costs = ["-"] * 3
        if "parameters" in row:
            costs = [f"{row['parameters']:,}", f"{row['multiply_adds'] / 1e9:.2f}"]
            costs.append("-" if row["ms"] is None else f"{row['ms']:,.0f}")
        scores = [f"{score:.{METRICS[metric].digits}f}" for metric, score in row["scores"].items()]
        return [row["name"], row["verdict"].strip("*"), *costs, *scores]

    labels = [METRICS[metric].label for metric in values["rows"][0]["scores"]]
    head = ["budget", "verdict", "parameters", "multiply-adds (G)", "ms", *labels]
    width, height = values["size"]
    notes = f"{values['benchmark']}. Costs are those of a new frame of {width}x{height}. {values['origin']}"
    return f"{table(head, [cells(row) for row in values['rows']], 2)}\n\n{notes}\n"
