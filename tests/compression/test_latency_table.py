"""Milliseconds as a function: the same question gets the same answer, on this machine or by a command."""

from __future__ import annotations

import sys

import pytest

from tweenlet.compression import latency_table
from tweenlet.compression.budget import Budget
from tweenlet.compression.densities import widths_of, with_widths
from tweenlet.compression.latency_table import LatencyTable
from tweenlet.network.config import STMFNET, TINY
from tweenlet.network.cost import cost


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache, and a clock that is another each time: this machine under load."""
    monkeypatch.setattr(latency_table, "cache_folder", lambda _: tmp_path)
    calls = []

    def noisy_runs(model, height, width, runs, clock):
        calls.append(model.config)
        slow = 1 + 0.3 * len(calls)
        size = sum(p.numel() for p in model.parameters()) / 1e3
        return {name: [slow * size] * runs for name in (*cost(model.config, height, width).parts, "all")}

    monkeypatch.setattr(latency_table, "latency_runs", noisy_runs)
    return calls


@pytest.mark.long
def test_the_same_question_gets_the_same_answer(cache):
    widths = widths_of(TINY)
    narrower = with_widths(TINY, {**widths, "kernel_hidden": widths["kernel_hidden"] - 2})
    tables = [LatencyTable(TINY, 64, 64) for _ in range(2)]
    one, two = (table.estimate(narrower) for table in tables)
    assert one == two
    assert 0 < one < tables[0].estimate(TINY) == pytest.approx(tables[0].measure(TINY).milliseconds)
    assert len(cache) == 2
    assert tables[0].measure(narrower) == tables[1].measure(narrower)
    assert len(cache) == 3
    assert "ms" in str(tables[0].measure(narrower))


@pytest.mark.slow
def test_what_is_measured_over_the_limit_is_made_again_smaller_and_a_tie_is_kept(cache, monkeypatch):
    budget = Budget.parse("ms", "50%@64x64").of(TINY)
    aims: list[float] = []

    def attempt(aim: Budget):
        aims.append(aim.limit)
        return TINY

    costs = iter((1.25, 1.02, 1.5))
    timing = latency_table.Timing({"all": 0.0}, (1.0,))
    monkeypatch.setattr(
        LatencyTable, "measure",
        lambda *_: latency_table.Timing({"all": next(costs) * budget.limit}, timing.runs),
    )  # fmt: skip
    heard: list[str] = []
    budget.meet(attempt, lambda config: config, heard.append)
    assert aims == pytest.approx([budget.limit, budget.limit / 1.25])
    assert len(heard) == 2
    assert budget.outcome(TINY).startswith("NOT met: ")  # 1.5 times the limit
    parameters = Budget.parse("params", "1M").of(STMFNET)
    assert parameters.outcome(TINY).startswith("met with ")
    assert parameters.outcome(STMFNET).startswith("NOT met: 21,0")


@pytest.mark.long
@pytest.mark.optional
def test_a_command_measures_on_another_device(cache, tmp_path):
    script = tmp_path / "device.py"
    script.write_text("import os, sys; print('on the phone:', os.path.getsize(sys.argv[1]) / 1000, 'ms')")
    command = f"{sys.executable} {script} {{onnx}}"
    pytest.importorskip("onnxscript")
    table = LatencyTable(TINY, 64, 64, command=command)
    dense = table.measure(TINY).milliseconds
    assert dense > 10
    assert table.estimate(TINY) == pytest.approx(dense)
    for bad, message in (
        ("no placeholder", r"expected \{onnx\}"), (f"{sys.executable} -c 1/0 {{onnx}}", "ZeroDivision"),
        (f"{sys.executable} -c 0 {{onnx}}", "nothing printed"), ("/nowhere/at/all {onnx}", "cannot be run"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            LatencyTable(TINY, 64, 64, command=bad)
