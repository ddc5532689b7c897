"""Notices: what a person should know about a source, with its times.

reader ── add ──> Notices (spans that touch are joined) ──> Summary.notices ──> stderr, --json
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
    """One thing about a source that cannot be seen in the output, or that is wrong there.

    ``kind``:

    - "damaged": pictures between ``start`` and ``end`` could be decoded with errors only, or rest on such;
    - "missing": no picture of this span could be read; the frames around it bridge it, at the end nothing;
    - "late": pictures before ``end`` rest on some from before the file begins, and are left out;
    - "gap": a long time without a picture, in a clip that is even otherwise;
    - "clock": time stamps that jump by more than the file is long, and are set right;
    - "alpha", "interlaced", "sound", "programme": opacity, fields, the sound and subtitles of a pipe, or the
      streams of other programmes are not kept;
    - "replace": frames to be remade that could not be;
    - "output": what the kind of file that is written cannot hold.

    ``start`` and ``end`` are seconds as those of frames; None where unknown, or where the whole is meant.
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
        """The same with seconds as floats, for a machine."""
        start, end = (None if time is None else float(time) for time in (self.start, self.end))
        return {"kind": self.kind, "start": start, "end": end, "message": self.reason}


class Notices:
    """Notices in the order of their times, those of one kind and reason that touch joined into one."""

    def __init__(self, name: str, strict: bool = False) -> None:
        """``strict``: the first damage is raised as a ValueError that begins with ``name``."""
        self._name, self._strict = name, strict
        self._all: list[Notice] = []
        self._kinds: set[str] = set()
        self.ignored: set[str] = set()
        """Kinds that are of no concern."""

    def add(self, notice: Notice) -> None:
        """Take note, or raise ValueError where that is asked for."""
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
        """What there is so far."""
        return tuple(self._all)


def _touch(one: Notice, other: Notice) -> bool:
    """Whether the second begins where the first ends, to a millisecond."""
    return one.end is not None and other.start is not None and other.start <= one.end + Fraction(1, 1000)
