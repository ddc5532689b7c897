"""The docs site: its navigation names every page, and it is built without a warning."""

from __future__ import annotations

import importlib.util
import logging
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
GENERATED = {"docs/commands.md", "docs/api.md", "docs/ops.md"}


@pytest.fixture
def docs():
    spec = importlib.util.spec_from_file_location("docs", ROOT / "scripts/docs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_log_lists_its_sections() -> None:
    folder = ROOT / "docs/log"
    for page in sorted(folder.glob("[a-z]*.md")):
        sections = re.findall(r"^## (.*)$", page.read_text(), re.MULTILINE)
        _, listed = (folder / "README.md").read_text().split(f"({page.name})")
        assert re.findall(r"^    - (.*)$", listed.split("\n- ")[0], re.MULTILINE) == sections


def test_every_page_has_a_place_in_the_navigation(docs) -> None:
    navigation = (ROOT / "mkdocs.yml").read_text().partition("\nnav:\n")[2]
    named = re.findall(r"(?:- |: )([\w/.-]+\.md)$", navigation, re.M)
    pages = {str(page.relative_to(ROOT)) for pattern in docs.PAGES for page in ROOT.glob(pattern)}
    assert sorted(named) == sorted(pages | GENERATED)


@pytest.mark.slow
def test_the_folder_has_the_pages_what_they_link_to_and_what_is_generated(docs, tmp_path: Path) -> None:
    docs.stage(tmp_path)
    assert (tmp_path / "docs/demo.webp").exists()
    assert (tmp_path / "runs/compress.sh").exists()
    assert "tweenlet interpolate" in (tmp_path / "docs/commands.md").read_text()
    assert "::: tweenlet.Interpolator" in (tmp_path / "docs/api.md").read_text()


@pytest.mark.long
@pytest.mark.optional
@pytest.mark.filterwarnings("default")  # mkdocs' own
def test_the_site_is_built_without_a_warning(docs, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("mkdocs", reason="the extra docs is not installed")
    docs.build(tmp_path / "site")
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    page = (tmp_path / "site/docs/api/index.html").read_text()
    assert "interpolate_video" in page
    assert not re.search(r'(?:src|href)="https?://(?:fonts|unpkg|cdn)', page)
