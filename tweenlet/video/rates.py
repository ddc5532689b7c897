"""Rates and durations: those a file states, checked against the timestamps of its packets.

Files state absurd rates (1000 for 30, 60000 for 25), and durations of other streams or from another origin.
The timestamps of the first packets take precedence.
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
_ROUNDED = Fraction(1, 2500)  # less than the difference of 30 and 30000/1001
_COUNTED = {"mpegts", "mpeg", "ogg", "gif", "yuv4mpegpipe", "webp_pipe"}


def usual_step(stamps: Iterable[Fraction]) -> Fraction | None:
    """The most common interval between pictures, in seconds; None for fewer than two timestamps.

    Recorders that deliver pictures in bursts stamp them milliseconds apart: if pictures are closer than in
    any usual video, several steps are taken together.
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
    """Frames per second: the average that the file states, or FFmpeg's guess, if it agrees with the usual
    interval between timestamps; else the rate of that interval. None if nothing is known.
    """
    stated = [rate for rate in (stream.average_rate, stream.guessed_rate) if rate]
    if step is None:
        return _near_usual(stated[0], _ROUNDED) if stated else None
    for rate in stated:
        if abs(rate * step - 1) < Fraction(1, 10):
            return _near_usual(rate, _ROUNDED)
    return _near_usual(1 / step, Fraction(1, 400))


def promised_end(container: InputContainer, stream: av.VideoStream) -> Fraction | None:
    """End of a stream as stated by the file, in seconds of the file's clock; None if it is not stated, or
    only estimated by FFmpeg from the existing packets.
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
    """End of a file as stated for all streams together, in seconds of its clock."""
    if container.format.name in _COUNTED or not container.duration or container.duration < 0:
        return None
    return Fraction(container.duration + max(container.start_time or 0, 0), av.time_base)


@dataclass(frozen=True)
class Stated:
    """Times that a file states about a stream, in seconds of its clock; None if it does not.

    To be read before any packets, which change FFmpeg's values.
    """

    start: Fraction
    """Origin of frame and sound times."""
    end: Fraction | None
    file_end: Fraction | None
    estimated_end: Fraction | None
    """The stated end, or FFmpeg's estimate from the existing packets."""

    @classmethod
    def of(cls, container: InputContainer, stream: av.VideoStream) -> Stated:
        """Read the statements of a newly opened file about one of its streams."""
        end = estimated = promised_end(container, stream)
        if end is None and stream.duration:
            estimated = ((stream.start_time or 0) + stream.duration) * (stream.time_base or Fraction(0))
        elif end is None and container.duration:
            estimated = Fraction(container.duration + (container.start_time or 0), av.time_base)
        return cls(start_of(container), end, file_end(container), estimated)


def _near_usual(rate: Fraction, tolerance: Fraction) -> Fraction:
    """The usual rate (25, 30, 30000/1001, ...) next to a rate; else the rate itself."""
    usual = (Fraction(round(rate)), Fraction(round(rate * 1001 / 1000) * 1000, 1001))
    nearest = min(usual, key=lambda u: abs(u - rate))
    return nearest if nearest and abs(nearest - rate) < rate * tolerance else rate
