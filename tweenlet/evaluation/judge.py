"""Judge: is a network worth its time on this very clip?

    frames of the clip   0   1   2   3   4   5   6   7   8  ...
    given                0       2       4       6       8          every other one
    hidden, made again               3       5       7              and held against what was hidden

    clip --seen once, small--> windows of 7 frames --+--> some good ones, evenly spread --> Hidden
                                                     `--> left out and counted: cuts, repeats, uneven time

What is given is twice as far apart as when the whole clip is interpolated, which is therefore easier.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import torch

from tweenlet import video
from tweenlet.evaluation.metrics import METRICS
from tweenlet.evaluation.report import Report
from tweenlet.evaluation.run import Progress
from tweenlet.evaluation.samples import SPAN, TRUTH, Benchmark, Clip, half_way
from tweenlet.evaluation.tables import cell, table
from tweenlet.video.scene_detection import change, is_cut, thumbnail

REPEAT = 0.05
"""A step that changes the picture by less than this share of its window's largest repeats the frame.

In 49 of 55 clips of natural video no share is under 0.09 (the others have cuts, or steps that look like
repeats); in clips whose frames were doubled and coded again (H.264 at crf 28 and 35, MPEG-4) the largest is
0.04. Training goes by a fixed change, which here would leave out every shot in which little moves.
"""
STILL = 1e-4
"""A change of the picture, in [0, 1], that coding makes where nothing moves: a fifth of training's."""
MOSTLY = 0.9
"""Share of the windows from which on a clip that repeats its frames is not judged at all."""
CUTS, REPEATS, TIMES = "cuts", "repeated frames", "uneven time"
"""Why windows are left out. At a cut nothing can know what was hidden, of repeated frames blending makes a
perfect one, and in uneven time what was hidden does not lie half-way.
"""
_GLANCE = (160, 90)
"""Width and height at which a clip is looked at."""


@dataclass(frozen=True)
class Hidden:
    """The hidden frames of a clip that are to be made again."""

    benchmark: Benchmark
    times: Mapping[int, Fraction]
    """When each is shown, in seconds, by its number from 0; nothing for images, which have no time."""

    def moment(self, sample: str) -> str:
        """The hidden frame of a sample, by number and, if that is known, by time."""
        number = int(sample.rpartition("/")[2]) + TRUTH
        seen = f" ({float(self.times[number]):.2f} s)" if number in self.times else ""
        return f"frame {number}{seen}"


def located(path: Path) -> Path:
    """The path of a clip with the clip's own name, which ``.`` and ``..`` do not tell.

    FileNotFoundError for no such video or folder.
    """
    if not path.exists():
        raise FileNotFoundError(f"no such video or folder of frames: {path}")
    return path.resolve() if path.name in ("", "..") else path.parent.resolve() / path.name


def hidden(path: Path, most: int = 50, progress: Progress | None = None) -> Hidden:
    """Every other frame of a clip (a video or a folder of frames), or ``most`` of them, spread evenly.

    The clip is decoded once to find them; ``progress`` is told how many frames were seen, of about how many.
    FileNotFoundError for no such clip; ValueError for what is no clip, has under seven frames, repeats nearly
    all of its frames, or has no window without a cut, a repeated frame or uneven time.
    """
    path = located(path)
    if most < 1:
        raise ValueError(f"expected to hide a frame or more, got {most}")
    course = _course(path, progress)
    if (frames := len(course.times)) < SPAN:
        seen = f"{frames} frame{'' if frames == 1 else 's'}"
        raise ValueError(f"{path} has {seen}: expected {SPAN} or more, to see two on each side of one")
    starts = range(0, frames - SPAN + 1, 2)
    troubles = {start: _trouble(course, start) for start in starts}
    good = [start for start, trouble in troubles.items() if not trouble]
    left_out = Counter(trouble for trouble in troubles.values() if trouble)
    told = ", ".join(f"{left_out[why]} for {why}" for why in (CUTS, REPEATS, TIMES) if left_out[why])
    if (repeats := left_out[REPEATS]) and repeats >= MOSTLY * (len(starts) - left_out[CUTS]):
        raise ValueError(
            f"{path} repeats its frames (in {repeats} of {len(starts)} windows of {SPAN}): judge a version "
            "without repeats, such as ffmpeg's filter mpdecimate makes"
        )
    if not good:
        raise ValueError(f"{path} has no frame to judge by: all its windows of {SPAN} are left out, {told}")
    count = min(most, len(good))
    chosen = tuple(good[(2 * i + 1) * len(good) // (2 * count)] for i in range(count))
    notes = [
        "every other frame hidden" + (f", {count} of {len(good)} made again" if count < len(good) else ""),
        "the given ones are twice as far apart as in real use, which is easier",
        *([f"windows left out: {told}"] if told else []),
    ]
    benchmark = Benchmark(path.name, (Clip(path, chosen),), note="; ".join(notes))
    numbers = () if course.images else tuple(start + TRUTH for start in chosen)
    return Hidden(benchmark, {number: course.times[number] for number in numbers})


def verdict(report: Report) -> str:
    """Which method is best on the clip, by how much, at what time for a frame: a paragraph of Markdown."""
    metric = report.metrics[0]
    means = {name: METRICS[metric].goodness(report.mean(metric, name)) for name in report.names}
    best, *others = sorted(report.names, key=means.__getitem__, reverse=True)
    told = f"**{cell(best)}** scores {_mean(report, best)} at {_time(report, best)}"
    if not others:
        return f"{told} a frame."
    differences = {name: report.difference(metric, best, name) for name in others}
    apart = differences[others[0]]
    if apart.p is None:
        few = "1 hidden frame is" if report.count == 1 else f"{report.count} hidden frames are"
        return f"{told} a frame, but {few} too few, or too alike, to say which is better."
    level = [name for name, difference in differences.items() if not difference.sure]
    if level:
        same = ", ".join(f"**{cell(name)}** ({_mean(report, name)}, {_time(report, name)})" for name in level)
        quickest = min([best, *level], key=lambda name: report.mean("seconds", name))
        advice = "" if quickest == best else f" **{cell(quickest)}** is the quickest of them."
        return f"{told} a frame, but is no better than {same}: the difference is inside the noise.{advice}"
    sign = 1 if apart.mean > 0 else -1
    low, high = sorted(sign * end for end in apart.interval) if apart.interval else (0.0, 0.0)
    digits, unit = METRICS[metric].digits, _unit(metric)
    wins = _best_on(report)
    share, draws = wins[best] / report.count, ", draws counted," if _drawn(wins, report) else ","
    return (
        f"**{cell(best)}** restores this clip best: {_mean(report, best)}, "
        f"{abs(apart.mean):.{digits}f}{unit} ahead of {cell(others[0])}, the next (95 % interval "
        f"{low:.{digits}f} to {high:.{digits}f}). It was the best on {share:.0%} of the hidden frames{draws} "
        f"and takes {_time(report, best)} a frame; {cell(others[0])} takes {_time(report, others[0])}."
    )


def where(report: Report, moment: Callable[[str], str]) -> str:
    """A table of how often each method was the best, and of the frame that it fails on most.

    ``moment`` tells of a sample when it is (:meth:`Hidden.moment`).
    """
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
                moment(sample),
            )
        )
    told = table(("method", "best on", "s / frame", f"worst {METRICS[metric].label}", "at"), rows)
    return f"{told}\n\nA draw counts for each who shares it." if _drawn(wins, report) else told


def failures(report: Report, count: int = 10) -> list[str]:
    """Names of samples that show where each method fails: the worst of every method, then the next, ..."""
    lists = [report.worst(name, report.count) for name in report.names]
    turns = (sample for turn in zip(*lists, strict=True) for sample in turn)
    return list(dict.fromkeys(turns))[:count]


@dataclass(frozen=True)
class _Course:
    """A clip as a few numbers a frame."""

    times: list[Fraction]
    """When each frame is shown, in seconds."""
    changes: list[float]
    """How far each but the first differs from the one before: the mean over a small picture, in [0, 1]."""
    cuts: list[bool]
    """Whether the scene changes there."""
    images: bool
    """Whether the frames are images, whose times mean nothing."""


def _course(path: Path, progress: Progress | None) -> _Course:
    """A clip decoded once; ValueError where it is damaged."""
    width, height = _GLANCE
    times, changes, steps = [], [], []
    last, last_look = None, None
    with video.read(path, strict=True) as reader:
        for frame in reader:
            small = frame.picture.reformat(width, height, "rgb24", interpolation="AREA").to_ndarray()
            glance = torch.from_numpy(small).permute(2, 0, 1) / 255
            look = thumbnail(glance)
            if last is not None and last_look is not None:
                changes.append(float((glance - last).abs().mean()))
                steps.append(change(last_look, look))
            times.append(frame.time)
            last, last_look = glance, look
            if progress is not None:
                progress(len(times), reader.frame_count)
        images = reader.rate is None
    around = zip([None, *steps], steps, [*steps[1:], None], strict=False)
    return _Course(times, changes, [is_cut(step, before, after) for before, step, after in around], images)


def _trouble(course: _Course, start: int) -> str:
    """Why the window at ``start`` cannot be judged by; empty if it can."""
    within = slice(start, start + SPAN - 1)
    least, *_, second, largest = sorted(course.changes[within])
    if least <= max(REPEAT * second, STILL):  # between repeated frames any motion stands out as a cut does
        return REPEATS
    if any(course.cuts[within]):
        return CUTS
    if least <= REPEAT * largest:
        return REPEATS
    return "" if half_way(course.times[start : start + SPAN]) else TIMES


def _best_on(report: Report) -> dict[str, int]:
    """On how many samples each method has the best value; a draw counts for all who share it."""
    metric = report.metrics[0]
    won = dict.fromkeys(report.names, 0)
    step = len(report.names)
    for start in range(0, len(report.scores), step):
        scores = report.scores[start : start + step]
        goodness = [METRICS[metric].goodness(score.values[metric]) for score in scores]
        for score, own in zip(scores, goodness, strict=True):
            won[score.method] += own == max(goodness)
    return won


def _drawn(wins: Mapping[str, int], report: Report) -> bool:
    """Whether methods were level on some sample, so that they were the best on more than there are."""
    return sum(wins.values()) > report.count


def _mean(report: Report, name: str) -> str:
    metric = report.metrics[0]
    return f"{report.mean(metric, name):.{METRICS[metric].digits}f}{_unit(metric)}"


def _unit(metric: str) -> str:
    return " dB" if "dB" in METRICS[metric].label else ""


def _time(report: Report, name: str) -> str:
    seconds = report.mean("seconds", name)
    return f"{seconds:.2f} s" if seconds >= 0.1 else f"{1000 * seconds:.0f} ms"
