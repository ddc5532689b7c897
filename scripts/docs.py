"""Build the docs site: the pages of this repository, the commands, and the Python interface.

README, CONTRIBUTING, docs/, weights/ ------+
what they link to --------------------------+--> a folder laid out like the repository --> mkdocs --> site/
commands (cyclopts), names (mkdocstrings) --+

python scripts/docs.py [OUT]        needs the extra docs; nothing is fetched from elsewhere
"""

from __future__ import annotations

import logging
import re
import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import tweenlet
from tweenlet.cli import app

ROOT = Path(__file__).resolve().parent.parent
PAGES = ("*.md", "docs/**/*.md", "examples/*.md", "weights/*.md", "tweenlet/assets/README.md")
OPS = ("adacof", "correlation", "resample", "splat", "warp", "dispatch")
"""Modules of `tweenlet.ops` that have a place on the page of ops."""


def links(page: Path) -> list[Path]:
    """The files that a page of Markdown links to, pictures included."""
    found = re.findall(r"\]\(([^)\s#]+)[^)]*\)", page.read_text())
    files = [(page.parent / link).resolve() for link in found if not re.match(r"\w+:", link)]
    return [file for file in files if file.is_file()]


def stage(folder: Path) -> None:
    """Lay out all pages and what they link to in a folder, as they lie in the repository."""
    pages = [page for pattern in PAGES for page in ROOT.glob(pattern)]
    for path in {*pages, *(link for page in pages for link in links(page))}:
        place = folder / path.relative_to(ROOT)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, place)
    docs = folder / "docs"
    commands = app.generate_docs(output_format="markdown")
    (docs / "commands.md").write_text(commands.replace("# tweenlet\n", "# Commands\n", 1))
    (docs / "api.md").write_text(
        "# Python\n\n" + "\n".join(f"::: tweenlet.{name}\n" for name in tweenlet.__all__)
    )
    (docs / "ops.md").write_text("# Ops\n\n" + "\n".join(f"::: tweenlet.ops.{name}\n" for name in OPS))


def build(out: Path) -> None:
    """Write the site into a folder. SystemExit where a page or a link leads nowhere, which is logged."""
    from mkdocs.commands.build import build as build_site
    from mkdocs.config import load_config

    with TemporaryDirectory() as folder:
        stage(Path(folder))
        config = load_config(
            str(ROOT / "mkdocs.yml"), docs_dir=folder, site_dir=str(out.resolve()), strict=True
        )
        config.plugins.on_startup(command="build", dirty=False)
        build_site(config)


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    build(Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "site"))
