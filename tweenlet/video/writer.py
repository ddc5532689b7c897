"""Writer: takes frames and pictures in order of time; its output appears complete or not at all."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from math import ceil
from pathlib import Path
from types import TracebackType
from typing import Self, cast

import av
import numpy as np
from av.container import InputContainer
from numpy.typing import NDArray

from tweenlet.runtime.atomic import atomic_write_many
from tweenlet.video.container import system_error
from tweenlet.video.frame import Frame
from tweenlet.video.journal import Coded, Journal
from tweenlet.video.reader import Reader
from tweenlet.video.streams import describe, side_streams

Picture = Frame | NDArray[np.floating]
SHORTEST_HOLD, LONGEST_HOLD = 1, 600
"""Seconds from which on, and up to which, a long picture is repeated in files without timestamps."""


class Writer(ABC):
    """Takes pictures in order of time; a context manager.

    Leaving it without an exception completes the output and gives it its name; leaving it with one removes
    everything written. OSError (a full disk, for example) is raised by :meth:`write` or on leaving.
    ``warnings`` are losses in the output, complete after leaving.
    """

    def write(
        self,
        picture: Picture,
        time: Fraction,
        duration: Fraction,
        between: tuple[Frame, Frame] | None = None,
    ) -> None:
        """Add a Frame, or RGB (3, H, W) in [0, 1], shown from ``time`` for ``duration`` seconds.

        ``between``: the frames on either side of a new picture. A video takes over their codes where nothing
        moves; an image takes the tags (ICC profile, EXIF) of the first, else those of the last frame written.
        """
        with self._explain_errors():
            self._write(picture, time, duration, between)

    keeps_alpha = False
    """Whether pictures may be RGBA (4, H, W), and frames keep their opacity."""
    saved = 0
    """Number of pictures written by an earlier run of the same job, to be passed to :meth:`skip`."""

    journal: Journal | None = None
    """Journal of the segments; None if the output has none."""

    def skip(self, time: Fraction, duration: Fraction) -> None:
        """Skip one of the ``saved`` pictures, shown from ``time`` for ``duration`` seconds."""
        raise NotImplementedError

    def save(self, number: int, packets: Sequence[Coded]) -> None:
        """Keep a segment of the ``journal`` that was encoded elsewhere."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._interrupted = not issubclass(kind, Exception)
            self._discard()
            return
        try:
            with self._explain_errors():
                self._complete()
        except BaseException:
            self._discard()
            raise

    def __init__(self, name: str) -> None:
        self.name = name
        self.warnings: list[str] = []
        self._interrupted = False  # by a signal, not by an error

    @contextmanager
    def _explain_errors(self) -> Iterator[None]:
        try:
            yield
        except (av.FFmpegError, OSError) as error:
            raise system_error(error, f"cannot write {self.name}") from None

    @abstractmethod
    def _write(
        self, picture: Picture, time: Fraction, duration: Fraction, between: tuple[Frame, Frame] | None
    ) -> None: ...

    @abstractmethod
    def _complete(self) -> None: ...

    @abstractmethod
    def _discard(self) -> None: ...


class FixedRate:
    """Timing of pictures in an output of fixed rate without timestamps.

    A picture of SHORTEST_HOLD or longer is repeated; other times are rounded to the rate, and
    :meth:`warnings` states the error.
    """

    def __init__(self, name: str, rate: Fraction) -> None:
        self._name, self._rate = name, rate
        self._first: Fraction | None = None
        self._count = 0
        self._off = Fraction(0)

    def repeats(self, time: Fraction, duration: Fraction) -> int:
        """Number of times to write the next picture, shown at ``time`` for ``duration`` seconds."""
        self._first = time if self._first is None else self._first
        self._off = max(self._off, abs(time - self._first - self._count / self._rate))
        count = 1
        if duration >= SHORTEST_HOLD and duration * self._rate >= 2:
            due = round((time + duration - self._first) * self._rate) - self._count
            count = max(1, min(due, ceil(min(duration, Fraction(LONGEST_HOLD)) * self._rate)))
        self._count += count
        return count

    def warnings(self) -> list[str]:
        """A warning, if the error exceeds rounding."""
        if self._off * self._rate < Fraction(3, 2):
            return []
        return [
            f"{self._name} has no times, but those of the source vary: "
            f"at {float(self._rate):g} frames/s some pictures are up to {float(self._off):.2f} s off"
        ]


def describe_left_out(template: Reader, name: str) -> list[str]:
    """Warnings about streams other than pictures, which the output cannot hold."""
    if template.stream is None:
        return []
    streams = side_streams(
        cast(InputContainer, template.stream.container), template.stream.index, template.companions
    )
    return [f"{name} holds pictures only: left out {', '.join(map(describe, streams))}"] if streams else []


@contextmanager
def write_files(paths: Sequence[Path]) -> Iterator[list[Path]]:
    """As :func:`~tweenlet.runtime.atomic.atomic_write_many`, with disk errors in one sentence."""
    try:
        with atomic_write_many(paths) as partials:
            yield partials
    except BlockingIOError:
        raise
    except OSError as error:
        raise system_error(error, f"cannot write {paths[0]}") from None
