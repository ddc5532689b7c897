"""Schedule: which positions of a stream are shown, when, and for how long, at the pace that is asked for.

by_factor   real frames  0       1           2  3      by_rate   real frames  0       1       2
            shown        0   ½   1     1½    2 2½ 3              shown        0    ⅝     1¼     1⅞
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import count
from typing import Any

from tweenlet.interpolation.timeline import Reel

Shown = tuple[Fraction, Fraction, Fraction]
"""A position in the stream of real frames; when it is shown and for how long, both in seconds."""


@dataclass(frozen=True)
class Pace:
    """How dense a stream is to be: by a factor (2 if nothing is given), at a rate, or to be shown slowly.

    ValueError for more than one of them, and for numbers that are not as said here.
    """

    factor: int | None = None
    """So many times as many frames: 2, 4, 8, ..."""
    fps: float | str | Fraction | None = None
    """So many frames a second."""
    slow: int | None = None
    """As many frames as it takes to be shown so many times as long, 2 or more, at its own rate."""
    depth: int = 3
    """How often a gap between frames may be halved for the last two, from 1 to 8."""

    def __post_init__(self) -> None:
        if (self.factor, self.fps, self.slow).count(None) < 2:
            raise ValueError("factor, fps and slow exclude each other: give one of them")
        if not 1 <= self.depth <= 8:
            raise ValueError(f"expected a depth from 1 to 8, got {self.depth}")
        if self.slow is not None and self.slow < 2:
            raise ValueError(f"expected to slow down 2 times or more, got {self.slow}")
        if self.factor is not None:
            check_factor(self.factor)

    @property
    def _times(self) -> int | None:
        """How many times as dense, where that is a power of 2: exact where the rate varies."""
        if self.slow is not None:
            return None if self.slow & (self.slow - 1) else self.slow
        return self.factor or (2 if self.fps is None else None)

    def rate(self, own: Fraction, name: str) -> Fraction:
        """The rate that a stream is made dense to, of its `own`; of a slow one, before it is slowed down.

        ValueError, with the stream's `name`, for one that is below its own, and one that depth cannot reach.
        """
        if self._times is not None:
            return own * self._times
        dense = exact_rate(self.fps) if self.fps is not None else own * (self.slow or 1)
        if dense < own * Fraction(99, 100):
            raise ValueError(f"{name} has {float(own):g} frames per second: expected more, got {self.fps}")
        if dense > own * 2**self.depth:
            raise ValueError(
                f"depth {self.depth} gives {2**self.depth} times as many frames at most, "
                f"{float(dense / own):g} times were asked for: expected fewer, or more depth"
            )
        return dense

    def schedule(self, reel: Reel[Any], rate: Fraction) -> Iterator[Shown]:
        """What is shown of a stream, at the :meth:`rate` that was found for it."""
        return by_rate(reel, rate, self.depth) if self._times is None else by_factor(reel, self._times)


def check_factor(factor: int) -> None:
    """ValueError for what is not 2, 4, 8, ..."""
    if factor < 2 or factor & (factor - 1):
        raise ValueError(f"expected a factor of 2, 4, 8, ..., got {factor}")


def by_factor(reel: Reel[Any], factor: int) -> Iterator[Shown]:
    """Every real frame at its own time, and factor - 1 evenly between each two; the last is shown as
    long as it was.
    """
    for index in count():
        frame = reel.real(index)
        if not reel.has(index + 1):
            yield Fraction(index), frame.time, frame.duration
            return
        step = (reel.real(index + 1).time - frame.time) / factor
        for k in range(factor):
            yield index + Fraction(k, factor), frame.time + k * step, step


def by_rate(reel: Reel[Any], rate: Fraction, depth: int) -> Iterator[Shown]:
    """A frame every 1/rate seconds: the one of the nearest 2^-depth position between two real ones; the
    last is shown to its end.
    """
    index, start = 0, reel.real(0).time
    for k in count():
        now = start + k / rate
        while reel.has(index + 1) and reel.real(index + 1).time <= now:
            index += 1
        before = reel.real(index)
        position = Fraction(index)
        if reel.has(index + 1):
            part = (now - before.time) / (reel.real(index + 1).time - before.time)
            position += Fraction(round(part * 2**depth), 2**depth)
        if position.denominator == 1 and not reel.has(int(position) + 1):
            last = reel.real(int(position))
            if (left := last.time + last.duration - now) > 0:
                yield position, now, left
            return
        yield position, now, 1 / rate


def exact_rate(fps: float | str | Fraction) -> Fraction:
    """A frame rate as written by people, 60 or "30000/1001" or 59.94, exactly; ValueError for no
    positive number.
    """
    try:
        rate = Fraction(0 if re.search(r"[eE][-+]?\d{4}", str(fps)) else str(fps))  # 1e99999999 takes years
    except (ValueError, ZeroDivisionError):
        rate = Fraction(0)
    if rate <= 0:
        raise ValueError(f"expected a frame rate such as 60, 59.94 or 60000/1001, got {fps}")
    ntsc = Fraction(round(rate * 1001 / 1000) * 1000, 1001)
    return ntsc if abs(ntsc - rate) < Fraction(1, 2000) else rate
