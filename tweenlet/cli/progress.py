"""Progress: a bar on stderr with speed and time left; without a terminal, lines."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, TextIO

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

if TYPE_CHECKING:
    from tweenlet.interpolation.video import Moment

console = Console(stderr=True)
LINE_EVERY = 10.0
"""Seconds between lines of progress without a terminal."""


def say(text: str) -> None:
    """Print a line to stderr above the bar, verbatim: brackets are not markup, and tables are not wrapped."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def print_line(text: str, stream: TextIO) -> None:
    """Print a line in a single write, so that lines of several threads do not mix."""
    stream.write(f"{text}\n")
    stream.flush()


class Speed(ProgressColumn):
    """Progress per second."""

    def render(self, task: Task) -> Text:
        """Such as "12.5 frames/s"; empty while unknown."""
        speed = f"{task.speed:.1f} {task.fields['unit']}/s" if task.speed else ""
        return Text(speed, style="progress.data.speed")


@contextmanager
def bar(title: str, unit: str, shown: bool = True) -> Iterator[Callable[..., None]]:
    """Show a progress bar while the block runs, if stderr is a terminal.

    Args:
        title: text before the bar.
        unit: unit of progress, for the speed.
        shown: False hides the bar, as in every process but the first.

    Yields:
        A function to call with (done, total or None[, new title]).

    """
    columns = (
        TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(show_speed=False), Speed(),
        TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(
        *columns, console=console, transient=True, disable=not (shown and console.is_terminal)
    ) as progress:
        task = progress.add_task(title, total=None, unit=unit)
        yield lambda done, total, now=title: progress.update(
            task, completed=done, total=total, description=now
        )


class Watch:
    """Progress of a video: a bar in a terminal, otherwise a line or a JSON object every ten seconds.

    A context manager; it returns a function to call with each :class:`~tweenlet.interpolation.video.Moment`.

    Args:
        title: name of the output.
        quiet: show nothing.
        as_json: write JSON objects to ``stream`` instead.
        stream: destination of the JSON objects.
        preview: image file to keep the latest frame in.
        every: seconds between previews.
        lines: print lines even in a terminal, for several videos at once.

    """

    def __init__(
        self,
        title: str,
        quiet: bool = False,
        as_json: bool = False,
        stream: TextIO = sys.stderr,
        preview: Path | None = None,
        every: float = 5,
        lines: bool = False,
    ) -> None:
        self._title, self._quiet, self._as_json, self._stream = title, quiet, as_json, stream
        self._preview, self._every = preview, every
        self._lines = lines or as_json or not console.is_terminal
        self._began = self._said = time.monotonic()
        self._previewed = -float("inf")
        self._stack = ExitStack()

    def __enter__(self) -> Callable[[Moment], None]:
        self._show = self._stack.enter_context(bar(self._title, "frames", not (self._quiet or self._lines)))
        return self._observe

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _observe(self, moment: Moment) -> None:
        now = time.monotonic()
        self._show(moment.number, moment.total, f"{self._title} {time_code(moment.time)}")
        if self._lines and now - self._said >= LINE_EVERY and (self._as_json or not self._quiet):
            self._said = now
            self._say(moment, now - self._began)
        if self._preview is not None and now - self._previewed >= self._every:
            self._previewed = now
            moment.save(self._preview)

    def _say(self, moment: Moment, seconds: float) -> None:
        speed, left = moment.number / seconds, None
        if moment.total is not None and moment.number:
            left = max(0, moment.total - moment.number) / speed
        if self._as_json:
            values = {
                "event": "progress", "output": self._title, "frames": moment.number, "total": moment.total,
                "time": round(float(moment.time), 3), "frames_per_second": round(speed, 2),
                "seconds_left": None if left is None else round(left, 1),
            }  # fmt: skip
            print_line(json.dumps(values), self._stream)
        else:
            total = "" if moment.total is None else f" of {moment.total}"
            rest = "" if left is None else f", {time_code(Fraction(left))[:-3]} left"
            print_line(
                f"tweenlet: {self._title}: {moment.number}{total} frames, at {time_code(moment.time)}, "
                f"{speed:.1f} frames/s{rest}",
                sys.stderr,
            )


def time_code(seconds: Fraction) -> str:
    """Such as 0:01:30.25."""
    hundredths = int(seconds * 100)
    minutes, hundredths = divmod(hundredths, 6000)
    return f"{minutes // 60}:{minutes % 60:02d}:{hundredths // 100:02d}.{hundredths % 100:02d}"
