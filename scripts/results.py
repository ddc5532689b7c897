"""Write the tables of results into README and model cards, from the reports in docs/results.

    <!-- results clips9: summary origin -->
    ... made from docs/results/clips9.json, and made anew by this script ...
    <!-- end of results -->

    python scripts/results.py            writes them
    python scripts/results.py --check    exits with 1 where a file is stale; CI runs it

The reports are the report.json files that `tweenlet evaluate ... --out FOLDER` writes.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

from tweenlet.evaluation.report import Report

ROOT = Path(__file__).parent.parent
PAGES = ("README.md", "docs/benchmarks.md", "weights/default.md")
PARTS: dict[str, Callable[[Report], str]] = {
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

    def part(found: re.Match[str]) -> str:
        report = Report.from_json(json.loads((results / f"{found[2]}.json").read_text()))
        if unknown := [name for name in found[3].split() if name not in PARTS]:
            raise ValueError(f"expected parts of {', '.join(PARTS)}; got {', '.join(unknown)}")
        told = [PARTS[name](report) for name in found[3].split()]
        return found[1] + "\n" + "\n\n".join(told) + "\n\n" + found[5]

    return MARKED.sub(part, text)


def stale(root: Path = ROOT) -> dict[Path, str]:
    """The pages that are not what the results say, with what they should be."""
    pages = [root / page for page in PAGES]
    made = {page: filled(page.read_text(), root / "docs/results") for page in pages}
    return {page: text for page, text in made.items() if text != page.read_text()}


if __name__ == "__main__":
    for page, text in (found := stale()).items():
        if "--check" in sys.argv:
            print(
                f"{page.relative_to(ROOT)} is stale: python scripts/results.py writes it anew",
                file=sys.stderr,
            )
        else:
            page.write_text(text)
            print(page.relative_to(ROOT))
    sys.exit(bool(found) and "--check" in sys.argv)
