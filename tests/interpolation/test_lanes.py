"""Frames made side by side: order, bounds, failures, the same pictures, and threads given back."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction

import pytest
import torch

from tweenlet.interpolation.keyframes import SourceFrame
from tweenlet.interpolation.lanes import LANES, LONGEST, in_lanes
from tweenlet.interpolation.timeline import Once, OutputFrame


def output(number: int, make, is_source: bool = False) -> OutputFrame[int]:
    source = SourceFrame(number, None, Fraction(number), Fraction(1))
    shown = source if is_source else None
    return OutputFrame(shown, (source, source), Once(make), Fraction(number), Fraction(1), number)


@pytest.fixture(autouse=True)
def nothing_stays() -> Iterator[None]:
    """No thread outlives the lanes, and PyTorch has its threads back."""
    threads, count = threading.active_count(), torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    assert threading.active_count() == threads
    assert torch.get_num_threads() == 4
    torch.set_num_threads(count)


def test_outputs_keep_their_order_whatever_takes_longest() -> None:
    def make(number: int):
        time.sleep(0.02 * (number % 3 == 0))
        return number

    some = (output(k, lambda k=k: make(k)) for k in range(9))
    with in_lanes(some, LANES) as outputs:
        assert [shown.picture for shown in outputs] == list(range(9))


def test_both_lanes_work_at_once_each_with_half_of_the_threads() -> None:
    meet = threading.Barrier(LANES, timeout=20)

    def make():
        meet.wait()
        return torch.get_num_threads()

    with in_lanes((output(k, make) for k in range(4)), LANES) as outputs:
        assert [shown.picture for shown in outputs] == [2] * 4
        assert torch.get_num_threads() == 2


def test_few_outputs_are_begun_before_the_first_is_taken() -> None:
    started = 0

    def source():
        nonlocal started
        for started in range(1, 20):
            yield output(started, lambda: None)

    with in_lanes(source(), LANES) as outputs:
        for number, _ in enumerate(outputs, start=1):
            assert started <= number + LANES


def test_source_frames_wait_for_a_new_one_but_not_too_many() -> None:
    taken = 0
    release = threading.Event()

    def source():
        nonlocal taken
        yield output(0, lambda: release.wait(20))
        for taken in range(1, 40):
            if taken == LONGEST:
                release.set()
            assert taken <= LONGEST or release.is_set()
            yield output(taken, lambda k=taken: k, is_source=True)

    with in_lanes(source(), LANES) as outputs:
        assert next(outputs).picture is True
        assert taken == LONGEST
        assert [shown.picture for shown in outputs] == list(range(1, 40))


def test_an_error_is_raised_where_its_output_is_due() -> None:
    def fail():
        raise MemoryError("no room for a frame")

    some = [output(0, lambda: "first"), output(1, fail), output(2, lambda: "third")]
    with in_lanes(some, LANES) as outputs:
        assert next(outputs).picture == "first"
        with pytest.raises(MemoryError, match="no room"):
            next(outputs)


def test_leaving_early_drops_what_no_lane_has_taken() -> None:
    numbers: list[int] = []
    some = (output(k, lambda k=k: numbers.append(k)) for k in range(50))
    with suppress(KeyboardInterrupt), in_lanes(some, LANES) as outputs:
        next(outputs)
        raise KeyboardInterrupt
    assert 1 <= len(numbers) <= 2 * LANES


def test_one_lane_makes_pictures_when_they_are_asked_for() -> None:
    numbers: list[int] = []
    with in_lanes([output(k, lambda k=k: numbers.append(k)) for k in range(3)], 1) as outputs:
        for k, shown in enumerate(outputs):
            assert numbers == list(range(k))
            shown.make()
        assert torch.get_num_threads() == 4
