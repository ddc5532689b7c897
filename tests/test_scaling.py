"""scripts/scaling.py, in small: it measures, prints a table, plots, and finds the power of a law."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux alone tells how much memory was held")
SCRIPT = Path(__file__).parents[1] / "scripts" / "scaling.py"


@pytest.fixture
def scaling(monkeypatch: pytest.MonkeyPatch):
    spec = importlib.util.spec_from_file_location("scaling", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.long
def test_it_measures_and_draws(scaling, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setitem(scaling.SWEEPS, "length", ("frames made", [(64, 64, n, 2) for n in (2, 3)]))
    monkeypatch.setattr(sys, "argv", ["scaling.py", str(tmp_path), "--runs", "1", "--only", "length"])
    scaling.main()
    kept = json.loads((tmp_path / "scaling.json").read_text())
    assert [point["made"] for point in kept["sweeps"]["length"]] == [1, 2]
    assert all(point["cpu"] > 0 and 50 < point["peak_mb"] < 5000 for point in kept["sweeps"]["length"])
    assert (tmp_path / "scaling.png").read_bytes()[:4] == b"\x89PNG"
    said = capsys.readouterr().out
    assert "| 64x64 | 3 | 2 | 2 |" in said
    assert "length: CPU time grows with power" in said


def test_what_a_farm_takes_is_reckoned_from_what_was_measured(scaling) -> None:
    measured = {
        "sweeps": {"pixels": [{"width": 1920, "height": 1080, "made": 2, "cpu": 2.0}]},
        "farm": {"walk": 0.01, "segment": 0.0},
    }
    rows = [row.split(" | ") for row in scaling.reckon(measured, price=1)]
    assert [row[0] for row in rows] == ["1", "10", "100", "1,000"]
    assert [row[1] for row in rows] == ["24.0", "2.4", "0.2", "0.2"]  # hours: the walk takes 0.24
    assert [row[5] for row in rows] == ["24.00", "24.00", "24.00", "240.00"]


def test_the_table_of_a_farm_is_what_the_command_prints(scaling) -> None:
    docs = SCRIPT.parents[1] / "docs"
    rows = scaling.reckon(json.loads((docs / "scaling.json").read_text()))
    page = (docs / "scaling.md").read_text()
    assert all(f"\n| {row} |\n" in page for row in rows)


def test_the_slope_is_the_power(scaling) -> None:
    points = [{"grows": n, "cpu": 3 * n**1.5, "peak_mb": 200.0} for n in (1, 10, 100, 1000)]
    assert scaling.slope(points, "cpu") == pytest.approx(1.5)
    assert scaling.slope(points, "peak_mb") == pytest.approx(0, abs=1e-9)
