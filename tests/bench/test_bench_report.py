"""Reports: the shares of the ceilings and of the roofline, and races pair by pair."""

from __future__ import annotations

import json
from dataclasses import replace

from tweenlet.bench.clock import Seconds
from tweenlet.bench.report import Race, Report, Result
from tweenlet.bench.roofline import Ceilings
from tweenlet.bench.run import OTHER
from tweenlet.bench.targets import Target


def test_the_roofline_is_the_longer_of_two_times() -> None:
    result = Result(
        Target("mini"), 8, 8, 1, 1.0, Seconds((4.0,), (4.0,)), {"a": Seconds((2.0,), (2.0,))},
        {"a": 6 * 10**9, "all": 8 * 10**9}, {"a": 2 * 10**9, "all": 30 * 10**9},
    )  # fmt: skip
    ceilings = Ceilings(convolution=4, copy=10)
    assert (result.floor("a", ceilings), result.roofline_share("a", ceilings)) == (1.5, 0.75)  # by arithmetic
    assert (result.floor("all", ceilings), result.roofline_share("all", ceilings)) == (3, 0.75)  # by memory
    assert result.share("all", ceilings) == 0.5
    assert result.floor(OTHER, ceilings) is result.roofline_share(OTHER, ceilings) is None
    table = Report("here", "2", {"float32": ceilings}, (result,)).table()
    assert "0.25 frames/s" in table
    lines = [line.split() for line in table.splitlines()]
    assert ["a", "2000.0", "2000.0", "6.00", "G", "75%", "2.00", "GB", "1500.00", "75%"] in lines
    assert ["all", "4000.0", "4000.0", "8.00", "G", "50%", "30.00", "GB", "3000.00", "75%"] in lines
    assert "over 100 %" not in table
    fast = replace(result, whole=Seconds((1.0,), (1.0,)))  # beyond the roofline
    assert "over 100 %" in Report("here", "2", {"float32": ceilings}, (fast,)).table()


def test_taking_turns_is_told_pair_by_pair() -> None:
    first, second = Seconds((1, 2, 4), (2, 2, 2)), Seconds((2, 3, 4), (1, 2, 3))
    race = Race("here", "2", 8, 6, 1, ("a", "b"), {"a": first, "b": second})
    assert race.ratios("b") == ([2, 1.5, 1], [0.5, 1, 1.5])
    assert "8x6, 1 threads, medians of 3 in turn" in race.table()
    assert "  b    3000.0 ms    2000.0 CPU ms" in race.table()
    assert "wall 2.00 1.50 1.00   median 1.50 (1.00 to 2.00)" in race.table()
    assert json.loads(race.dumps())["ratios"]["b"]["wall"] == [2, 1.5, 1]
