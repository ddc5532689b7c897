"""Timing: paces as people ask for them."""

from __future__ import annotations

from fractions import Fraction

import pytest

from tweenlet.interpolation.timing import EvenClock, Interval, OutputTiming, SteadyClock, exact_rate


def test_rates_are_read_as_people_write_them() -> None:
    assert exact_rate(60) == exact_rate("60") == exact_rate(Fraction(60)) == 60
    assert exact_rate(59.94) == exact_rate("60000/1001") == Fraction(60000, 1001)
    assert exact_rate("23.976") == Fraction(24000, 1001)
    assert exact_rate("0.0001") == Fraction(1, 10000)
    for wrong in ("fast", 0, -5, "1/0", "nan", "1e-9", "1e7", "1e400", "9" * 400):
        with pytest.raises(ValueError, match="expected a frame rate"):
            exact_rate(wrong)


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        ({"factor": 1}, "expected a factor of 2 or more, a whole number, got 1"),
        ({"factor": 2.5}, "expected a factor of 2 or more, a whole number, got 2.5"),
        ({"slow": 1}, "expected to slow down by a number above 1, such as 2 or 2.5, got 1"),
        ({"slow": "much"}, "expected to slow down by a number above 1"),
        ({"fps": "nan"}, "expected a frame rate"),
        ({"max_recursion": 9}, "expected a max_recursion from 1 to 8, got 9"),
        ({"factor": 2, "fps": 60}, "exclude each other"),
    ],
)
def test_what_cannot_be_is_refused_in_words(ask: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        OutputTiming(**ask)


def test_only_networks_that_know_the_middle_have_a_limit() -> None:
    timing = OutputTiming(factor=12)
    timing.check(Fraction(30), Fraction(1, 30), True, "clip")
    with pytest.raises(ValueError, match="max_recursion 3 gives 8 times as many frames at most, 12 times"):
        timing.check(Fraction(30), Fraction(1, 30), False, "clip")
    OutputTiming(factor=64).check(Fraction(30), Fraction(1, 30), False, "clip")  # a power of 2 has none
    OutputTiming(fps=60).check(
        Fraction(1, 2), Fraction(1, 30), False, "slides"
    )  # few, but quick where they move
    OutputTiming(fps=20).check(Fraction(30), Fraction(1, 30), True, "clip")
    with pytest.raises(ValueError, match="clip has 30 frames per second: expected at least as many to keep"):
        OutputTiming(fps=20, keep_frames=True).check(Fraction(30), Fraction(1, 30), True, "clip")


def test_clocks_fill_an_interval_and_a_hold() -> None:
    even = list(EvenClock(2).within(Interval(Fraction(1), Fraction(3), Fraction(1))))
    assert [(s.time, s.duration) for s in even] == [(1, 1), (2, 1)]
    held = list(EvenClock(2).within(Interval(Fraction(1), Fraction(9), Fraction(8))))
    assert [(s.time, s.duration) for s in held] == [(1, Fraction(15, 2)), (Fraction(17, 2), Fraction(1, 2))]
    clock = SteadyClock(Fraction(2))
    long = list(clock.within(Interval(Fraction(0), Fraction(100), Fraction(99))))
    assert [(s.time, s.duration) for s in long] == [
        (0, 99),
        (99, Fraction(1, 2)),
        (Fraction(199, 2), Fraction(1, 2)),
    ]
    assert [s.time for s in clock.last(Fraction(100), Fraction(1), Fraction(1))] == [100]
