"""Times of frames: timestamps that repeat, go back or jump delay only the pictures near them."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import av
import pytest

from tweenlet.video.decoder import DecodedPicture
from tweenlet.video.frame_times import FrameTimes
from tweenlet.video.notices import Notices
from tweenlet.video.rates import Stated

STEP = Fraction(1, 24)


class Stamped:
    """A decoder of pictures with these timestamps, in steps."""

    starts_with_key, cut, lost, reach = True, False, (), Fraction(0)

    def __init__(self, stamps: list[float]) -> None:
        self.stamps, self.count = stamps, len(stamps)

    def __iter__(self) -> Iterator[DecodedPicture]:
        for stamp in self.stamps:
            yield DecodedPicture(av.VideoFrame(16, 16, "gray"), Fraction(stamp) * STEP, False, False, None, 0)


def times_of(stamps: list[float]) -> list[float]:
    """Times of the frames in steps."""
    container: Any = SimpleNamespace(format=SimpleNamespace(name="matroska"))
    location: Any = SimpleNamespace(is_truncated=lambda: False)
    stream: Any = SimpleNamespace(frames=0)
    decoder: Any = Stamped(stamps)
    stated = Stated(Fraction(0), None, None, None)
    notices = Notices("clip")
    frames = FrameTimes(container, stream, decoder, STEP, notices, stated=stated, location=location)
    return [float(frame.time / STEP) for frame in frames]


@pytest.mark.parametrize(
    ("stamps", "delayed"),
    [
        ([*range(10), *[19.6] * 10, *range(20, 60)], range(10, 40)),  # a muxer that clamps a late one
        ([*range(10), 9, *range(11, 40)], range(10, 11)),
        ([*range(10), 10, 10, *range(11, 40)], range(10, 14)),
        ([*range(10), 22, 11, 23, 24, 13, *range(25, 40)], range(10, 16)),  # an index with a hole
        ([*range(20), 4, *range(21, 40)], range(20, 21)),  # as far back as a clock that is reset
    ],
)
def test_pictures_are_soon_at_their_own_times_again(stamps: list[float], delayed: range) -> None:
    times = times_of(stamps)
    assert all(before < after for before, after in pairwise(times))
    far = [
        k for k, (time, stamp) in enumerate(zip(times, stamps, strict=True)) if time != pytest.approx(stamp)
    ]
    assert set(far) <= set(delayed)


def test_a_clock_that_is_reset_counts_on() -> None:
    assert times_of([*range(48), *range(48)]) == pytest.approx(range(96))
