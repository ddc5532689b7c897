"""Timing: the times at which frames are shown, for the pace that is asked for.

factor   source  0       1           2  3      fps   source  0       1       2
output  0   ½   1     1½    2 2½ 3          output  0    .6   1.2   1.8

a hold   source  0 1 2                        3      (an interval much longer than the others)
factor   output  0 . 1 . 2                   .3      held, then moved in the time of a usual interval
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor

Rate = float | str | Fraction
"""Frames per second as people write them: 60, 59.94, "60000/1001"."""
LONGEST_FILL = 60
"""Seconds of a hold that a constant rate fills with repeats; a longer one is shown as one long frame."""
LONGEST_MOVE = Fraction(1, 10)
"""Seconds: longer intervals are those of slides, which a rate may be any multiple of."""
UNEVEN = Fraction(3, 2)
"""A last frame shown for so many usual intervals or longer is meant to stand."""


@dataclass(frozen=True)
class Interval:
    """The time from one source frame to the next, in seconds."""

    start: Fraction
    end: Fraction
    held_until: Fraction
    """When the movement to the next frame begins: at ``start``, or later where the frame is held."""


@dataclass(frozen=True)
class Slot:
    """When an output frame is shown and for how long, both in seconds of the source."""

    time: Fraction
    duration: Fraction


class Clock(ABC):
    """Gives the output's slots, interval by interval, in order."""

    @abstractmethod
    def within(self, interval: Interval) -> Iterator[Slot]:
        """The slots that begin in an interval between two source frames."""

    @abstractmethod
    def last(self, time: Fraction, duration: Fraction, usual: Fraction) -> Iterator[Slot]:
        """The slots of the last source frame, which has no next; ``usual``: the source's usual interval."""


class EvenClock(Clock):
    """Every source frame at its own time, and ``factor`` - 1 slots evenly between each two."""

    def __init__(self, factor: int) -> None:
        self._factor = factor

    def within(self, interval: Interval) -> Iterator[Slot]:
        """Slots are spread over the interval, of a hold over what follows it."""
        moving = max(interval.held_until, interval.start)
        if moving >= interval.end:
            moving = interval.start
        step = (interval.end - moving) / self._factor
        yield Slot(interval.start, moving + step - interval.start)
        for k in range(1, self._factor):
            yield Slot(moving + k * step, step)

    def last(self, time: Fraction, duration: Fraction, usual: Fraction) -> Iterator[Slot]:
        """As long as the others, unless it stands longer than frames usually do."""
        yield Slot(time, duration if duration > UNEVEN * usual else usual / self._factor)


class SteadyClock(Clock):
    """A slot every 1/``rate`` seconds, from the first source frame on."""

    def __init__(self, rate: Fraction) -> None:
        self._rate, self._start, self._count = rate, Fraction(0), 0
        self._began = False

    @property
    def _next(self) -> Fraction:
        return self._start + self._count / self._rate

    def within(self, interval: Interval) -> Iterator[Slot]:
        """Slots of one length; but a hold of more than LONGEST_FILL seconds is one slot."""
        if not self._began:
            self._start, self._began = interval.start, True
        if interval.held_until - self._next > LONGEST_FILL:
            yield self._merge_slots(interval.held_until)
        yield from self._until(interval.end)

    def last(self, time: Fraction, duration: Fraction, usual: Fraction) -> Iterator[Slot]:
        """One slot, or where the frame stands longer than frames usually do as many as that takes."""
        end = time + duration
        if not self._began:
            self._start = time
        if duration <= UNEVEN * usual:
            end = min(end, self._next + 1 / self._rate / 2)
        if end - self._next > LONGEST_FILL:
            yield self._merge_slots(end)
        yield from self._until(end)

    def _until(self, end: Fraction) -> Iterator[Slot]:
        while (time := self._next) < end:
            self._count += 1
            yield Slot(time, 1 / self._rate)

    def _merge_slots(self, end: Fraction) -> Slot:
        time, slots = self._next, floor((end - self._next) * self._rate)
        self._count += slots
        return Slot(time, slots / self._rate)


@dataclass(frozen=True)
class OutputTiming:
    """How dense the output is: by a factor (2 if nothing is given), at a rate, or to be shown slowly.

    Raises:
        ValueError: for more than one of them, and for numbers out of their range.

    """

    factor: int | None = None
    """Output frames per source frame, 2 or more."""
    fps: Rate | None = None
    """Output frames per second."""
    slow: Rate | None = None
    """Slow-motion factor above 1: the clip lasts so many times longer at the source's frame rate."""
    max_recursion: int = 3
    """Maximum recursion depth (1 to 8) of networks that only know the middle: times that are no multiple of a
    power of 2 are rounded to 2^-max_recursion of a source interval."""

    def __post_init__(self) -> None:
        if (self.factor, self.fps, self.slow).count(None) < 2:
            raise ValueError("factor, fps and slow exclude each other: give one of them")
        if not 1 <= self.max_recursion <= 8:
            raise ValueError(f"expected a max_recursion from 1 to 8, got {self.max_recursion}")
        if self.factor is not None and (self.factor < 2 or self.factor != int(self.factor)):
            raise ValueError(f"expected a factor of 2 or more, a whole number, got {self.factor}")
        if self.fps is not None:
            exact_rate(self.fps)
        if self.slow is not None and self._slow <= 1:
            raise ValueError(f"expected to slow down by a number above 1, such as 2 or 2.5, got {self.slow}")

    @property
    def _slow(self) -> Fraction:
        return _exact(self.slow)

    @property
    def stretch(self) -> Fraction:
        """By how much times are multiplied: 1, or the slow-motion factor."""
        return Fraction(1) if self.slow is None else self._slow

    @property
    def multiple(self) -> int | None:
        """Output frames per source interval, where that is a whole number for every one of them."""
        if self.slow is not None:
            return int(self._slow) if self._slow.denominator == 1 else None
        return self.factor or (2 if self.fps is None else None)

    @property
    def levels(self) -> int:
        """Recursion depth that networks which only know the middle need: exact for powers of 2."""
        multiple = self.multiple
        return multiple.bit_length() - 1 if multiple and not multiple & (multiple - 1) else self.max_recursion

    def dense_rate(self, own: Fraction) -> Fraction:
        """Output frames per second of the source's time, for a source of ``own`` frames per second."""
        if self.multiple is not None:
            return own * self.multiple
        return exact_rate(self.fps) if self.fps is not None else own * self._slow

    def check(self, own: Fraction, usual: Fraction, exact: bool, name: str) -> None:
        """Refuse a rate below the source's, and one that the recursion cannot reach.

        Args:
            own: the source's average frames per second.
            usual: the source's usual interval between frames, in seconds.
            exact: whether the network makes a frame at any time.
            name: the source's, for the message.

        Raises:
            ValueError: with the reason in words.

        """
        dense = self.dense_rate(own)
        if dense < own * Fraction(99, 100):
            raise ValueError(f"{name} has {float(own):g} frames per second: expected more, got {self.fps}")
        moving = min(usual, LONGEST_MOVE)
        times = ceil(dense * moving) if self.multiple is None else self.multiple
        if not exact and times > 2**self.levels:
            raise ValueError(
                f"max_recursion {self.max_recursion} gives {2**self.max_recursion} times as many frames at "
                f"most, {times} times were asked for: expected fewer, or a larger max_recursion"
            )

    def clock(self, own: Fraction) -> Clock:
        """The clock of a source of ``own`` frames per second."""
        return SteadyClock(self.dense_rate(own)) if self.multiple is None else EvenClock(self.multiple)


def exact_rate(fps: Rate) -> Fraction:
    """A frame rate as written by people, 60 or "30000/1001" or 59.94, exactly; ValueError for no
    positive number.
    """
    rate = _exact(fps)
    if rate <= 0:
        raise ValueError(f"expected a frame rate such as 60, 59.94 or 60000/1001, got {fps}")
    ntsc = Fraction(round(rate * 1001 / 1000) * 1000, 1001)
    return ntsc if abs(ntsc - rate) < Fraction(1, 2000) else rate


def _exact(number: object) -> Fraction:
    """A number as people write it; 0 for what is none, and for one so large that it would take years."""
    try:
        return Fraction(0 if re.search(r"[eE][-+]?\d{4}", str(number)) else str(number))
    except (ValueError, ZeroDivisionError):
        return Fraction(0)
