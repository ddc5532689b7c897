"""Report: what came of a bench or a race, as a table and as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

from tweenlet.bench.clock import Seconds
from tweenlet.bench.roofline import Ceilings
from tweenlet.bench.subjects import Subject


@dataclass(frozen=True)
class Result:
    """How fast one subject is at one frame size."""

    subject: Subject
    width: int
    height: int
    threads: int
    first: float
    """Wall seconds of the first frame, with all that is prepared for it."""
    whole: Seconds
    """For one new frame."""
    parts: Mapping[str, Seconds]
    """By part, where the engine runs them one by one: eager only."""
    multiply_adds: Mapping[str, int]
    """By part, for one new frame, and of all; none for a foreign network."""
    moved: Mapping[str, int] = field(default_factory=dict)
    """Bytes that its layers read and write, likewise, each number taking what it takes in the dtype."""
    device: str = "cpu"
    peaks: Mapping[str, int] = field(default_factory=dict)
    """Bytes taken at most, beyond the process with the network and the frames loaded: of "all", by part."""

    def share(self, part: str, ceilings: Ceilings) -> float | None:
        """The rate of multiply-adds of a part, or "all", as a share of the ceiling; None if it has none."""
        work, took = self.multiply_adds.get(part), self._took(part)
        if not work or took is None:
            return None
        return work / 1e9 / took / ceilings.convolution

    def floor(self, part: str, ceilings: Ceilings) -> float | None:
        """The seconds that a part, or "all", takes under the roofline; None if it has no work."""
        work, moved = self.multiply_adds.get(part), self.moved.get(part)
        if not work or moved is None:
            return None
        return max(work / 1e9 / ceilings.convolution, moved / 1e9 / ceilings.copy)

    def reached(self, part: str, ceilings: Ceilings) -> float | None:
        """That as a share of the seconds that it took."""
        floor, took = self.floor(part, ceilings), self._took(part)
        return None if floor is None or took is None else floor / took

    def _took(self, part: str) -> float | None:
        took = self.whole if part == "all" else self.parts.get(part)
        return None if took is None else took.median[0]


@dataclass(frozen=True)
class Report:
    """Results of one run on one machine, as a table and as JSON."""

    machine: str
    torch: str
    ceilings: Mapping[str, Ceilings]
    """By dtype."""
    results: tuple[Result, ...]
    failures: Mapping[str, str] = field(default_factory=dict)
    """By subject: why it could not be run."""

    def dumps(self) -> str:
        """The report as JSON."""
        return json.dumps(
            {**asdict(self), "results": [_plain(r, self.ceilings) for r in self.results]}, indent=1
        )

    def table(self) -> str:
        """The report for people."""
        lines = [f"{self.machine}; torch {self.torch}"]
        for dtype, found in self.ceilings.items():
            lines.append(
                f"ceilings in {dtype}: {found.convolution:.1f} G multiply-adds/s in a convolution, "
                f"{found.copy:.1f} GB/s in a copy (read and written)"
            )
        for result in self.results:
            lines += [
                "",
                f"{result.subject}   {result.width}x{result.height}, {result.threads} threads, "
                f"median of {len(result.whole.wall)}: {1 / result.whole.median[0]:.2f} frames/s, "
                f"first frame {result.first:.2f} s",
                f"  {'part':16}{'wall ms':>10}{'CPU ms':>10}{'peak MB':>10}{'multiply-adds':>16}"
                f"{'of ceiling':>12}{'moved':>10}{'at least ms':>13}{'reached':>9}",
            ]
            ceilings = self.ceilings[result.subject.dtype]
            for name, took in {**result.parts, "all": result.whole}.items():
                wall, cpu = took.median
                peak = f"{result.peaks[name] / 1e6:.0f}" if name in result.peaks else ""
                told = f"  {name:16}{1e3 * wall:>10.1f}{1e3 * cpu:>10.1f}{peak:>10}"
                floor = result.floor(name, ceilings)
                if floor is not None:
                    told += (
                        f"{result.multiply_adds[name] / 1e9:>14.2f} G{result.share(name, ceilings):>12.0%}"
                        f"{result.moved[name] / 1e9:>7.2f} GB{1e3 * floor:>13.2f}"
                        f"{result.reached(name, ceilings):>9.0%}"
                    )
                lines.append(told.rstrip())
            if any((result.reached(name, ceilings) or 0) > 1 for name in (*result.parts, "all")):
                lines.append("  over 100 %: Winograd's method makes fewer multiply-adds than are counted")
        lines += [f"\n{subject}: {reason}" for subject, reason in self.failures.items()]
        return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class Race:
    """Subjects that took turns on one machine: the first of them against the others."""

    machine: str
    torch: str
    width: int
    height: int
    threads: int
    subjects: tuple[str, ...]
    times: Mapping[str, Seconds]

    def ratios(self, other: str) -> tuple[list[float], list[float]]:
        """How many times longer ``other`` took than the first, pair by pair: by wall and by CPU time."""
        first, second = self.times[self.subjects[0]], self.times[other]
        return (
            [b / a for a, b in zip(first.wall, second.wall, strict=True)],
            [b / a for a, b in zip(first.cpu, second.cpu, strict=True)],
        )

    def dumps(self) -> str:
        """The race as JSON."""
        ratios = {
            other: dict(zip(("wall", "cpu"), self.ratios(other), strict=True)) for other in self.subjects[1:]
        }
        return json.dumps({**asdict(self), "ratios": ratios}, indent=1)

    def table(self) -> str:
        """For people: how long each took, then every pair, the median and how far the pairs spread."""
        lines = [
            f"{self.machine}; torch {self.torch}",
            f"{self.width}x{self.height}, {self.threads} threads, "
            f"medians of {len(self.times[self.subjects[0]].wall)} in turn",
        ]
        longest = max(map(len, self.subjects))
        for name in self.subjects:
            wall, cpu = self.times[name].median
            lines.append(f"  {name:{longest}}{1e3 * wall:>10.1f} ms{1e3 * cpu:>10.1f} CPU ms")
        lines.append("")
        for other in self.subjects[1:]:
            lines.append(f"{other} / {self.subjects[0]}, time against time")
            for kind, found in zip(("wall", "CPU"), self.ratios(other), strict=True):
                pairs = " ".join(f"{ratio:.2f}" for ratio in found)
                lines.append(
                    f"  {kind:5}{pairs}   median {median(found):.2f} ({min(found):.2f} to {max(found):.2f})"
                )
        return "\n".join(lines) + "\n"


def _plain(result: Result, found: Mapping[str, Ceilings]) -> dict[str, Any]:
    names = [*result.parts, "all"]
    ceilings = found[result.subject.dtype]
    wall, cpu = result.whole.median
    return {
        **asdict(result),
        "seconds": wall,
        "cpu_seconds": cpu,
        "share_of_ceiling": {name: result.share(name, ceilings) for name in names},
        "seconds_at_least": {name: result.floor(name, ceilings) for name in names},
        "share_of_roofline": {name: result.reached(name, ceilings) for name in names},
    }
