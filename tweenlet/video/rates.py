"""Rates and lengths: what a file states about its times, compared with the time stamps of its packets.

Files state rates that are absurd (1000 for 30, 60000 for 25), and lengths that are those of other streams or
count from elsewhere. The time stamps of the first packets are believed first.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from statistics import median_low

import av
from av.container import InputContainer

from tweenlet.video.container import start_of

_DURATION = re.compile(r"(\d{1,6}):(\d{1,2}):(\d{1,2}(?:\.\d{1,12})?)")
_CLOSE, _BURST = Fraction(1, 250), 8  # seconds between pictures, and pictures, of a burst
_ROUNDED = Fraction(1, 2500)  # less than what 30 and 30000/1001 differ by
_COUNTED = {"mpegts", "mpeg", "ogg", "gif", "yuv4mpegpipe", "webp_pipe"}


def usual_step(stamps: Iterable[Fraction]) -> Fraction | None:
    """Seconds from one picture to the next, as most of them are apart; None for under two time stamps.

    Recorders that deliver pictures in bursts give them stamps milliseconds apart: where pictures are closer
    than in any usual video, several steps are looked at together.
    """
    times = sorted(set(stamps))
    if len(times) < 2:
        return None
    steps = [after - before for before, after in pairwise(times)]
    middle = median_low(steps)
    if middle < _CLOSE:
        count = min(_BURST, len(steps))
        spans = [after - before for before, after in zip(times, times[count:], strict=False)]
        middle = median_low(spans) / count
    near = [step for step in steps if middle / 2 < step < middle * 3 / 2]
    return sum(near, Fraction(0)) / len(near) if near else middle


def usual_rate(stream: av.VideoStream, step: Fraction | None) -> Fraction | None:
    """Frames per second: the average that the file states, or else the rate that FFmpeg guesses, where the
    usual step between time stamps agrees with it; else the rate of that step. None where nothing is known.
    """
    stated = [rate for rate in (stream.average_rate, stream.guessed_rate) if rate]
    if step is None:
        return _near_usual(stated[0], _ROUNDED) if stated else None
    for rate in stated:
        if abs(rate * step - 1) < Fraction(1, 10):
            return _near_usual(rate, _ROUNDED)
    return _near_usual(1 / step, Fraction(1, 400))


def promised_end(container: InputContainer, stream: av.VideoStream) -> Fraction | None:
    """When a stream ends by what is stated about it, in seconds of the file's clock; None if nothing is, or
    only what FFmpeg counted from the packets that are there.
    """
    if container.format.name in _COUNTED or (container.format.name.startswith("mov") and not stream.frames):
        return None
    base = stream.time_base or Fraction(0)
    if stream.duration:
        length = stream.duration * base
        if container.format.name == "avi" and stream.average_rate:
            length = max(length, stream.frames / stream.average_rate)  # cut, it states what is left
        return (stream.start_time or 0) * base + length
    stated = _DURATION.fullmatch(stream.metadata.get("DURATION", ""))  # Matroska by FFmpeg and mkvmerge
    if stated:
        return int(stated[1]) * 3600 + int(stated[2]) * 60 + Fraction(stated[3])
    return None


def file_end(container: InputContainer) -> Fraction | None:
    """When a file ends by what is stated about all its streams together, in seconds of its clock."""
    if container.format.name in _COUNTED or not container.duration or container.duration < 0:
        return None
    return Fraction(container.duration + max(container.start_time or 0, 0), av.time_base)


@dataclass(frozen=True)
class Stated:
    """What a file states about the times of a stream, in seconds of its clock; None where it does not.

    To be asked before packets are read, which FFmpeg changes its mind by.
    """

    start: Fraction
    """From where the frames and the sound are counted."""
    end: Fraction | None
    file_end: Fraction | None
    estimated_end: Fraction | None
    """The end that is stated, or that FFmpeg counted from the packets that are there."""

    @classmethod
    def of(cls, container: InputContainer, stream: av.VideoStream) -> Stated:
        """What a file that was just opened states about one of its streams."""
        end = estimated = promised_end(container, stream)
        if end is None and stream.duration:
            estimated = ((stream.start_time or 0) + stream.duration) * (stream.time_base or Fraction(0))
        elif end is None and container.duration:
            estimated = Fraction(container.duration + (container.start_time or 0), av.time_base)
        return cls(start_of(container), end, file_end(container), estimated)


def _near_usual(rate: Fraction, tolerance: Fraction) -> Fraction:
    """A rate, or the one of 25, 30, 30000/1001 ... that it is next to."""
    usual = (Fraction(round(rate)), Fraction(round(rate * 1001 / 1000) * 1000, 1001))
    nearest = min(usual, key=lambda u: abs(u - rate))
    return nearest if nearest and abs(nearest - rate) < rate * tolerance else rate
