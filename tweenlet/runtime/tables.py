"""Tables: Markdown that lines up as plain text too."""

from __future__ import annotations

from collections.abc import Sequence


def cell(text: str) -> str:
    """Text for a Markdown table or line: on one line, with what would end a cell or begin markup escaped."""
    flat = " ".join(text.split()).replace("\\", "\\\\")
    for sign in "|<*`[":
        flat = flat.replace(sign, f"\\{sign}")
    return flat


def table(head: Sequence[str], rows: Sequence[Sequence[str]], names: int = 1) -> str:
    """A Markdown table that lines up as plain text too: ``names`` columns to the left, then numbers."""
    widths = [max(len(cell) for cell in column) for column in zip(head, *rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        columns = enumerate(zip(cells, widths, strict=True))
        return f"| {' | '.join(c.ljust(w) if i < names else c.rjust(w) for i, (c, w) in columns)} |"

    rule = ["-" * (width + 1) + ("-" if i < names else ":") for i, width in enumerate(widths)]
    return "\n".join([line(head), f"|{'|'.join(rule)}|", *map(line, rows)])
