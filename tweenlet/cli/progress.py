"""Progress: a bar on stderr that says how fast it goes and how long it will take."""

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
    """A line on stderr, above the bar, as it is: a name in brackets is no markup, a table is not wrapped."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)


class Speed(ProgressColumn):
    """Things done per second."""

    def render(self, task: Task) -> Text:
        """As in "12.5 frames/s"; nothing while it is not known."""
        speed = f"{task.speed:.1f} {task.fields['unit']}/s" if task.speed else ""
        return Text(speed, style="progress.data.speed")


@contextmanager
def bar(title: str, unit: str, shown: bool = True) -> Iterator[Callable[..., None]]:
    """A bar, if stderr is a terminal and it is to be ``shown``.

    Gives the function to call with (done, total or None[, new title]).
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
