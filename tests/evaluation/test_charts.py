from __future__ import annotations

import re
from itertools import combinations

import pytest

from tweenlet.evaluation.charts import ASIDE, LEFT, WIDTH, Point, bars, course, scatter, series


def circles(svg: str) -> dict[str, tuple[float, float]]:
    """The place of every point, by what it says of itself."""
    found = re.findall(r'<title>([^:]*):.*?</title><circle cx="([\d.]+)" cy="([\d.]+)"', svg)
    return {name: (float(x), float(y)) for name, x, y in found}


def test_better_is_up_and_ten_times_is_always_as_far():
    points = [Point("a", 1.0, 20.0), Point("b", 10.0, 30.0), Point("c", 100.0, 25.0)]
    at = circles(scatter(points, "ms", "PSNR"))
    assert at["b"][1] < at["c"][1] < at["a"][1]
    assert at["b"][0] - at["a"][0] == pytest.approx(at["c"][0] - at["b"][0], abs=0.2)
    upside_down = circles(scatter(points, "ms", "FLIP", higher=False))
    assert upside_down["b"][1] > upside_down["c"][1] > upside_down["a"][1]


def test_points_without_a_place_stand_aside():
    points = [Point("net", 595_024.0, 29.3), Point("blend", None, 23.6), Point("large", 21e6, 29.5)]
    svg = scatter(points, "parameters", "PSNR")
    at = circles(svg)
    assert LEFT < at["blend"][0] < LEFT + ASIDE < at["net"][0] < at["large"][0] < WIDTH
    assert ">none</text>" in svg
    assert "595k</title>" in svg
    assert ">none</text>" not in scatter([points[0], points[2]], "parameters", "PSNR")


def test_a_chart_needs_a_place():
    with pytest.raises(ValueError, match=r"expected points with a positive x, got \[\]"):
        scatter([Point("blend", None, 23.6)], "parameters", "PSNR")
    with pytest.raises(ValueError, match=r"got \[0.0\]"):
        scatter([Point("blend", 0.0, 23.6)], "ms", "PSNR")


def test_one_point_and_equal_points_can_be_drawn():
    for points in ([Point("a", 5.0, 30.0)], [Point("a", 5.0, 0.0), Point("b", 5.0, 0.0)]):
        for x, y in circles(scatter(points, "ms", "PSNR")).values():
            assert LEFT < x < WIDTH
            assert 0 < y < 310


def test_names_do_not_cover_each_other():
    """Four methods on nearly the same spot, as networks of one family are."""
    points = [*(Point(f"network {n}", 100.0 + n, 30 + n / 100) for n in range(4)), Point("blend", 1.0, 23.0)]
    labels = re.findall(
        r'<text class="name" x="([\d.]+)" y="([\d.]+)" text-anchor="(\w+)"', scatter(points, "ms", "PSNR")
    )
    assert len(labels) == 5
    for (x0, y0, anchor0), (x1, y1, anchor1) in combinations(labels, 2):
        apart = abs(float(y0) - float(y1)) > 12 or (anchor0 != anchor1 and abs(float(x0) - float(x1)) > 15)
        assert apart, (x0, y0, x1, y1)


def test_names_are_escaped_and_long_ones_cut():
    svg = scatter([Point("<b>&" + "x" * 40, 5.0, 30.0)], "ms", "PSNR")
    assert "<b>" not in svg
    assert re.search(r">&lt;b&gt;&amp;x+…</text>", svg)
    assert "<b>" not in course({"<b>": [1.0, 2.0]}, "samples", "PSNR")
    assert "<b>" not in bars({"<b>": {"<b>": 1.0}}, 2)[0]


def test_bars_begin_at_a_round_value_below_all_or_at_nothing():
    html, start = bars({"calm": {"a": 35.0, "b": 30.0}, "wild": {"a": 25.0, "b": 24.0}}, 2)
    assert start == 20
    shares = [float(share) for share in re.findall(r"--share: ([\d.]+)", html)]
    assert shares == pytest.approx([1, 10 / 15, 5 / 15, 4 / 15], abs=1e-4)
    assert '<figcaption title="wild">wild</figcaption>' in html
    assert '<span class="value">24.00</span>' in html
    assert bars({"x": {"a": 0.02, "b": 0.2}}, 4)[1] == 0
    assert bars({"x": {"a": 30.0}}, 2)[1] < 30


def test_many_groups_unfold():
    groups = {f"clip {n}": {"a": 20.0 + n} for n in range(14)}
    seen, _, folded = bars(groups, 2)[0].partition("<details><summary>2 more</summary>")
    assert seen.count("<figcaption") == 12
    assert folded.count("<figcaption") == 2


def test_a_course_has_a_line_for_every_method_the_first_above_all():
    svg = course({"ours": [30.0, 20.0, 30.0], "blend": [20.0, 20.0, 20.0]}, "samples", "PSNR")
    lines = re.findall(r'<polyline class="(s\d)" points="([^"]*)"', svg)
    assert [kind for kind, _ in lines] == ["s1", "s0"]
    (x0, y0), (x1, y1), (x2, y2) = (map(float, place.split(",")) for place in lines[1][1].split())
    assert x0 < x1 < x2
    assert y0 == y2 < y1  # the dip is below
    assert svg.count("<li>") == 2


def test_colours_that_come_again_are_marked():
    assert [series(n) for n in (0, 5, 6)] == ["s0", "s5", "s0 again"]
