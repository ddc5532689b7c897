"""Report: all scores of one run, their statistics, and everything needed to reproduce them.

Score, Score, ... --> Report --+--> markdown()            for the terminal
                               +--> to_json(), from_json  for programs
                               `--> page.page(report)     for the browser
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from statistics import fmean
from typing import Any

from tweenlet.evaluation import statistics
from tweenlet.evaluation.catalogue import METRICS
from tweenlet.evaluation.published import Published
from tweenlet.evaluation.published import table as published_table
from tweenlet.evaluation.statistics import Difference, Values
from tweenlet.runtime.tables import cell, table

TIMES = ("seconds", "cpu_seconds")
MOST_SEQUENCES = 100
"""Most sequences to list in rows of their own."""


@dataclass(frozen=True)
class Score:
    """One method on one sample."""

    method: str
    sample: str
    sequence: str
    size: tuple[int, int]
    """Width and height in pixels."""
    values: Mapping[str, float]
    """Values by the names of METRICS."""
    seconds: float
    """Wall time for the frame."""
    cpu_seconds: float
    """Processor time for the frame, child processes included."""


@dataclass(frozen=True)
class MethodInfo:
    """Description of a method."""

    name: str
    parameters: int = 0
    digest: str = ""
    """SHA-256 of the weights, file or command; empty if there are none."""
    description: str = ""
    """One line: the file, the command or a phrase."""


@dataclass(frozen=True)
class Report:
    """All scores of one run, and everything needed to reproduce them."""

    benchmark: str
    entrants: tuple[MethodInfo, ...]
    """The methods; the others are compared with the first."""
    metrics: tuple[str, ...]
    """Names of METRICS; the first determines the worst samples."""
    scores: tuple[Score, ...]
    """Scores by sample, in the order of the benchmark, and then by method, in the order of the entrants."""
    version: str
    machine: str
    date: str
    two_frames: bool = False
    by_sequence: bool = False
    note: str = ""
    skipped: tuple[tuple[str, str], ...] = ()
    """Samples that could not be read, and why."""
    whole: bool = True
    """Whether all samples of the benchmark as published were scored."""
    published: tuple[Published, ...] = ()
    """Other people's results on the benchmark, to show beside."""
    sources: tuple[str, ...] = ()
    """Attribution of the clips, a line each (:attr:`Benchmark.sources`)."""

    @property
    def sequences(self) -> list[str]:
        """Names of the sequences, in order of appearance."""
        return list(dict.fromkeys(score.sequence for score in self.scores))

    @property
    def names(self) -> list[str]:
        """Names of the entrants."""
        return [entrant.name for entrant in self.entrants]

    @property
    def count(self) -> int:
        """Number of samples scored."""
        return len(self.scores) // len(self.entrants)

    @property
    def sequences_tell(self) -> bool:
        """Whether rows per sequence add information, and are few enough to read."""
        return 1 < len(self.sequences) <= min(MOST_SEQUENCES, self.count - 1)

    def values(self, field: str, method: str) -> Values:
        """One metric (or "seconds", "cpu_seconds") of one method, sequence by sequence."""
        by_sequence: dict[str, list[float]] = {sequence: [] for sequence in self.sequences}
        for score in self.scores:
            if score.method == method:
                value = getattr(score, field) if field in TIMES else score.values[field]
                by_sequence[score.sequence].append(value)
        return list(by_sequence.values())

    def mean(self, field: str, method: str, sequence: str | None = None) -> float:
        """The mean of a metric or a time as the benchmark defines it, or the mean within one sequence."""
        values = self._additive(field, method)
        if sequence is not None:
            return _back(field, fmean(values[self.sequences.index(sequence)]))
        return _back(field, statistics.mean(values, self.by_sequence and field not in TIMES))

    def interval(self, metric: str, method: str) -> tuple[float, float] | None:
        """The 95 % interval of the mean (:func:`statistics.interval`)."""
        ends = statistics.interval(self._additive(metric, method), self.by_sequence)
        return None if ends is None else (_back(metric, ends[0]), _back(metric, ends[1]))

    def difference(self, metric: str, first: str, second: str) -> Difference:
        """Difference of the first method from the second (:func:`statistics.difference`).

        For a metric with a geometric mean, the ratio is tested, and expressed as a difference from the
        second's mean.
        """
        pair = self._additive(metric, first), self._additive(metric, second)
        apart = statistics.difference(*pair, self.by_sequence)
        if not _geometric(metric):
            return apart
        base = self.mean(metric, second)
        low, high = (base * math.expm1(end) for end in apart.interval or (0.0, 0.0))
        return Difference(base * math.expm1(apart.mean), (low, high) if apart.interval else None, apart.p)

    def advantage(self, metric: str, first: str, second: str) -> Difference:
        """How much better the first method is than the second, tested as :meth:`difference` is.

        For a metric that should be near 1 the distances from it are compared, in natural logarithms;
        otherwise this is the difference.
        """
        if METRICS[metric].better != "nearer to 1":
            return self.difference(metric, first, second)
        goodness = METRICS[metric].goodness
        better, worse = (
            [[goodness(value) for value in own] for own in self.values(metric, name)]
            for name in (first, second)
        )
        return statistics.difference(better, worse, self.by_sequence)

    def _additive(self, field: str, method: str) -> Values:
        """:meth:`values` on the scale of averaging."""
        values = self.values(field, method)
        return [[math.log(v) for v in own] for own in values] if _geometric(field) else values

    def worst(self, method: str, count: int) -> list[str]:
        """Names of the samples on which a method scored worst by the first metric, worst first."""
        metric = self.metrics[0]
        own = [score for score in self.scores if score.method == method]
        worst_first = sorted(own, key=lambda score: METRICS[metric].goodness(score.values[metric]))
        return [score.sample for score in worst_first[:count]]

    @property
    def protocol(self) -> str:
        """The protocol in a line: number of samples, items of the mean, input frames."""
        average = "mean of the means of sequences" if self.by_sequence else "mean"
        sequences = len(self.sequences)
        clauses = [f"{average} of {_counted(self.count, 'sample')} in {_counted(sequences, 'sequence')}"]
        if self.two_frames:
            clauses.append("two frames only: the outer ones are these, repeated")
        if self.skipped:
            clauses.append(f"{len(self.skipped)} SKIPPED, so this is no result of the whole benchmark")
        return "; ".join([*clauses, self.note] if self.note else clauses)

    @property
    def notes(self) -> str:
        """Definitions of the metrics, in a line."""
        notes = (f"{METRICS[metric].label}: {METRICS[metric].note}" for metric in self.metrics)
        return f"{'; '.join(notes)}."

    @property
    def origin(self) -> str:
        """Version, date and machine, in a line."""
        return f"tweenlet {self.version}, {self.date}, {self.machine}"

    def summary(self) -> str:
        """Table of means, one row per method."""
        head = (
            "method",
            *(METRICS[m].label for m in self.metrics),
            "s / frame",
            "CPU s / frame",
            "parameters",
        )
        rows = [
            (
                cell(entrant.name),
                *(_digits(m, self.mean(m, entrant.name)) for m in self.metrics),
                *(f"{self.mean(time, entrant.name):.3f}" for time in TIMES),
                f"{entrant.parameters:,}" if entrant.parameters else "-",
            )
            for entrant in self.entrants
        ]
        return table(head, rows)

    def certainty(self, metrics: Sequence[str] | None = None) -> str:
        """Tables of intervals, and of differences from the first method, by metric (default: all)."""
        first, *others = self.names
        rows = []
        for metric in metrics or self.metrics:
            metric_format = _MetricFormat(metric)
            rows.append(
                (
                    metric_format.label,
                    cell(first),
                    metric_format.interval(self.interval(metric, first)),
                    "",
                    "",
                    "",
                )
            )
            for other in others:
                apart = self.difference(metric, first, other)
                rows.append((
                    metric_format.label, cell(other), metric_format.interval(self.interval(metric, other)),
                    metric_format.gap(apart), metric_format.interval(apart.interval),
                    "too few" if apart.p is None else f"{apart.p:.2g}",
                ))  # fmt: skip
        head = ("metric", "method", "mean, 95 %", f"{cell(first)} minus it", "minus, 95 %", "p")
        return table(head, rows, names=2)

    def agreement(self) -> list[str]:
        """For every published PSNR, whether the measurement of the same name agrees; lines of Markdown."""
        comparable = self.whole and not self.skipped and "psnr" in self.metrics
        lines = []
        for entry in self.published:
            if entry.method in self.names and "psnr" in entry.values:
                measured = self.mean("psnr", entry.method) if comparable else None
                lines.append(entry.verdict(measured))
        if self.published and not lines:
            names = ", ".join(dict.fromkeys(cell(entry.method) for entry in self.published))
            lines = [f"Nothing measured has the name of a published method ({names}); LABEL=FILE gives one."]
        return lines

    def per_sequence(self) -> str:
        """Table of the first metric, one row per sequence."""
        metric = self.metrics[0]
        rows = [
            (cell(sequence), *(_digits(metric, self.mean(metric, name, sequence)) for name in self.names))
            for sequence in self.sequences
        ]
        return table((METRICS[metric].label, *map(cell, self.names)), rows)

    def markdown(self) -> str:
        """Everything but the single scores, in Markdown."""
        units = statistics.unit_name(self.values(self.metrics[0], self.names[0]))
        parts = [
            f"**{cell(self.benchmark)}**: {self.protocol}",
            self.summary(),
            f"Confidence intervals (bootstrap over {units}; paired sign-flip test):",
            self.certainty(),
        ]
        if self.sequences_tell:
            parts.append(self.per_sequence())
        parts += filter(None, (published_table(self.published), "\n".join(self.agreement())))
        if self.skipped:
            lines = [f"- {cell(name)}: {cell(why)}" for name, why in self.skipped]
            parts.append("\n".join(["Skipped:", *lines]))
        if self.sources:
            parts.append("\n".join(["Clips:", *(f"- {cell(source)}" for source in self.sources)]))
        return "\n\n".join([*parts, f"{self.notes}\n{self.origin}"]) + "\n"

    def to_json(self) -> dict[str, Any]:
        """Everything as plain JSON types, with means and intervals in addition to the scores."""
        means = {
            name: {field: self.mean(field, name) for field in (*self.metrics, *TIMES)} for name in self.names
        }
        intervals = {
            name: {metric: self.interval(metric, name) for metric in self.metrics} for name in self.names
        }
        first, *others = self.names
        apart = {
            name: {metric: asdict(self.difference(metric, first, name)) for metric in self.metrics}
            for name in others
        }
        return {**asdict(self), "means": means, "intervals": intervals, "first_minus": apart}

    def dumps(self) -> str:
        """:meth:`to_json` as text, with a line for each score."""
        plain = self.to_json()
        scores = ",\n".join(json.dumps(score, allow_nan=False) for score in plain.pop("scores"))
        return f'{json.dumps(plain, indent=1, allow_nan=False)[:-2]},\n "scores": [\n{scores}\n ]\n}}\n'

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Report:
        """The inverse of :meth:`to_json`; ValueError for anything else. Older reports have no ``sources``."""
        try:
            whole = {"sources": (), **values}
            plain = {field.name: whole[field.name] for field in fields(cls)}
            plain["sources"] = tuple(plain["sources"])
            plain["entrants"] = tuple(_method_info(entrant) for entrant in plain["entrants"])
            plain["scores"] = tuple(score_from(score) for score in plain["scores"])
            plain["metrics"] = tuple(plain["metrics"])
            plain["skipped"] = tuple((name, why) for name, why in plain["skipped"])
            plain["published"] = tuple(Published(**entry) for entry in plain["published"])
            return cls(**plain)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ValueError(f"expected the JSON of a report, got something else: {error!r}") from error


def _method_info(values: Mapping[str, Any]) -> MethodInfo:
    """A MethodInfo from its JSON, in which older reports call the description "told"."""
    return MethodInfo(**{"description" if name == "told" else name: value for name, value in values.items()})


def score_from(values: Mapping[str, Any]) -> Score:
    """A Score from its JSON; TypeError or ValueError for anything else."""
    score = Score(**{**values, "size": tuple(values["size"]), "values": dict(values["values"])})
    texts = score.method, score.sample, score.sequence
    numbers = *score.values.values(), score.seconds, score.cpu_seconds
    sizes = [side for side in score.size if isinstance(side, int) and side > 0]
    if not all(isinstance(text, str) for text in texts) or len(sizes) != 2 or len(score.size) != 2:
        raise TypeError(f"expected names and a size, got {texts} and {score.size}")
    if not all(isinstance(number, int | float) and abs(number) < math.inf for number in numbers):
        raise TypeError(f"expected finite numbers, got {numbers}")
    return score


class _MetricFormat:
    """Formatting of one metric."""

    def __init__(self, metric: str) -> None:
        self.label, self._metric = METRICS[metric].label, metric

    def interval(self, ends: tuple[float, float] | None) -> str:
        return "too few" if ends is None else " to ".join(_digits(self._metric, end) for end in ends)

    def gap(self, apart: Difference) -> str:
        """A difference, marked as noise if it may be."""
        value = f"{apart.mean:+.{METRICS[self._metric].digits}f}"
        return value if apart.sure or apart.p is None else f"noise ({value})"


def _geometric(field: str) -> bool:
    return field not in TIMES and METRICS[field].geometric


def _back(field: str, value: float) -> float:
    """Convert from the scale of averaging to that of the metric."""
    return math.exp(value) if _geometric(field) else value


def _counted(count: int, unit: str) -> str:
    return f"{count} {unit}{'' if count == 1 else 's'}"


def _digits(metric: str, value: float) -> str:
    return f"{value:.{METRICS[metric].digits}f}"
