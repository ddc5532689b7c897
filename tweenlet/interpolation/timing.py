"""Timing: output times for a factor, frame rate, slow motion or speed curve.

    factor   source  0       1           2  3      fps   source  0       1       2
             output  0   ½   1     1½    2 2½ 3          output  0    .6   1.2   1.8

    a hold   source  0 1 2                        3      (an interval much longer than the others)
    factor   output  0 . 1 . 2                   .3      held, then moved during one usual interval

    shutter  source  0       1       2                   (180 degrees)
             output  [....]  [....]  [....]              each the mean of SHUTTER_SAMPLES frames

All times are exact fractions.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from math import ceil, floor

from tweenlet.video.retiming import TimeMap, parse_speed

Rate = float | str | Fraction
"""Frames per second as people write them: 60, 59.94, "60000/1001"."""
LONGEST_FILL = 60
"""Longest hold, in seconds, that a constant rate fills with repeats; a longer one is a single long frame."""
LONGEST_MOVE = Fraction(1, 10)
"""Seconds: longer intervals are slides, which do not limit the rate."""
UNEVEN = Fraction(3, 2)
"""Usual intervals from which on the duration of the last frame is taken as intended."""
SHUTTER_SAMPLES = 8
"""Frames to average per output frame with a shutter."""


@dataclass(frozen=True)
class Interval:
    """The time from one source frame to the next, in seconds."""

    start: Fraction
    end: Fraction
    held_until: Fraction
    """Start of the movement to the next frame: ``start``, or later if the frame is held."""


@dataclass(frozen=True)
class Slot:
    """Content, time and duration of an output frame. Slots with the same output time are averaged."""

    time: Fraction
    """Time in the source, in seconds."""
    width: Fraction
    """Source time up to the next slot, in seconds."""
    shown: Fraction
    """Time in the output, in seconds."""
    duration: Fraction
    """Duration in the output, in seconds."""


class Clock(ABC):
    """Yields the slots of the output, interval by interval, in order."""

    @abstractmethod
    def within(self, interval: Interval) -> Iterator[Slot]:
        """The slots that begin in an interval between two source frames."""

    @abstractmethod
    def last(self, time: Fraction, duration: Fraction, interval: Fraction) -> Iterator[Slot]:
        """The slots of the last source frame; ``interval`` is the usual one of the source, in seconds."""


class EvenClock(Clock):
    """Every source frame at its own time, with ``factor`` - 1 evenly spaced slots between neighbours.

    Args:
        factor: output frames per source interval.
        stretch: slow-motion factor.

    """

    def __init__(self, factor: int, stretch: Fraction = Fraction(1)) -> None:
        self._factor, self._stretch = factor, stretch

    def within(self, interval: Interval) -> Iterator[Slot]:
        """Slots spread evenly over the interval or, after a hold, over the rest of it."""
        moving = max(interval.held_until, interval.start)
        if moving >= interval.end:
            moving = interval.start
        step = (interval.end - moving) / self._factor
        yield self._slot(interval.start, moving + step - interval.start)
        for k in range(1, self._factor):
            yield self._slot(moving + k * step, step)

    def last(self, time: Fraction, duration: Fraction, interval: Fraction) -> Iterator[Slot]:
        """One slot as long as the others, or as long as the frame stands if that is unusually long."""
        yield self._slot(time, duration if duration > UNEVEN * interval else interval / self._factor)

    def _slot(self, time: Fraction, width: Fraction) -> Slot:
        return Slot(time, width, time * self._stretch, width * self._stretch)


class SteadyClock(Clock):
    """A slot every 1/``rate`` seconds of the output, from the first source frame on.

    Args:
        rate: frames per second of the output.
        time_map: maps output times to source times.
        shutter: fraction of a slot for which the shutter is open; SHUTTER_SAMPLES slots sample it.

    """

    def __init__(
        self, rate: Fraction, time_map: TimeMap | None = None, shutter: Fraction = Fraction(0)
    ) -> None:
        self._rate, self._map = rate, time_map or TimeMap()
        samples = SHUTTER_SAMPLES if shutter else 1
        self._offsets = [shutter * k / samples / rate for k in range(samples)]
        self._origin: Fraction | None = None
        self._count = self._sample = 0

    def within(self, interval: Interval) -> Iterator[Slot]:
        """Slots of one length; but a hold of more than LONGEST_FILL seconds is one slot."""
        self._begin(interval.start)
        yield from self._merge_slots(interval.held_until)
        yield from self._until(interval.end)

    def last(self, time: Fraction, duration: Fraction, interval: Fraction) -> Iterator[Slot]:
        """One slot, or as many as it takes if the frame stands unusually long."""
        self._begin(time)
        end = time + duration
        if duration <= UNEVEN * interval:
            end = min(end, self._map.source_time(self._shown + 1 / self._rate / 2))
        yield from self._merge_slots(end)
        yield from self._until(end)
        while self._sample:
            yield self._next_slot()

    def _begin(self, start: Fraction) -> None:
        if self._origin is None:
            self._origin = self._map.output_time(start)

    @property
    def _shown(self) -> Fraction:
        """Output time of the next slot, in seconds."""
        return (self._origin or Fraction(0)) + self._count / self._rate

    def _until(self, end: Fraction) -> Iterator[Slot]:
        while self._map.source_time(self._shown + self._offsets[self._sample]) < end:
            yield self._next_slot()

    def _next_slot(self) -> Slot:
        shown, step = self._shown, 1 / self._rate
        time = self._map.source_time(shown + self._offsets[self._sample])
        width = self._map.source_time(shown + step) - self._map.source_time(shown)
        self._sample = (self._sample + 1) % len(self._offsets)
        self._count += self._sample == 0
        return Slot(time, width, shown, step)

    def _merge_slots(self, end: Fraction) -> Iterator[Slot]:
        """One slot up to a second of the source, if that is more than LONGEST_FILL seconds off."""
        if self._map.output_time(end) - self._shown <= LONGEST_FILL:
            return
        while self._sample:
            yield self._next_slot()
        shown, slots = self._shown, floor((self._map.output_time(end) - self._shown) * self._rate)
        self._count += slots
        time = self._map.source_time(shown)
        yield Slot(time, self._map.source_time(self._shown) - time, shown, slots / self._rate)


@dataclass(frozen=True)
class OutputTiming:
    """Frame rate and speed of the output; default: twice the frame rate.

    Raises:
        ValueError: options that exclude each other, or numbers out of their range.

    """

    factor: int | None = None
    """Output frames per source frame, 2 or more; 1 where frames are remade or blurred."""
    fps: Rate | None = None
    """Output frames per second."""
    slow: Rate | None = None
    """Slow-motion factor above 1: how many times longer the clip lasts, at the source's rate or ``fps``."""
    max_recursion: int = 3
    """Maximum recursion depth (1 to 8) of networks that only predict midpoints: times are rounded to
    2^-max_recursion of a source interval, unless the factor is a power of 2."""
    speed: str | TimeMap | None = None
    """Speeds over the source's time, as in "0:1 2.5:0.25 4:1"; the rate is the source's, or ``fps``."""
    keep_frames: bool = False
    """With ``fps``, show every source frame, in the slot nearest to its time."""
    shutter: float = 0
    """Shutter angle in degrees (360 = the whole frame): each output frame is the mean of SHUTTER_SAMPLES
    frames; 0 = no motion blur."""
    remake: bool = False
    """Whether source frames are remade, in which case the default rate is the source's."""

    def __post_init__(self) -> None:
        for pair in (("factor", "fps"), ("factor", "slow"), ("factor", "speed"), ("slow", "speed")):
            if all(getattr(self, name) is not None for name in pair):
                raise ValueError(f"{pair[0]} and {pair[1]} exclude each other: give one of them")
        if not 1 <= self.max_recursion <= 8:
            raise ValueError(f"expected a max_recursion from 1 to 8, got {self.max_recursion}")
        least = 1 if self.shutter or self.remake else 2
        if self.factor is not None:
            factor = _exact(self.factor)
            if factor < least or factor.denominator != 1:
                raise ValueError(f"expected a factor of {least} or more, a whole number, got {self.factor}")
            object.__setattr__(self, "factor", int(factor))  # as numpy's integers are none of Python's
        if self.fps is not None:
            exact_rate(self.fps)
        if self.slow is not None and _exact(self.slow) <= 1:
            raise ValueError(f"expected to slow down by a number above 1, such as 2 or 2.5, got {self.slow}")
        if not 0 <= self.shutter <= 360:
            raise ValueError(f"expected a shutter of up to 360 degrees, such as 180, got {self.shutter:g}")
        if self.keep_frames and (self.fps is None or self.time_map.steady is None or self.shutter):
            raise ValueError("keep_frames is for a rate (fps) at one speed, without a shutter")

    @cached_property
    def time_map(self) -> TimeMap:
        """The map between output times and source times."""
        if self.slow is not None:
            return TimeMap([(Fraction(0), 1 / _exact(self.slow))])
        return parse_speed(self.speed) if isinstance(self.speed, str) else self.speed or TimeMap()

    @property
    def multiple(self) -> int | None:
        """Output frames per source interval, if that is the same whole number everywhere; else None."""
        if self.fps is not None or self.speed is not None or self.shutter:
            return None
        if self.slow is not None:
            slow = _exact(self.slow)
            return int(slow) if slow.denominator == 1 else None
        return self._factor

    @property
    def _factor(self) -> int:
        return self.factor or (1 if self.remake or self.shutter else 2)

    @property
    def levels(self) -> int:
        """Recursion depth for networks that only predict midpoints; exact for powers of 2."""
        multiple = self.multiple
        return multiple.bit_length() - 1 if multiple and not multiple & (multiple - 1) else self.max_recursion

    def output_rate(self, source_rate: Fraction) -> Fraction:
        """Output frames per second, for a source of ``source_rate``."""
        if self.fps is not None:
            return exact_rate(self.fps)
        return source_rate if self.slow is not None or self.speed is not None else source_rate * self._factor

    def check(self, source_rate: Fraction, interval: Fraction, exact: bool, name: str) -> None:
        """Refuse a rate too low to keep every source frame, if that is asked for, or too high for recursion.

        Args:
            source_rate: average frames per second of the source.
            interval: usual time between source frames, in seconds.
            exact: whether the network makes a frame at any time.
            name: name of the source, for the message.

        Raises:
            ValueError: the rate is refused; the message says why.

        """
        dense = self.output_rate(source_rate) / self.time_map.slowest
        if self.keep_frames and dense < source_rate * Fraction(99, 100):
            raise ValueError(
                f"{name} has {float(source_rate):g} frames per second: expected at least as many to keep "
                f"all of its frames, got {self.fps}"
            )
        moving = min(interval, LONGEST_MOVE)
        times = ceil(dense * moving) if self.multiple is None else self.multiple
        if not exact and times > 2**self.levels:
            raise ValueError(
                f"max_recursion {self.max_recursion} gives {2**self.max_recursion} times as many frames at "
                f"most, {times} times were asked for: expected fewer, or a larger max_recursion"
            )

    def clock(self, source_rate: Fraction) -> Clock:
        """The clock of a source of ``source_rate`` frames per second."""
        if self.multiple is not None:
            return EvenClock(self.multiple, 1 / self.time_map.slowest)
        return SteadyClock(self.output_rate(source_rate), self.time_map, Fraction(self.shutter) / 360)


def exact_rate(fps: Rate) -> Fraction:
    """Parse a frame rate such as 60, "30000/1001" or 59.94 (meant as 60000/1001) as a Fraction.

    ValueError unless it is between 10^-6 and 10^6.
    """
    rate = _exact(fps)
    if not Fraction(1, 10**6) <= rate <= 10**6:
        raise ValueError(f"expected a frame rate such as 60, 59.94 or 60000/1001, got {fps}")
    ntsc = Fraction(round(rate * 1001 / 1000) * 1000, 1001)
    return ntsc if ntsc and abs(ntsc - rate) < Fraction(1, 2000) else rate


def _exact(number: object) -> Fraction:
    """Parse a number; 0 for anything else, and for exponents so large that parsing would take years."""
    try:
        return Fraction(0 if re.search(r"[eE][-+]?\d{4}", str(number)) else str(number))
    except (ValueError, ZeroDivisionError):
        return Fraction(0)
