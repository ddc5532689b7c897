"""The timeline: which frame is shown when, by networks that make the middle and by those that take a time."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from tweenlet.interpolation.interpolator import Interpolator
from tweenlet.interpolation.keyframes import SourceFrame
from tweenlet.interpolation.timeline import OutputFrame, Timeline
from tweenlet.interpolation.timing import OutputTiming

NTSC = Fraction(24000, 1001)


class Halfway(nn.Module):
    """Makes the middle: of frames that say when they are shown, one that says so too."""

    def __init__(self) -> None:
        super().__init__()
        self.times: list[float] = []

    def forward(self, frames: Tensor) -> Tensor:
        self.times.append(0.5)
        return frames[:, 1:3].mean(1)


class AnyTime(Halfway):
    """Makes the frame at any time."""

    takes_time = True

    def forward(self, frames: Tensor, *, time: float | Tensor) -> Tensor:
        assert 0 < time < 1
        self.times.append(float(time))
        return frames[:, 1].lerp(frames[:, 2], float(time))


def picture(value: float) -> Tensor:
    """A picture that says a number in [0, 1], and moves with it, so that none is a repeat."""
    ramp = (torch.arange(32.0) / 32 + value).expand(3, 24, 32) % 1
    return torch.cat([torch.full((3, 8, 32), value), ramp], 1).contiguous()


def stream(times: Sequence[Fraction | int], values: Sequence[float], last: Fraction | int = 1):
    ends = [*times[1:], times[-1] + last]
    return [
        SourceFrame(i, picture(value), Fraction(a), Fraction(b - a))
        for i, (a, b, value) in enumerate(zip(times, ends, values, strict=True))
    ]


def steady(n: int, rate: Fraction | int) -> list[SourceFrame[int]]:
    """Frames at a constant rate that say where in the clip they are."""
    return stream([i / Fraction(rate) for i in range(n)], [i / n for i in range(n)], 1 / Fraction(rate))


def run(source, model: nn.Module, rate: Fraction | int = 1, **options) -> list[OutputFrame[int]]:
    timing = OutputTiming(
        **{k: options.pop(k) for k in ("factor", "fps", "slow", "max_recursion") if k in options}
    )
    shown = list(Timeline(source, Interpolator(model), timing, Fraction(rate), cuts=False, **options))
    assert all(output.picture.shape == (3, 32, 32) for output in shown)
    return shown


def value(shown: OutputFrame[int]) -> float:
    return float(shown.picture[0, 0, 0])


@pytest.mark.parametrize(
    ("source", "target", "pattern"),
    [
        (24, 60, [0, 0.4, 0.8, 0.2, 0.6]),
        (16, 24, [0, 2 / 3, 1 / 3]),
        (25, 60, [5 * k / 12 % 1 for k in range(12)]),
    ],
)
def test_a_network_that_takes_a_time_runs_once_for_each_new_frame_at_its_exact_time(
    source: int, target: int, pattern: list[float]
) -> None:
    model = AnyTime()
    shown = run(steady(source + 1, source), model, source, fps=target)
    assert [s.time for s in shown] == [Fraction(i, target) for i in range(target + 1)]
    assert {s.duration for s in shown} == {Fraction(1, target)}
    kept = [s.source.original for s in shown if s.source is not None]
    assert kept == [i for i in range(source + 1) if (i * target) % source == 0]
    assert len(model.times) == len(shown) - len(kept)
    expected = [t for i in range(target) if (t := pattern[i % len(pattern)]) > 1e-9]
    assert model.times == pytest.approx(expected)
    for frame in shown:
        assert value(frame) == pytest.approx(float(frame.time) * source / (source + 1), abs=1e-4)


@pytest.mark.parametrize("factor", [2, 3, 5, 8])
def test_any_factor_is_made_exactly_by_a_network_that_takes_a_time(factor: int) -> None:
    model = AnyTime()
    shown = run(steady(6, 10), model, 10, factor=factor)
    assert len(shown) == 5 * factor + 1
    assert [s.source.original for s in shown[::factor]] == list(range(6))
    assert model.times == pytest.approx([k / factor for _ in range(5) for k in range(1, factor)])


@pytest.mark.parametrize("model", [AnyTime, Halfway])
def test_slow_motion_takes_any_number_above_one(model: type[nn.Module]) -> None:
    shown = run(steady(11, 10), model(), 10, slow=2.5)
    assert [s.time for s in shown] == [Fraction(i, 10) for i in range(26)]
    assert {s.duration for s in shown} == {Fraction(1, 10)}
    for frame in shown:
        assert value(frame) == pytest.approx(float(frame.time) / 2.5 * 10 / 11, abs=1 / 16 / 11 + 1e-4)


def test_a_network_that_makes_the_middle_rounds_to_its_depth_and_repeats_nothing_made() -> None:
    shown = run(steady(25, 24), Halfway(), 24, fps=60)
    parts = [float(s.time * 24 % 1) for s in shown if s.source is None]
    made = [value(s) * 25 % 1 for s in shown if s.source is None]
    assert max(abs(a - b) for a, b in zip(parts, made, strict=True)) <= 1 / 16 + 1e-4
    assert len({round(value(s), 6) for s in shown}) == len(shown)
    thirds = run(steady(4, 3), Halfway(), 3, factor=3)
    assert [round(value(s) * 4, 3) for s in thirds] == [0, 0.375, 0.625, 1, 1.375, 1.625, 2, 2.375, 2.625, 3]


def test_a_factor_divides_uneven_gaps_evenly_and_a_last_frame_that_stands_keeps_its_time() -> None:
    shown = run(stream([0, 2, 3], [0.1, 0.4, 0.7], last=9), Halfway(), factor=4)
    assert [float(s.time) for s in shown] == [0, 0.5, 1, 1.5, 2, 2.25, 2.5, 2.75, 3]
    assert all(a.time + a.duration == b.time for a, b in pairwise(shown))
    assert sum(s.duration for s in shown) == 12


@pytest.mark.parametrize("n", [2, 3, 29, 58, 86, 114])
@pytest.mark.parametrize("rate", [24, NTSC, 25, Fraction(30000, 1001)])
def test_a_rate_is_constant_shows_no_frame_twice_and_ends_with_the_last(rate: Fraction, n: int) -> None:
    shown = run(steady(n, rate), Halfway(), rate, fps=60, repeats="ignore")
    assert len({round(value(s), 6) for s in shown}) == len(shown)
    assert shown[-1].source.original == n - 1
    assert {s.duration for s in shown} == {Fraction(1, 60)}
    assert abs(shown[-1].time + shown[-1].duration - n / Fraction(rate)) <= Fraction(1, 24)


def test_a_whole_multiple_of_the_rate_is_the_same_as_a_factor() -> None:
    doubled, timed = (run(steady(9, 30), Halfway(), 30, **ask) for ask in ({"factor": 2}, {"fps": 60}))
    for a, b in zip(doubled, timed, strict=True):
        assert (a.time, a.duration, value(a)) == (b.time, b.duration, value(b))
    assert {s.duration for s in doubled} == {Fraction(1, 60)}


def test_times_that_a_container_rounds_to_milliseconds_are_met() -> None:
    times = [Fraction(round(1000 * i / 24), 1000) for i in range(25)]
    model = AnyTime()
    shown = run(stream(times, [i / 25 for i in range(25)], last=Fraction(42, 1000)), model, 24, fps=60)
    assert [s.source.original for s in shown if s.source is not None] == list(range(0, 25, 2))
    assert len(model.times) == len(shown) - 13


@pytest.mark.parametrize("fps", [None, 60])
def test_a_hold_stands_and_what_follows_moves_in_a_usual_interval(fps: int | None) -> None:
    """A screen recorder stores a picture when something changes: at 30 per second, and after 2 seconds."""
    times = [*(Fraction(i, 30) for i in range(4)), *(Fraction(63 + i, 30) for i in range(4))]
    ask = {"factor": 2} if fps is None else {"fps": fps}
    source = stream(times, [i / 8 for i in range(8)], last=Fraction(1, 30))
    shown = run(source, AnyTime(), 4, **ask)
    held = [s for s in shown if times[3] <= s.time <= times[4] - Fraction(1, 30)]
    moved = [s for s in shown if times[4] - Fraction(1, 30) < s.time < times[4]]
    assert {s.source.original for s in held} == {3}
    assert [round(value(s) * 8, 3) for s in moved] == [3.5]
    assert all(a.time + a.duration == b.time for a, b in pairwise(shown))
    assert len(held) == (1 if fps is None else 119)


def test_slides_without_a_steady_rate_are_held() -> None:
    times, values = [0, 2, Fraction(13, 2), Fraction(17, 2)], [0.1, 0.4, 0.6, 0.9]
    shown = run(stream(times, values, last=3), AnyTime(), Fraction(1, 2), factor=2)
    for start, end in pairwise(times):
        assert len([s for s in shown if start <= s.time < end - Fraction(1, 5)]) == 1
    assert shown[-1].duration == 3


def test_a_gap_in_the_time_stamps_is_not_filled_without_bound() -> None:
    times = [*(Fraction(i, 30) for i in range(3)), *(36000 + Fraction(i, 30) for i in range(3))]
    source = stream(times, [0.1, 0.3, 0.5, 0.7, 0.9, 0.95], last=Fraction(1, 30))
    shown = run(source, Halfway(), 30, fps=60)
    assert len(shown) < 20
    assert all(a.time + a.duration == b.time for a, b in pairwise(shown))
    assert shown[-1].time == times[-1]


def on(count: int, drawings: int) -> list[SourceFrame[int]]:
    """Drawings that stand ``count`` frames each, at 24 per second."""
    n = count * drawings
    values = [(i // count) / drawings for i in range(n)]
    return stream([Fraction(i, 24) for i in range(n)], values, Fraction(1, 24))


@pytest.mark.parametrize("count", [2, 3])
def test_repeats_are_kept_as_they_are_or_moved_through(count: int) -> None:
    drawings = 6
    held = run(on(count, drawings), AnyTime(), 24, factor=2)
    smooth = run(on(count, drawings), AnyTime(), 24, factor=2, repeats="smooth")
    assert [s.time for s in held] == [s.time for s in smooth]
    last = count * 2 * (drawings - 1)
    expected = [i // 2 // count + (0.5 if i % (2 * count) == 2 * count - 1 else 0) for i in range(last)]
    assert [value(s) * drawings for s in held[:last]] == pytest.approx(expected, abs=1e-4)
    through = [i / (2 * count) for i in range(last)]
    assert [value(s) * drawings for s in smooth[:last]] == pytest.approx(through, abs=1e-4)


def test_the_middle_is_made_exactly_through_drawings_on_twos() -> None:
    shown = run(on(2, 6), Halfway(), 24, factor=2, repeats="smooth")
    assert [value(s) * 6 for s in shown[:20]] == pytest.approx([i / 4 for i in range(20)], abs=1e-4)


def test_a_long_run_of_repeats_is_held_though_repeats_are_smoothed() -> None:
    values = [0.0, 0.2, *[0.4] * 9, 0.6, 0.8]
    source = stream([Fraction(i, 24) for i in range(13)], values, Fraction(1, 24))
    shown = run(source, AnyTime(), 24, factor=2, repeats="smooth")
    expected = [0, 0.1, 0.2, 0.3, *[0.4] * 17, 0.5, 0.6, 0.7, 0.8]
    assert [value(s) for s in shown] == pytest.approx(expected, abs=1e-3)


def test_how_long_a_run_is_moved_through_can_be_chosen() -> None:
    values = [0.0, 0.2, *[0.4] * 9, 0.6, 0.8]
    source = stream([Fraction(i, 24) for i in range(13)], values, Fraction(1, 24))
    shown = run(source, AnyTime(), 24, factor=2, repeats="smooth", longest_run=9)
    expected = [0, 0.1, 0.2, 0.3, *(0.4 + 0.2 * k / 18 for k in range(18)), 0.6, 0.7, 0.8]
    assert [value(s) for s in shown] == pytest.approx(expected, abs=1e-3)
    held = run(on(3, 6), AnyTime(), 24, factor=2, repeats="smooth", longest_run=2)
    kept = run(on(3, 6), AnyTime(), 24, factor=2)
    assert [value(s) for s in held] == [value(s) for s in kept]
    with pytest.raises(ValueError, match="longest_run of 2 or more, got 1"):
        run(source, AnyTime(), 24, longest_run=1)


def test_a_frozen_stream_is_read_no_further_than_it_must_be() -> None:
    taken = 0

    def frozen():
        nonlocal taken
        for frame in stream(range(60), [0.1, 0.3, *[0.5] * 57, 0.7]):
            taken += 1
            yield frame

    timeline = Timeline(frozen(), Interpolator(Halfway()), OutputTiming(2), cuts=False, repeats="smooth")
    for number, _ in enumerate(timeline):
        assert taken <= number // 2 + 11
        assert len(timeline) < 9
    assert timeline.made == 3
    assert timeline.source.repeats == 56


def test_a_slide_is_not_shown_long_before_it_is_due() -> None:
    source = stream([0, 2, 4], [0.1, 0.5, 0.9], last=2)
    coarse = (torch.rand(3, 6, 8).repeat_interleave(24, 1).repeat_interleave(24, 2) for _ in source)
    slides = [
        SourceFrame(s.original, slide, s.time, s.duration) for s, slide in zip(source, coarse, strict=True)
    ]
    timing = OutputTiming(fps=10)
    shown = list(Timeline(slides, Interpolator(Halfway()), timing, Fraction(1, 2)))
    first = {k: next(s.time for s in shown if s.source.original == k) for k in range(3)}
    assert all(abs(first[k] - 2 * k) <= Fraction(1, 10) for k in range(3))
    timing.check(Fraction(1, 2), Fraction(2), False, "slides")
