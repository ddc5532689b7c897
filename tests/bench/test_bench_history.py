"""A release that is slower than the last beside its own plain modules is named."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bench_history", ROOT / "scripts/bench_history.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def line(**ratios: float) -> dict[str, Any]:
    return {"networks": {name: {"ratio": ratio} for name, ratio in ratios.items()}}


def test_a_tenth_is_a_regression(script: ModuleType) -> None:
    last = line(default=3.0, rife=2.0)
    assert script.regressions(last, line(default=2.71, rife=2.5)) == []
    assert script.regressions(last, line(default=2.69, rife=2.0)) == [
        "default: 2.69 times as fast as plain, 3.0 before"
    ]


def test_the_history_has_every_network_of_each_release(script: ModuleType) -> None:
    history = json.loads(script.HISTORY.read_text())
    assert history
    for entry in history:
        assert set(entry["networks"]) == set(script.NETWORKS)
        assert all(values["ratio"] > 1 for values in entry["networks"].values())
