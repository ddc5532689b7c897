"""Schedule: which positions of a stream are shown, when, and for how long.

by_factor   real frames  0       1           2  3      by_rate   real frames  0       1       2
            shown        0   ½   1     1½    2 2½ 3              shown        0    ⅝     1¼     1⅞
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import count
from typing import Any

from tweenlet.reel import Reel

Shown = tuple[Fraction, Fraction, Fraction]
"""A position in the stream of real frames; when it is shown and for how long, both in seconds."""


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
        rate = Fraction(str(fps))
    except (ValueError, ZeroDivisionError):
        rate = Fraction(0)
    if rate <= 0:
        raise ValueError(f"expected a frame rate such as 60, 59.94 or 60000/1001, got {fps}")
    ntsc = Fraction(round(rate * 1001 / 1000) * 1000, 1001)
    return ntsc if abs(ntsc - rate) < Fraction(1, 2000) else rate
