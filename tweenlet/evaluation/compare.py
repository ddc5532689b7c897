"""Compare: methods on one clip of the user's own, by hiding every other frame and recreating it.

    frames of the clip   0   1   2   3   4   5   6   7   8  ...
    input                0       2       4       6       8          every other one
    hidden, recreated                3       5       7              compared with the original

    clip --decoded once, small--> windows of 7 frames --+--> usable ones, evenly spread --> HiddenFrames
                                                        `--> skipped and counted: cuts, repeats, uneven time

The inputs are twice as far apart as when the whole clip is interpolated, which is therefore easier.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import torch

from tweenlet import video
from tweenlet.evaluation.catalogue import METRICS
from tweenlet.evaluation.report import Report
from tweenlet.evaluation.run import Progress
from tweenlet.evaluation.samples import SPAN, TRUTH, Benchmark, Clip, half_way
from tweenlet.runtime.tables import cell, table
from tweenlet.video.scene_detection import change, is_cut, thumbnail

REPEAT = 0.05
"""Largest change, as a share of the largest in its window, that counts as a repeated frame.

In 49 of 55 clips of natural video no share is under 0.09 (the others have cuts, or steps that look like
repeats); in clips whose frames were doubled and coded again (H.264 at crf 28 and 35, MPEG-4) the largest is
0.04. Training uses a fixed threshold, which here would skip every shot with little motion.
"""
STILL = 1e-4
"""Largest change, in [0, 1], caused by video coding alone where nothing moves; a fifth of training's."""
MOSTLY_REPEATS = 0.9
"""Share of windows with repeated frames above which a clip is refused."""
CUTS, REPEATS, TIMES = "cuts", "repeated frames", "uneven time"
"""Reasons to skip a window. Across a cut the hidden frame cannot be predicted, blending recreates repeated
frames perfectly, and at uneven times the hidden frame is not half-way.
"""
_SURVEY_SIZE = (160, 90)
"""Width and height, in pixels, at which a clip is surveyed."""


@dataclass(frozen=True)
class HiddenFrames:
    """The hidden frames of a clip, as a benchmark with their times."""

    benchmark: Benchmark
    times: Mapping[int, Fraction]
    """Display time in seconds by frame number from 0; empty for images, which have no times."""

    def moment(self, sample: str) -> str:
        """Describe the hidden frame of a sample: its number and, if known, its time."""
        number = int(sample.rpartition("/")[2]) + TRUTH
        time = f" ({float(self.times[number]):.2f} s)" if number in self.times else ""
        return f"frame {number}{time}"


def resolve_clip(path: Path) -> Path:
    """Resolve the path of a clip so that it ends in the clip's name, also for ``.`` and ``..``.

    Raises:
        FileNotFoundError: there is no such video or folder.

    """
    if not path.exists():
        raise FileNotFoundError(f"no such video or folder of frames: {path}")
    return path.resolve() if path.name in ("", "..") else path.parent.resolve() / path.name


def hide_frames(path: Path, most: int = 50, progress: Progress | None = None) -> HiddenFrames:
    """Choose the frames of a clip to hide: every other one, or ``most`` of them, spread evenly.

    The clip is decoded once.

    Args:
        path: a video or a folder of frames.
        most: maximum number of hidden frames, at least 1.
        progress: called with the frames decoded so far and about how many there are.

    Raises:
        FileNotFoundError: there is no such clip.
        ValueError: the path is not a clip; it has fewer than seven frames or repeats nearly all of them; or
            every window has a cut, a repeated frame or uneven times.

    """
    path = resolve_clip(path)
    if most < 1:
        raise ValueError(f"expected to hide a frame or more, got {most}")
    survey = _survey(path, progress)
    if (frames := len(survey.times)) < SPAN:
        text = f"{frames} frame{'' if frames == 1 else 's'}"
        raise ValueError(f"{path} has {text}: expected {SPAN} or more, for two on each side of a hidden one")
    starts = range(0, frames - SPAN + 1, 2)
    reasons = {start: _reason_to_skip(survey, start) for start in starts}
    good = [start for start, reason in reasons.items() if not reason]
    left_out = Counter(reason for reason in reasons.values() if reason)
    skipped = ", ".join(f"{left_out[why]} for {why}" for why in (CUTS, REPEATS, TIMES) if left_out[why])
    if (repeats := left_out[REPEATS]) and repeats >= MOSTLY_REPEATS * (len(starts) - left_out[CUTS]):
        raise ValueError(
            f"{path} repeats its frames (in {repeats} of {len(starts)} windows of {SPAN}): use one without "
            "repeats, such as ffmpeg's filter mpdecimate makes"
        )
    if not good:
        raise ValueError(
            f"{path} has no frame to compare on: all its windows of {SPAN} are left out, {skipped}"
        )
    count = min(most, len(good))
    chosen = tuple(good[(2 * i + 1) * len(good) // (2 * count)] for i in range(count))
    notes = [
        "every other frame hidden" + (f", {count} of {len(good)} recreated" if count < len(good) else ""),
        "the input frames are twice as far apart as in real use, which is harder",
        *([f"windows left out: {skipped}"] if skipped else []),
    ]
    benchmark = Benchmark(path.name, (Clip(path, chosen),), note="; ".join(notes))
    numbers = () if survey.images else tuple(start + TRUTH for start in chosen)
    return HiddenFrames(benchmark, {number: survey.times[number] for number in numbers})


def verdict(report: Report) -> str:
    """Say which method is best on the clip, by how much and at what time per frame, in Markdown."""
    metric = report.metrics[0]
    means = {name: METRICS[metric].goodness(report.mean(metric, name)) for name in report.names}
    best, *others = sorted(report.names, key=means.__getitem__, reverse=True)
    opening = f"**{cell(best)}** scores {_mean(report, best)} at {_time(report, best)}"
    if not others:
        return f"{opening} a frame."
    differences = {name: report.advantage(metric, best, name) for name in others}
    apart = differences[others[0]]
    if apart.p is None:
        few = "1 hidden frame is" if report.count == 1 else f"{report.count} hidden frames are"
        return f"{opening} a frame, but {few} too few, or too alike, to say which is better."
    level = [name for name, difference in differences.items() if not difference.sure]
    if level:
        same = ", ".join(f"**{cell(name)}** ({_mean(report, name)}, {_time(report, name)})" for name in level)
        quickest = min([best, *level], key=lambda name: report.mean("seconds", name))
        advice = "" if quickest == best else f" **{cell(quickest)}** is the quickest of them."
        return f"{opening} a frame, but is no better than {same}: the difference is within noise.{advice}"
    sign = 1 if apart.mean > 0 else -1
    low, high = sorted(sign * end for end in apart.interval) if apart.interval else (0.0, 0.0)
    digits, unit = METRICS[metric].digits, _unit(metric)
    wins = _count_wins(report)
    share, ties = wins[best] / report.count, ", counting ties," if _has_ties(wins, report) else ","
    return (
        f"**{cell(best)}** restores this clip best: {_mean(report, best)}, "
        f"{abs(apart.mean):.{digits}f}{unit} ahead of {cell(others[0])}, the next (95 % interval "
        f"{low:.{digits}f} to {high:.{digits}f}). It was the best on {share:.0%} of the hidden frames{ties} "
        f"and takes {_time(report, best)} a frame; {cell(others[0])} takes {_time(report, others[0])}."
    )


def weakness_table(report: Report, moment: Callable[[str], str]) -> str:
    """Table of how often each method was the best, and of its worst frame, in Markdown.

    Args:
        report: scores of one clip.
        moment: describes a sample by its frame and time, as :meth:`HiddenFrames.moment`.

    """
    metric = report.metrics[0]
    wins = _count_wins(report)
    rows = []
    for name in report.names:
        (sample,) = report.worst(name, 1)
        value = next(s.values[metric] for s in report.scores if (s.method, s.sample) == (name, sample))
        rows.append(
            (
                cell(name),
                f"{wins[name] / report.count:.0%}",
                f"{report.mean('seconds', name):.3f}",
                f"{value:.{METRICS[metric].digits}f}",
                moment(sample),
            )
        )
    markdown = table(("method", "best on", "s / frame", f"worst {METRICS[metric].label}", "at"), rows)
    return f"{markdown}\n\nA tie counts for each method." if _has_ties(wins, report) else markdown


def failures(report: Report, count: int = 10) -> list[str]:
    """Names of samples on which methods fail: the worst of every method, then the second worst, ..."""
    lists = [report.worst(name, report.count) for name in report.names]
    turns = (sample for turn in zip(*lists, strict=True) for sample in turn)
    return list(dict.fromkeys(turns))[:count]


@dataclass(frozen=True)
class _ClipSurvey:
    """A few numbers about each frame of a clip."""

    times: list[Fraction]
    """Display time of each frame, in seconds."""
    changes: list[float]
    """Mean absolute difference of each frame but the first from the previous one, in [0, 1]."""
    cuts: list[bool]
    """Whether there is a scene change before each frame but the first."""
    images: bool
    """Whether the frames are image files, whose times mean nothing."""


def _survey(path: Path, progress: Progress | None) -> _ClipSurvey:
    """Decode a clip once, at a small size. Raises ValueError if it is damaged."""
    width, height = _SURVEY_SIZE
    times, changes, steps = [], [], []
    previous, previous_thumbnail = None, None
    with video.read(path, strict=True) as reader:
        for frame in reader:
            small = frame.picture.reformat(width, height, "rgb24", interpolation="AREA").to_ndarray()
            picture = torch.from_numpy(small).permute(2, 0, 1) / 255
            current = thumbnail(picture)
            if previous is not None and previous_thumbnail is not None:
                changes.append(float((picture - previous).abs().mean()))
                steps.append(change(previous_thumbnail, current))
            times.append(frame.time)
            previous, previous_thumbnail = picture, current
            if progress is not None:
                progress(len(times), reader.frame_count)
        images = reader.rate is None
    around = zip([None, *steps], steps, [*steps[1:], None], strict=False)
    return _ClipSurvey(
        times, changes, [is_cut(step, before, after) for before, step, after in around], images
    )


def _reason_to_skip(survey: _ClipSurvey, start: int) -> str:
    """Why the window at ``start`` is unusable; empty if it is usable."""
    within = slice(start, start + SPAN - 1)
    least, *_, second, largest = sorted(survey.changes[within])
    if least <= max(REPEAT * second, STILL):  # among repeated frames, any motion stands out like a cut
        return REPEATS
    if any(survey.cuts[within]):
        return CUTS
    if least <= REPEAT * largest:
        return REPEATS
    return "" if half_way(survey.times[start : start + SPAN]) else TIMES


def _count_wins(report: Report) -> dict[str, int]:
    """Count the samples on which each method has the best value; a tie counts for each method."""
    metric = report.metrics[0]
    wins = dict.fromkeys(report.names, 0)
    step = len(report.names)
    for start in range(0, len(report.scores), step):
        scores = report.scores[start : start + step]
        goodness = [METRICS[metric].goodness(score.values[metric]) for score in scores]
        for score, own in zip(scores, goodness, strict=True):
            wins[score.method] += own == max(goodness)
    return wins


def _has_ties(wins: Mapping[str, int], report: Report) -> bool:
    """Whether methods tied on some sample, so that wins add up to more than the samples."""
    return sum(wins.values()) > report.count


def _mean(report: Report, name: str) -> str:
    metric = report.metrics[0]
    return f"{report.mean(metric, name):.{METRICS[metric].digits}f}{_unit(metric)}"


def _unit(metric: str) -> str:
    return " dB" if "dB" in METRICS[metric].label else ""


def _time(report: Report, name: str) -> str:
    seconds = report.mean("seconds", name)
    return f"{seconds:.2f} s" if seconds >= 0.1 else f"{1000 * seconds:.0f} ms"
