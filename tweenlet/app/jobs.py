"""Jobs of the page: an uploaded video or two pictures, their properties, and the run on them."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable
from concurrent.futures import CancelledError
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Any

from tweenlet.interpolation.inspection import inspect
from tweenlet.interpolation.pair import interpolate_pair
from tweenlet.interpolation.video import Moment, interpolate_video
from tweenlet.video import Encoding
from tweenlet.video.images import is_image

PREVIEW_EVERY = 1.0
"""Seconds between previews."""
_TURN = Lock()
"""Held by the job that runs: one at a time, because a network takes all cores."""


@dataclass
class Job:
    """One video, or two pictures, in a folder of its own."""

    folder: Path
    name: str
    time_limit: float
    """Longest run, in seconds."""
    model: str = "default"
    device: str | None = None
    key: str = field(default_factory=lambda: secrets.token_urlsafe(9))
    state: str = "looking"
    """looking, ready, waiting, running, done, failed or cancelled."""
    message: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    progress: dict[str, Any] = field(default_factory=dict)
    sources: list[Path] = field(default_factory=list)
    result: Path | None = None
    _stop: Event = field(default_factory=Event)

    def begin(self, work: Callable[[], None]) -> None:
        """Run a part of the job in a thread; an error becomes its state and message."""

        def run() -> None:
            try:
                work()
            except CancelledError as reason:
                self.state, self.message = "cancelled", str(reason)
            except (ValueError, OSError, MemoryError, RuntimeError) as error:
                self.state, self.message = "failed", str(error).replace(f"{self.folder}/", "")

        Thread(target=run, name=f"tweenlet-app-{self.key}", daemon=True).start()

    def look(self) -> None:
        """Inspect the video; two pictures need no inspection."""
        if all(map(is_image, self.sources)):
            self.facts = {"pictures": len(self.sources)}
        else:
            info = inspect(self.sources[0], progress=self._watch_looking)
            self.facts = {
                "width": info.width, "height": info.height, "rate": round(float(info.rate or 0), 3),
                "constant": info.constant, "frames": info.frames, "seconds": round(float(info.duration), 2),
                "repeats": info.repeats, "cuts": [round(float(cut), 2) for cut in info.cuts],
                "advice": info.advice, "tracks": list(info.tracks), "codec": info.codec,
                "notices": [str(notice) for notice in info.notices],
            }  # fmt: skip
        self.state = "ready"

    def make(self, options: dict[str, Any]) -> None:
        """Interpolate with the ``options`` of :func:`read_options`."""
        self.state, self.message, self.progress = "waiting", "", {}
        self._stop.clear()
        while not _TURN.acquire(timeout=0.2):
            self._check(0)
        try:
            self.state, began = "running", time.monotonic()
            stem = re.sub(r"\.\w+$", "", self.name)
            if "pictures" in self.facts:
                target = self.folder / f"{stem}.between.png"
                a, b = self.sources
                interpolate_pair(a, b, target, model=self.model, device=self.device, overwrite=True)
                self.result, self.state = target, "done"
                return
            target = self.folder / f"{stem}.tweenlet.mp4"
            summary = interpolate_video(
                self.sources[0], target, overwrite=True, model=self.model, device=self.device,
                encoding=Encoding(codec="h264", pixels="yuv420p"),  # plays in every browser
                observe=lambda moment: self._watch(moment, began), **options,
            )  # fmt: skip
            self.message = " · ".join(str(notice) for notice in summary.notices)
            self.result, self.state = target, "done"
        finally:
            _TURN.release()

    def cancel(self) -> None:
        """Stop the job before its next frame."""
        self._stop.set()

    @property
    def preview(self) -> Path:
        """Path of the latest frame."""
        return self.folder / "preview.jpg"

    def as_json(self) -> dict[str, Any]:
        """The job's state for the page."""
        return {
            "key": self.key, "name": self.name, "state": self.state, "message": self.message,
            "facts": self.facts, "progress": self.progress,
            "result": None if self.result is None else self.result.name,
        }  # fmt: skip

    def _watch_looking(self, done: int, total: int | None) -> None:
        self._check(0)
        self.progress = {"frames": done, "total": total}

    def _watch(self, moment: Moment, began: float) -> None:
        now = time.monotonic()
        self._check(now - began)
        if now - self.progress.get("previewed", -PREVIEW_EVERY) >= PREVIEW_EVERY:
            moment.save(self.preview)
            self.progress["previewed"] = now
        speed = moment.number / max(now - began, 1e-9)
        left = None if moment.total is None else max(0, moment.total - moment.number) / speed
        self.progress |= {
            "frames": moment.number, "total": moment.total, "speed": round(speed, 2),
            "left": None if left is None else round(left),
        }  # fmt: skip

    def _check(self, seconds: float) -> None:
        if self._stop.is_set():
            raise CancelledError("cancelled")
        if seconds > self.time_limit:
            raise CancelledError(
                f"stopped after {self.time_limit / 60:g} minutes: the command line has no limit"
            )


def read_options(values: object) -> dict[str, Any]:
    """Validate the page's options for :func:`tweenlet.interpolate_video`; ValueError for others."""
    if not isinstance(values, dict) or set(values) - {"factor", "fps", "slow", "repeats", "cuts", "loop"}:
        raise ValueError("expected factor, fps, slow, repeats, cuts and loop")
    options: dict[str, Any] = {k: values[k] for k in ("cuts", "loop") if isinstance(values.get(k), bool)}
    if values.get("repeats") in ("keep", "smooth"):
        options["repeats"] = values["repeats"]
    for name, top in (("factor", 64), ("fps", 1000), ("slow", 100)):
        if values.get(name) is not None:
            number = Fraction(str(values[name]))
            if not 1 <= number <= top:
                raise ValueError(f"expected {name} up to {top}, got {values[name]}")
            options[name] = int(number) if name == "factor" else number
    return options
