"""Progress: a bar on stderr with the speed and the remaining time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

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

console = Console(stderr=True)


def say(text: str) -> None:
    """Print a line to stderr above the bar, verbatim: brackets are not markup, and tables are not wrapped."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)


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
        unit: what is counted, for the speed.
        shown: False hides the bar, as in all but one of several processes.

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
