"""Notices: problems of a source or output, with their times.

reader ── add ──> Notices (adjacent spans are merged) ──> Summary.notices ──> stderr, --json
                     └ strict: the first damage is a ValueError
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

DAMAGE = ("damaged", "missing")
"""Kinds of notices that a strict reader refuses."""


@dataclass(frozen=True)
class Notice:
    """A problem of the source, or a loss in the output.

    ``kind``:

    - "damaged": pictures between ``start`` and ``end`` were decoded with errors, or depend on such pictures;
    - "missing": no picture of this span could be read; it is bridged, except at the end;
    - "late": pictures before ``end`` depend on ones before the start of the file, and are left out;
    - "gap": a long time without a picture in a clip of otherwise constant rate, or numbers that the names of
      images skip;
    - "clock": timestamps jump by more than the length of the file, and are repaired;
    - "alpha", "interlaced", "sound", "programme": opacity, fields, sound and subtitles of a pipe, or streams
      of other programmes are not kept;
    - "replace": frames that could not be remade;
    - "output": something that the output's container cannot hold.

    ``start`` and ``end`` are in seconds of frame time; None if unknown, or if the whole source is meant.
    """

    kind: str
    reason: str
    start: Fraction | None = None
    end: Fraction | None = None

    @property
    def is_damage(self) -> bool:
        """Whether pictures were lost or are wrong."""
        return self.kind in DAMAGE

    def __str__(self) -> str:
        if self.start is None:
            return self.reason
        upto = "on" if self.end is None else f"to {float(self.end):.2f} s"
        return f"{self.kind} from {float(self.start):.2f} s {upto}: {self.reason}"

    def as_json(self) -> dict[str, Any]:
        """The notice as plain JSON types, with times as floats."""
        start, end = (None if time is None else float(time) for time in (self.start, self.end))
        return {"kind": self.kind, "start": start, "end": end, "message": self.reason}


class Notices:
    """Notices in order of time, with adjacent ones of the same kind and reason merged."""

    def __init__(self, name: str, strict: bool = False) -> None:
        """``strict``: raise the first damage as a ValueError that begins with ``name``."""
        self._name, self._strict = name, strict
        self._all: list[Notice] = []
        self._kinds: set[str] = set()
        self.ignored: set[str] = set()
        """Kinds to ignore."""

    def add(self, notice: Notice) -> None:
        """Add a notice, or raise ValueError if strict."""
        if notice.kind in self.ignored:
            return
        if self._strict and notice.is_damage:
            raise ValueError(f"{self._name} is {notice}")
        self._kinds.add(notice.kind)
        for i in range(len(self._all) - 1, max(len(self._all) - 4, -1), -1):
            last = self._all[i]
            if (last.kind, last.reason) == (notice.kind, notice.reason) and _touch(last, notice):
                self._all[i] = replace(last, end=notice.end)
                return
        self._all.append(notice)

    def __contains__(self, kind: str) -> bool:
        return kind in self._kinds

    def all(self) -> tuple[Notice, ...]:
        """The notices so far."""
        return tuple(self._all)


def _touch(one: Notice, other: Notice) -> bool:
    """Whether the second begins where the first ends, within a millisecond."""
    return one.end is not None and other.start is not None and other.start <= one.end + Fraction(1, 1000)
