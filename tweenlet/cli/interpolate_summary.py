"""Summary of interpolate: one sentence, or lines of JSON with the warnings raised on the way."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from fractions import Fraction
from typing import Any

import tweenlet


def sentence(summary: tweenlet.Summary) -> str:
    """A run in one line: frames and rates in and out, size, speed, damage."""
    speed = summary.frames_out / summary.seconds if summary.seconds else 0.0
    counts = {"repeat": summary.repeats, "cut": summary.cuts}
    events = "".join(f", {count} {name}{'s' * (count != 1)}" for name, count in counts.items() if count)
    unchanged = (
        f" ({summary.frames_kept} of them as they came)" if summary.frames_kept < summary.frames_in else ""
    )
    return (
        f"{summary.frames_in} frames at {float(summary.rate_in):g}/s became "
        f"{summary.frames_out} at {float(summary.rate_out):g}/s{unchanged}{events}; "
        f"{summary.width}x{summary.height}, {summary.seconds:.1f} s, {speed:.1f} frames/s{_damage(summary)}"
    )


def _damage(summary: tweenlet.Summary) -> str:
    """The first few damaged or missing time spans of the source, for the summary line."""
    spans = [notice for notice in summary.notices if notice.is_damage and notice.start is not None]
    words = [
        f"{n.kind} {float(n.start or 0):.2f}-{'end' if n.end is None else f'{float(n.end):.2f}'} s"
        for n in spans[:4]
    ]
    more = [f"and {len(spans) - 4} more"] if len(spans) > 4 else []
    return "".join(f"; {word}" for word in words + more)


def as_json(summary: tweenlet.Summary, target: str, messages: Sequence[str]) -> str:
    """A JSON line per warning, then one with the summary, which repeats them."""
    values = {k: float(v) if isinstance(v, Fraction) else v for k, v in asdict(summary).items()}
    del values["notices"]
    spans = [notice.as_json() for notice in summary.notices]
    notices = spans + [{"kind": "other", "start": None, "end": None, "message": text} for text in messages]
    lines = [{"event": "warning", **warning} for warning in notices]
    lines.append({"event": "summary", "output": target, **values, "warnings": notices})
    return "\n".join(map(json.dumps, lines))


@contextmanager
def record_warnings(alone: bool) -> Iterator[list[str]]:
    """Collect the texts of warnings while still showing them; none unless ``alone`` in the process."""
    messages: list[str] = []
    if not alone:  # another run may have raised them
        yield messages
        return
    show = warnings.showwarning

    def both(message: Warning | str, *rest: Any, **named: Any) -> None:
        messages.append(str(message))
        show(message, *rest, **named)

    warnings.showwarning = both
    try:
        yield messages
    finally:
        warnings.showwarning = show
