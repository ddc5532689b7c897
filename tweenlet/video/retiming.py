"""Retiming: the map between output time and source time for slow and fast motion.

speed  1 ┤─────╮        ╭───      between two points the speed changes evenly in the time of the output,
       ¼ ┤      ╰──────╯          which keeps rational times rational
         0     2.5     4  seconds of the source
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from math import sqrt
from pathlib import Path

SLOWEST, FASTEST = Fraction(1, 100), Fraction(100)
"""Lowest and highest speed."""
_FINE = 10**9  # the largest denominator of times that a square root gives


@dataclass(frozen=True)
class _Segment:
    """Constant acceleration from one point on."""

    source: Fraction
    output: Fraction
    speed: Fraction
    acceleration: Fraction = Fraction(0)


class TimeMap:
    """Maps output time to source time, and back.

    Args:
        points: (source time in seconds, speed), in order of time; the first and last speed hold before and
            after them, and two points at one time are a jump. Without points the speed is 1.

    Raises:
        ValueError: times that are negative or decrease, or a speed outside [SLOWEST, FASTEST].

    """

    def __init__(self, points: Sequence[tuple[Fraction, Fraction]] = ()) -> None:
        for time, speed in points:
            if time < 0 or not SLOWEST <= speed <= FASTEST:
                raise ValueError(
                    f"expected times from 0 on and speeds from {float(SLOWEST):g} to {float(FASTEST):g}, "
                    f"got {float(time):g}:{float(speed):g}"
                )
        points = points or [(Fraction(0), Fraction(1))]
        self._points = tuple(points)
        if any(after < before for (before, _), (after, _) in pairwise(points)):
            raise ValueError(f"expected times that rise, got {', '.join(f'{float(t):g}' for t, _ in points)}")
        output = points[0][0] / points[0][1]
        self._segments = [_Segment(Fraction(0), Fraction(0), points[0][1])]
        for (start, before), (end, after) in pairwise(points):
            if end > start:
                duration = 2 * (end - start) / (before + after)
                self._segments.append(_Segment(start, output, before, (after - before) / duration))
                output += duration
        self._segments.append(_Segment(points[-1][0], output, points[-1][1]))
        speeds = {speed for _, speed in points}
        self.slowest, self.fastest = min(speeds), max(speeds)
        """The lowest and the highest speed."""
        self.steady = speeds.pop() if len(speeds) == 1 else None
        """The speed if it is constant, else None."""

    def __repr__(self) -> str:
        return f"TimeMap({' '.join(f'{time}:{speed}' for time, speed in self._points)})"

    @property
    def is_identity(self) -> bool:
        """Whether times do not change."""
        return self.steady == 1

    @property
    def settling(self) -> tuple[Fraction, ...]:
        """Source times, in seconds, at which the speed jumps, or a ramp ends in a constant speed."""
        times = []
        for before, after in pairwise(self._segments):
            reached = before.speed + before.acceleration * (after.output - before.output)
            if reached != after.speed or (before.acceleration and not after.acceleration):
                times.append(after.source)
        return tuple(times)

    def level_until(self, source: Fraction) -> Fraction | None:
        """The source time up to which the speed at another one lasts: itself in a ramp, None if for ever."""
        number = sum(segment.source <= source for segment in self._segments)
        if self._segments[number - 1].acceleration:
            return source
        return self._segments[number].source if number < len(self._segments) else None

    def source_time(self, output: Fraction) -> Fraction:
        """Source time at an output time, in seconds."""
        segment = self._segment(s.output <= output for s in self._segments)
        since = output - segment.output
        return segment.source + segment.speed * since + segment.acceleration * since * since / 2

    def output_time(self, source: Fraction) -> Fraction:
        """Output time of a source time, in seconds; accurate to a nanosecond where the speed changes."""
        segment = self._segment(s.source <= source for s in self._segments)
        since, speed, change = source - segment.source, segment.speed, segment.acceleration
        if not change:
            return segment.output + since / speed
        passed = 2 * float(since) / (float(speed) + sqrt(max(0.0, float(speed * speed + 2 * change * since))))
        return segment.output + Fraction(passed).limit_denominator(_FINE)

    def speed_at(self, output: Fraction) -> Fraction:
        """Speed of the source at an output time."""
        segment = self._segment(s.output <= output for s in self._segments)
        return segment.speed + segment.acceleration * (output - segment.output)

    def _segment(self, has_begun: Iterable[bool]) -> _Segment:
        """The segment at a time; the first for earlier times."""
        return self._segments[max(0, sum(has_begun) - 1)]


def parse_speed(text: str) -> TimeMap:
    """Parse points "TIME:SPEED", such as "0:1 2.5:0.25 4:1", or a file of such points.

    Raises:
        ValueError: any other text.

    """
    if _is_file(text):
        text = Path(text).read_text(encoding="utf-8", errors="replace")
    points = []
    for token in re.split(r"[\s,;]+", re.sub(r"#.*", "", text).strip()):
        time, colon, speed = token.rpartition(":")
        try:
            points.append((parse_time(time), Fraction(speed)))
        except (ValueError, ZeroDivisionError):
            hint = "" if colon else ", and there is no file of that name"
            raise ValueError(
                f"expected a speed as TIME:SPEED ..., such as '0:1 2.5:0.25 4:1', got {token!r}{hint}"
            ) from None
    return TimeMap(points)


def _is_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except (OSError, ValueError):  # too long for a name, for one
        return False


def parse_time(text: object) -> Fraction:
    """Parse "90", "90.5", "1:30.5" or "0:01:30" as seconds; ValueError for other text and negative times."""
    parts = re.fullmatch(
        r"(?:(?:(\d{1,5}):)?(\d{1,5}):)?(\d{1,9}(?:\.\d{1,12})?|\d{1,9}/\d{1,9})", str(text).strip()
    )
    try:
        if parts is None:
            raise ValueError
        hours, minutes, seconds = (Fraction(part or 0) for part in parts.groups())
    except (ValueError, ZeroDivisionError):
        raise ValueError(f"expected a time such as 90.5 or 1:30.5, got {text}") from None
    return hours * 3600 + minutes * 60 + seconds
