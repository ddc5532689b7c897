"""Report: the results of a bench or a race, as a table and as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

from tweenlet.bench.clock import Seconds
from tweenlet.bench.roofline import Ceilings
from tweenlet.bench.targets import Target


@dataclass(frozen=True)
class Result:
    """Times and memory of one target at one frame size."""

    target: Target
    width: int
    height: int
    threads: int
    first: float
    """Wall seconds of the first frame, including all set-up."""
    whole: Seconds
    """Times for one new frame."""
    parts: Mapping[str, Seconds]
    """Times by part; only for the eager engine, which runs them one by one."""
    multiply_adds: Mapping[str, int]
    """Multiply-adds per new frame, by part and for "all"; empty for networks outside the family."""
    bytes_moved: Mapping[str, int] = field(default_factory=dict)
    """Bytes that the layers read and write per new frame, by part and for "all", in the target's dtype."""
    device: str = "cpu"
    peaks: Mapping[str, int] = field(default_factory=dict)
    """Peak bytes beyond those with the network and the frames loaded, by part and for "all"."""

    def share(self, part: str, ceilings: Ceilings) -> float | None:
        """Rate of multiply-adds of a part, or "all", as a share of the ceiling; None if it has none."""
        work, seconds = self.multiply_adds.get(part), self._seconds(part)
        if not work or seconds is None:
            return None
        return work / 1e9 / seconds / ceilings.convolution

    def floor(self, part: str, ceilings: Ceilings) -> float | None:
        """Seconds that a part, or "all", needs at least according to the roofline; None if it has no work."""
        work, bytes_moved = self.multiply_adds.get(part), self.bytes_moved.get(part)
        if not work or bytes_moved is None:
            return None
        return max(work / 1e9 / ceilings.convolution, bytes_moved / 1e9 / ceilings.copy)

    def roofline_share(self, part: str, ceilings: Ceilings) -> float | None:
        """:meth:`floor` as a share of the measured seconds."""
        floor, seconds = self.floor(part, ceilings), self._seconds(part)
        return None if floor is None or seconds is None else floor / seconds

    def _seconds(self, part: str) -> float | None:
        times = self.whole if part == "all" else self.parts.get(part)
        return None if times is None else times.median[0]


@dataclass(frozen=True)
class Report:
    """Results of one run on one machine."""

    machine: str
    torch: str
    ceilings: Mapping[str, Ceilings]
    """Ceilings by dtype."""
    results: tuple[Result, ...]
    failures: Mapping[str, str] = field(default_factory=dict)
    """Reason why a target could not be run, by target."""

    def dumps(self) -> str:
        """The report as JSON."""
        return json.dumps(
            {**asdict(self), "results": [_to_json(r, self.ceilings) for r in self.results]}, indent=1
        )

    def table(self) -> str:
        """The report as text."""
        lines = [f"{self.machine}; torch {self.torch}"]
        for dtype, ceiling in self.ceilings.items():
            lines.append(
                f"ceilings in {dtype}: {ceiling.convolution:.1f} G multiply-adds/s in a convolution, "
                f"{ceiling.copy:.1f} GB/s in a copy (read and written)"
            )
        for result in self.results:
            lines += [
                "",
                f"{result.target}   {result.width}x{result.height}, {result.threads} threads, "
                f"median of {len(result.whole.wall)}: {1 / result.whole.median[0]:.2f} frames/s, "
                f"first frame {result.first:.2f} s",
                f"  {'part':16}{'wall ms':>10}{'CPU ms':>10}{'peak MB':>10}{'multiply-adds':>16}"
                f"{'of ceiling':>12}{'moved':>10}{'at least ms':>13}{'reached':>9}",
            ]
            ceilings = self.ceilings[result.target.dtype]
            for name, times in {**result.parts, "all": result.whole}.items():
                wall, cpu = times.median
                peak = f"{result.peaks[name] / 1e6:.0f}" if name in result.peaks else ""
                line = f"  {name:16}{1e3 * wall:>10.1f}{1e3 * cpu:>10.1f}{peak:>10}"
                floor = result.floor(name, ceilings)
                if floor is not None:
                    line += (
                        f"{result.multiply_adds[name] / 1e9:>14.2f} G{result.share(name, ceilings):>12.0%}"
                        f"{result.bytes_moved[name] / 1e9:>7.2f} GB{1e3 * floor:>13.2f}"
                        f"{result.roofline_share(name, ceilings):>9.0%}"
                    )
                lines.append(line.rstrip())
            if any((result.roofline_share(name, ceilings) or 0) > 1 for name in (*result.parts, "all")):
                lines.append("  over 100 %: Winograd's method needs fewer multiply-adds than are counted")
        lines += [f"\n{target}: {reason}" for target, reason in self.failures.items()]
        return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class Race:
    """Targets that alternated on one machine: the first of them against the others."""

    machine: str
    torch: str
    width: int
    height: int
    threads: int
    targets: tuple[str, ...]
    times: Mapping[str, Seconds]

    def ratios(self, other: str) -> tuple[list[float], list[float]]:
        """Time of ``other`` divided by that of the first target, pair by pair, for wall and for CPU time."""
        first, second = self.times[self.targets[0]], self.times[other]
        return (
            [b / a for a, b in zip(first.wall, second.wall, strict=True)],
            [b / a for a, b in zip(first.cpu, second.cpu, strict=True)],
        )

    def dumps(self) -> str:
        """The race as JSON."""
        ratios = {
            other: dict(zip(("wall", "cpu"), self.ratios(other), strict=True)) for other in self.targets[1:]
        }
        return json.dumps({**asdict(self), "ratios": ratios}, indent=1)

    def table(self) -> str:
        """The race as text: medians, then for each other target all ratios with median and range."""
        lines = [
            f"{self.machine}; torch {self.torch}",
            f"{self.width}x{self.height}, {self.threads} threads, "
            f"medians of {len(self.times[self.targets[0]].wall)} in turn",
        ]
        longest = max(map(len, self.targets))
        for name in self.targets:
            wall, cpu = self.times[name].median
            lines.append(f"  {name:{longest}}{1e3 * wall:>10.1f} ms{1e3 * cpu:>10.1f} CPU ms")
        lines.append("")
        for other in self.targets[1:]:
            lines.append(f"{other} / {self.targets[0]}, time against time")
            for kind, ratios in zip(("wall", "CPU"), self.ratios(other), strict=True):
                pairs = " ".join(f"{ratio:.2f}" for ratio in ratios)
                low, high = min(ratios), max(ratios)
                lines.append(f"  {kind:5}{pairs}   median {median(ratios):.2f} ({low:.2f} to {high:.2f})")
        return "\n".join(lines) + "\n"


def _to_json(result: Result, by_dtype: Mapping[str, Ceilings]) -> dict[str, Any]:
    names = [*result.parts, "all"]
    ceilings = by_dtype[result.target.dtype]
    wall, cpu = result.whole.median
    return {
        **asdict(result),
        "seconds": wall,
        "cpu_seconds": cpu,
        "share_of_ceiling": {name: result.share(name, ceilings) for name in names},
        "seconds_at_least": {name: result.floor(name, ceilings) for name in names},
        "share_of_roofline": {name: result.roofline_share(name, ceilings) for name in names},
    }
