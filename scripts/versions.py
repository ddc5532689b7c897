"""Hold the version equal where it stands: pyproject.toml, CITATION.cff, and the top of CHANGELOG.md.

python scripts/versions.py [--root FOLDER]               exit with 1 where they differ
python scripts/versions.py [--root FOLDER] --set 0.2.0   write it, with a section of the changelog
"""

from __future__ import annotations

import argparse
import re
import sys
from datetime import UTC, datetime
from pathlib import Path

PLACES = {
    "pyproject.toml": re.compile(r'(?m)^version = "([^"]+)"$'),
    "CITATION.cff": re.compile(r"(?m)^version: (\S+)$"),
}
RELEASED = re.compile(r"(?m)^## \[(\d[^\]]*)\] - (\d{4}-\d\d-\d\d)$")
UNRELEASED = "## [Unreleased]\n"


def versions(root: Path) -> dict[str, str]:
    """By file: the version there. ValueError for a file that states none."""
    versions = {}
    for name, pattern in PLACES.items():
        match = pattern.search((root / name).read_text())
        if match is None:
            raise ValueError(f"{name} states no version")
        versions[name] = match[1]
    released = RELEASED.search((root / "CHANGELOG.md").read_text())
    if released:
        versions["CHANGELOG.md"] = released[1]
    return versions


def set_version(root: Path, version: str) -> None:
    """Write a version, and a section of the changelog for it. ValueError if nothing is unreleased."""
    changelog = root / "CHANGELOG.md"
    text = changelog.read_text()
    begin, _, rest = text.partition(UNRELEASED)
    news = RELEASED.split(rest)[0].strip()
    if not news:
        raise ValueError("CHANGELOG.md has nothing under Unreleased")
    today = datetime.now(UTC).date().isoformat()
    changelog.write_text(f"{begin}{UNRELEASED}\n## [{version}] - {today}\n{rest}")
    for name, pattern in PLACES.items():
        path = root / name
        content = path.read_text()
        path.write_text(pattern.sub(lambda match: match[0].replace(match[1], version), content, count=1))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path(__file__).resolve().parent.parent)
    parser.add_argument("--set", metavar="VERSION")
    asked = parser.parse_args()
    try:
        if asked.set:
            set_version(asked.root, asked.set)
        found = versions(asked.root)
    except ValueError as error:
        sys.exit(str(error))
    if len(set(found.values())) > 1:
        sys.exit("versions differ: " + ", ".join(f"{name} {version}" for name, version in found.items()))
    print(*set(found.values()))
