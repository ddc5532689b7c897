"""Write the tables of results into README, docs, model cards and bundled weights, from docs/results.

    <!-- results clips9: summary origin -->
    ... made from docs/results/clips9.json, and made anew by this script ...
    <!-- end of results -->

    python scripts/results.py            writes them
    python scripts/results.py --check    exits with 1 where a file is stale; CI runs it

The metadata of bundled weights that the report scored, known by their digest, gets the scores, which
`tweenlet models` shows. The reports are the report.json files of `tweenlet evaluate ... --out FOLDER`;
reliability.json is what scripts/fuzz.py and scripts/kill_test.py write with --record.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import mean
from typing import Any

from tweenlet.compression.budget import UNITS
from tweenlet.compression.tradeoff import tradeoff_table
from tweenlet.evaluation.report import Report
from tweenlet.network import checkpoint, weight_files
from tweenlet.runtime.tables import table

ROOT = Path(__file__).parent.parent
SCORED = "clips9"
"""The report whose scores go into the weights."""
PAGES = (
    "README.md",
    "docs/benchmarks.md",
    "docs/compression.md",
    "docs/reliability.md",
    "weights/default.md",
)
REPORT_PARTS: dict[str, Callable[[Report], str]] = {
    "summary": Report.summary,
    "certainty": Report.certainty,
    "psnr_certainty": lambda report: report.certainty(["psnr"]),
    "per_sequence": Report.per_sequence,
    "notes": lambda report: report.notes,
    "origin": lambda report: report.origin,
}
MARKED = re.compile(r"(<!-- results ([\w-]+): ([\w ]+) -->\n)(.*?)(<!-- end of results -->)", re.S)


def filled(text: str, results: Path) -> str:
    """The text with every marked part made anew; ValueError for a part that there is not."""

    def part(match: re.Match[str]) -> str:
        content = json.loads((results / f"{match[2]}.json").read_text())
        names = match[3].split()
        known = (*REPORT_PARTS, *TABLES)
        if unknown := [name for name in names if name not in known]:
            raise ValueError(f"expected parts of {', '.join(known)}; got {', '.join(unknown)}")
        if names[0] in TABLES:
            parts = [TABLES[name](content) for name in names]
        else:
            report = Report.from_json(content)
            parts = [REPORT_PARTS[name](report) for name in names]
        return match[1] + "\n" + "\n\n".join(parts) + "\n\n" + match[5]

    return MARKED.sub(part, text)


def _list_runs(runs: list[dict[str, str]]) -> str:
    rows = [(f"`{run['command']}`", run["result"], f"{run['date']}, {run['machine']}") for run in runs]
    return table(("Command", "Result", "When and where"), rows, names=3)


def _list_pruning(values: dict[str, Any]) -> str:
    """What runs/pruning.py compared: means over seeds, and the PSNR of each."""
    budgets = {
        kind: f"{share:.0%} of the {UNITS[kind]}" for kind, share in values["settings"]["shares"].items()
    }
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for row in values["rows"]:
        teacher = "the teacher" if row["taught"] else "the truth"
        groups.setdefault((row["network"], budgets[row["budget"]], row["method"], teacher), []).append(row)
    head = [
        "network",
        "budget",
        "pruned by",
        "learns from",
        "parameters",
        "multiply-adds (G)",
        "as pruned (dB)",
    ]
    head += ["then trained (dB), by seed", "feature distance", "detail kept"]
    lines = []
    for names, rows in groups.items():
        psnr = [row["psnr"] for row in rows]
        seeds = f" ({', '.join(f'{value:.2f}' for value in psnr)})" if len(rows) > 1 else ""
        cells = [*names, f"{mean(row['parameters'] for row in rows):,.0f}"]
        cells += [f"{mean(row['multiply_adds'] for row in rows) / 1e9:.2f}"]
        cells += [f"{mean(row['pruned']['psnr'] for row in rows):.2f}", f"{mean(psnr):.2f}{seeds}"]
        cells += [
            f"{mean(row['features'] for row in rows):.3f}",
            f"{mean(row['detail'] for row in rows):.2f}",
        ]
        lines.append(cells)
    for network, whole in {row["network"]: row["teacher"] for row in values["rows"]}.items():
        scores = (f"{whole['psnr']:.2f}", f"{whole['features']:.3f}", f"{whole['detail']:.2f}")
        lines.append([network, "", "nothing", "", "", "", "", *scores])
    of, seeds = values["settings"], len({row["seed"] for row in values["rows"]})
    note = (
        f"{of['steps']} steps in all, {of['first']} of them in the stage that prunes where there is one, "
        f"in batches of {of['batch']} crops of {of['crop']}x{of['crop']}; scored on {of['scored']} held-out "
        f"crops; seeds: {seeds}. {values['date']}, {values['machine']}."
    )
    return f"{table(head, lines, names=4)}\n\n{note}"


TABLES: dict[str, Callable[[Any], str]] = {
    "runs": _list_runs,
    "pruning": _list_pruning,
    "tradeoff": tradeoff_table,
}
"""Parts that are not of a report of `tweenlet evaluate`."""


def stale(root: Path = ROOT) -> dict[Path, str]:
    """The pages that are not what the results say, with what they should be."""
    pages = [root / page for page in PAGES]
    made = {page: filled(page.read_text(), root / "docs/results") for page in pages}
    return {page: text for page, text in made.items() if text != page.read_text()}


def scores(root: Path = ROOT) -> dict[Path, str]:
    """The bundled weights whose metadata has other scores than the report, with those it should have."""
    report = json.loads((root / "docs/results" / f"{SCORED}.json").read_text())
    names = {entrant["digest"]: entrant["name"] for entrant in report["entrants"]}
    scores = {}
    for path in sorted((root / "weights").glob("*.safetensors")):
        name = names.get(checkpoint.digest_of_tensors(checkpoint.load(path)))
        about = {key: report[key] for key in ("benchmark", "machine", "date")}
        text = json.dumps(about | report["means"][name], sort_keys=True) if name else ""
        if text != weight_files.read_metadata(path).get("scores", ""):
            scores[path] = text
    return scores


if __name__ == "__main__":
    rescored = scores()
    for path, text in rescored.items():
        if "--check" in sys.argv:
            print(f"{path.name} has stale scores: python scripts/results.py writes them", file=sys.stderr)
        else:
            checkpoint.write_metadata(path, {"scores": text})
            print(path.relative_to(ROOT))
    for page, text in (found := stale()).items():
        if "--check" in sys.argv:
            print(
                f"{page.relative_to(ROOT)} is stale: python scripts/results.py writes it anew",
                file=sys.stderr,
            )
        else:
            page.write_text(text)
            print(page.relative_to(ROOT))
    sys.exit(bool(found or rescored) and "--check" in sys.argv)
