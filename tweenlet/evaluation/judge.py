"""Judge: is a network worth its time on this very clip?

    frames of the clip   0   1   2   3   4   5   6   7   8  ...
    given                0       2       4       6       8          every other one
    hidden, made again               3       5       7              and held against what was hidden

Windows in which the scene cuts are left out: nothing can know what was there.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from tweenlet import video
from tweenlet.evaluation import statistics
from tweenlet.evaluation.metrics import METRICS
from tweenlet.evaluation.report import Report, cell, table
from tweenlet.evaluation.samples import SPAN, TRUTH, Benchmark, Clip, Damaged, Sample, everything
from tweenlet.scenes import change, is_cut, thumbnail


@dataclass(frozen=True)
class Uncut:
    """A clip without the windows in which the scene changes."""

    clip: Clip

    @property
    def name(self) -> str:
        """That of the clip."""
        return self.clip.name

    @property
    def count(self) -> None:
        """Only decoding can tell."""
        return

    def samples(self, wanted: Callable[[str], bool] = everything) -> Iterator[Sample | Damaged]:
        """The samples of the clip that hold no cut, in the order of time."""
        for sample in self.clip.samples(wanted):
            if isinstance(sample, Damaged) or not _cuts(sample):
                yield sample

    def part(self, number: int, of: int) -> Uncut:
        """As of the clip."""
        return replace(self, clip=self.clip.part(number, of))


def hidden(path: Path, most: int = 50) -> Benchmark:
    """Every other frame of a clip (a video or a folder of frames), or about ``most`` of them, spread evenly.

    FileNotFoundError for no such clip; ValueError for one of under seven frames, and for what is no clip.
    """
    if not path.exists():
        raise FileNotFoundError(f"no such video or folder of frames: {path}")
    if most < 1:
        raise ValueError(f"expected to hide a frame or more, got {most}")
    with video.read(path) as reader:
        frames = reader.frame_count or 0
        if 0 < frames < SPAN:
            raise ValueError(
                f"{path} has {frames} frames: expected {SPAN} or more, to see two on each side of one"
            )
    step = 2 * max(1, (frames - SPAN) // 2 // most + 1 if frames else 1)
    clip = Clip(path, range(0, sys.maxsize, step))
    note = (
        "every other frame hidden" if step == 2 else f"every other frame left out, one in {step} made again"
    )
    return Benchmark(path.name, (Uncut(clip),), note=note)


def verdict(report: Report) -> str:
    """Which method is best on the clip, by how much, at what time for a frame: a paragraph of Markdown."""
    metric = report.metrics[0]
    sign = 1 if METRICS[metric].better == "higher" else -1
    best, *others = sorted(report.names, key=lambda name: -sign * report.mean(metric, name))
    told = f"**{cell(best)}** scores {_mean(report, best)} at {_time(report, best)}"
    if not others:
        return f"{told} a frame."
    if statistics.unit_count(report.values(metric, best)) < statistics.FEW:
        return f"{told} a frame, but {report.count} hidden frames are too few to say which is better."
    level = [name for name in others if report.difference(metric, best, name).noise]
    if level:
        same = ", ".join(f"**{cell(name)}** ({_mean(report, name)}, {_time(report, name)})" for name in level)
        quickest = min([best, *level], key=lambda name: report.mean("seconds", name))
        advice = "" if quickest == best else f" **{cell(quickest)}** is the quickest of them."
        return f"{told} a frame, but is no better than {same}: the difference is inside the noise.{advice}"
    apart = report.difference(metric, best, others[0])
    low, high = sorted(sign * end for end in apart.interval) if apart.interval else (0.0, 0.0)
    digits, unit = METRICS[metric].digits, _unit(metric)
    share = _best_on(report)[best] / report.count
    return (
        f"**{cell(best)}** restores this clip best: {_mean(report, best)}, "
        f"{abs(apart.mean):.{digits}f}{unit} ahead of {cell(others[0])}, the next (95 % interval "
        f"{low:.{digits}f} to {high:.{digits}f}). It was the best on {share:.0%} of the hidden frames, "
        f"and takes {_time(report, best)} a frame; {cell(others[0])} takes {_time(report, others[0])}."
    )


def where(report: Report, rate: float | None) -> str:
    """A table of how often each method was the best, and of the frame that it fails on most."""
    metric = report.metrics[0]
    wins = _best_on(report)
    rows = []
    for name in report.names:
        (sample,) = report.worst(name, 1)
        value = next(s.values[metric] for s in report.scores if (s.method, s.sample) == (name, sample))
        seen = f"{value:.{METRICS[metric].digits}f}"
        rows.append(
            (
                cell(name),
                f"{wins[name] / report.count:.0%}",
                f"{report.mean('seconds', name):.3f}",
                seen,
                moment(sample, rate),
            )
        )
    return table(("method", "best on", "s / frame", f"worst {METRICS[metric].label}", "at"), rows)


def moment(sample: str, rate: float | None) -> str:
    """The hidden frame of a sample of a clip, by number from 0 and, at a known rate, by time."""
    number = int(sample.rpartition("/")[2]) + TRUTH
    return f"frame {number}" + (f" ({number / rate:.2f} s)" if rate else "")


def failures(report: Report, count: int = 10) -> list[str]:
    """Names of samples that show where each method fails: the worst of every method, then the next, ..."""
    lists = [report.worst(name, report.count) for name in report.names]
    turns = (sample for turn in zip(*lists, strict=True) for sample in turn)
    return list(dict.fromkeys(turns))[:count]


def _cuts(sample: Sample) -> bool:
    first, before, after, last = sample.frames
    looks = [thumbnail(picture) for picture in (first, before, sample.truth, after, last)]
    steps = [change(a, b) for a, b in pairwise(looks)]
    around = zip([None, *steps], steps, [*steps[1:], None], strict=False)
    return any(is_cut(step, earlier, later) for earlier, step, later in around)


def _best_on(report: Report) -> dict[str, int]:
    """On how many samples each method has the best value; a draw counts for the first of them."""
    metric = report.metrics[0]
    sign = 1 if METRICS[metric].better == "higher" else -1
    won = dict.fromkeys(report.names, 0)
    step = len(report.names)
    for start in range(0, len(report.scores), step):
        won[max(report.scores[start : start + step], key=lambda s: sign * s.values[metric]).method] += 1
    return won


def _mean(report: Report, name: str) -> str:
    metric = report.metrics[0]
    return f"{report.mean(metric, name):.{METRICS[metric].digits}f}{_unit(metric)}"


def _unit(metric: str) -> str:
    return " dB" if "dB" in METRICS[metric].label else ""


def _time(report: Report, name: str) -> str:
    seconds = report.mean("seconds", name)
    return f"{seconds:.2f} s" if seconds >= 0.1 else f"{1000 * seconds:.0f} ms"
