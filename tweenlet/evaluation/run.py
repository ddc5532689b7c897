"""Run: every method on every sample of a benchmark, for a Report.

    sequences -- read on all cores, one sample of each -+
                                                        +-> each method in turn, timed -> metrics on all cores
    methods --------------------------------------------+                                       |
    ledger (a file of scores, a line a sample) <----- written as soon as known -----------------+--> Report

Nothing is decoded or measured while a method is timed, and methods alternate on the same frames, so that
other load affects all alike. A run that was killed resumes with the same ledger.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tweenlet.evaluation.baselines.method import Method
from tweenlet.evaluation.catalogue import DEFAULT, METRICS, Metric
from tweenlet.evaluation.report import MethodInfo, Report, Score, score_from
from tweenlet.evaluation.samples import Benchmark, Sample, UnreadableSample
from tweenlet.inference.machine import describe_machine
from tweenlet.runtime.atomic import write_bytes_atomically
from tweenlet.runtime.cache import source_hash
from tweenlet.runtime.folders import claim_folder
from tweenlet.runtime.json_file import parse_json

Progress = Callable[[int, int | None], None]
"""Called after every sample with the number done and the total (None if only decoding can tell)."""


def evaluate(
    methods: Mapping[str, Method],
    benchmark: Benchmark,
    metrics: Mapping[str, Metric] | None = None,
    *,
    ledger: Path | None = None,
    overwrite: bool = False,
    skip_bad: bool = False,
    progress: Progress | None = None,
) -> Report:
    """Score and time every method on every sample.

    Each method runs the first sample of a frame size twice, because the first run includes set-up; the second
    one is timed.

    Args:
        methods: methods by label.
        benchmark: the samples.
        metrics: metrics by name; default: those of :data:`~tweenlet.evaluation.catalogue.DEFAULT`.
        ledger: file that receives each score as soon as it is computed; scores in it are not computed again.
        overwrite: start a new ledger, whatever it holds, unless another run is writing it.
        skip_bad: skip and list samples that cannot be read; otherwise the first one ends the run.
        progress: called with the samples done and their number, if known.

    Raises:
        ValueError: there is no method or no sample, a sample is unreadable, a frame has a wrong shape, or the
            ledger is of another run.

    """
    metrics = metrics or {name: METRICS[name] for name in DEFAULT}
    entrants = tuple(describe_method(name, method) for name, method in methods.items())
    book = _Ledger(ledger, _head(entrants, benchmark, metrics) if ledger else {}, overwrite)
    pool = ThreadPoolExecutor(os.cpu_count())
    warm: set[tuple[str, torch.Size]] = set()

    def is_new(name: str) -> bool:
        return name not in book.finished

    with book, pool:
        for batch in _read_in_parallel(benchmark, is_new, pool):
            for place, sample in batch:
                if isinstance(sample, UnreadableSample):
                    if not skip_bad:
                        raise ValueError(f"{sample.name} cannot be used: {sample.reason}")
                    book.skip(place, sample)
                else:
                    book.add(place, sample.name, _scores(methods, sample, metrics, warm, pool))
                if progress is not None:
                    progress(len(book.finished), benchmark.count)
    if not (scores := book.scores()):
        raise ValueError(f"nothing to evaluate: {len(methods)} methods, and no sample in {benchmark.name}")
    return Report(
        benchmark.name, entrants, tuple(metrics), scores, code_version(), describe_machine(), book.date,
        benchmark.two_frames, benchmark.by_sequence, benchmark.note, book.skipped_samples(), benchmark.whole,
        sources=benchmark.sources,
    )  # fmt: skip


def _read_in_parallel(
    benchmark: Benchmark, select: Callable[[str], bool], pool: ThreadPoolExecutor
) -> Iterator[list[tuple[int, Sample | UnreadableSample]]]:
    """Yield samples with the index of their sequence, reading one sequence per core at a time."""
    pending = ((place, iter(s.samples(select))) for place, s in enumerate(benchmark.sequences))
    active: list[tuple[int, Iterator[Sample | UnreadableSample]]] = []
    while True:
        while len(active) < (os.cpu_count() or 1) and (one := next(pending, None)) is not None:
            active.append(one)
        if not active:
            return
        read = list(pool.map(lambda one: next(one[1], None), active))
        batch = [
            (place, sample) for (place, _), sample in zip(active, read, strict=True) if sample is not None
        ]
        active = [one for one, sample in zip(active, read, strict=True) if sample is not None]
        if batch:
            yield batch


def _scores(
    methods: Mapping[str, Method],
    sample: Sample,
    metrics: Mapping[str, Metric],
    warm: set[tuple[str, torch.Size]],
    pool: ThreadPoolExecutor,
) -> list[Score]:
    """Run and time each method in turn, then compute all metrics in parallel."""
    outputs, times = {}, {}
    for name, method in methods.items():
        if (now := (name, sample.truth.shape)) not in warm:
            method(sample.frames)
            warm.add(now)
        wall, cpu = time.perf_counter(), _cpu_seconds()
        outputs[name] = method(sample.frames).cpu()
        times[name] = time.perf_counter() - wall, _cpu_seconds() - cpu
        _check(name, outputs[name], sample)

    def measure(task: tuple[str, str]) -> float:
        name, metric = task
        try:
            value = metrics[metric].measure(outputs[name], sample.truth, sample.frames[1:3])
        except ValueError as error:
            raise ValueError(f"{sample.name}: {error}") from error
        if not math.isfinite(value):
            raise ValueError(f"{metric} of {sample.name} made by {name} is {value}: expected a finite number")
        return value

    tasks = [(name, metric) for name in methods for metric in metrics]
    values = dict(zip(tasks, pool.map(measure, tasks), strict=True))
    height, width = sample.truth.shape[-2:]
    return [
        Score(
            name, sample.name, sample.sequence, (width, height),
            {metric: values[name, metric] for metric in metrics}, *times[name],
        )
        for name in methods
    ]  # fmt: skip


def _check(name: str, frame: Tensor, sample: Sample) -> None:
    got, expected = tuple(frame.shape), tuple(sample.truth.shape)
    if got != expected:
        raise ValueError(f"{name} made a frame of shape {got} for {sample.name}: expected {expected}")
    if wrong := int((~frame.isfinite()).sum()):
        raise ValueError(f"{name} made a frame with {wrong} values that are not finite for {sample.name}")


def describe_method(name: str, method: Method) -> MethodInfo:
    """Collect the description of a method."""
    return MethodInfo(
        name,
        getattr(method, "parameters", 0),
        getattr(method, "digest", ""),
        getattr(method, "description", ""),
    )


def _head(
    entrants: tuple[MethodInfo, ...], benchmark: Benchmark, metrics: Mapping[str, Metric]
) -> dict[str, Any]:
    """Head of a ledger: everything that its scores share, so that runs are not mixed."""
    return {
        "benchmark": benchmark.name,
        "data": _data(benchmark),
        "methods": {entrant.name: entrant.digest or entrant.description for entrant in entrants},
        "metrics": list(metrics),
        "code": source_hash(),
        "machine": describe_machine(),
    }


def _data(benchmark: Benchmark) -> str:
    """A fingerprint of the samples: sequences, windows, and name, size and date of every file."""
    contents = []
    for sequence in benchmark.sequences:
        stats = [(path.name, path.stat()) for path in sequence.paths if path.exists()]
        files = [(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats]
        contents.append((sequence.name, sequence.count, repr(getattr(sequence, "windows", "")), files))
    return hashlib.sha256(json.dumps(contents).encode()).hexdigest()[:16]


class _Ledger:
    """The scores so far, in memory and, with a path, in a file: a head, then a line per sample.

    Skipped samples are tried again when a run resumes.
    """

    def __init__(self, path: Path | None, head: Mapping[str, Any], overwrite: bool = False) -> None:
        self.date = datetime.now(UTC).isoformat(timespec="seconds")
        self._path, self._lines = path, list[dict[str, Any]]()
        with ExitStack() as claim:
            if path is not None:
                claim.enter_context(claim_folder(path.parent))
                self._read(path, head, overwrite)
            self._claim = claim.pop_all()
        self.finished = {line["sample"] for line in self._lines}

    def _read(self, path: Path, head: Mapping[str, Any], overwrite: bool) -> None:
        """Read existing scores, and rewrite the file without a truncated last line."""
        if path.exists() and not overwrite:
            held, *lines = _whole_lines(path, head)
            if other := [name for name, value in head.items() if held.get(name) != value]:
                raise ValueError(
                    f"{path} holds another run: it differs in {', '.join(other)}; --overwrite starts over"
                )
            self.date = held["date"]
            self._lines = [line for line in lines if "scores" in line]
        written = ({**head, "date": self.date}, *self._lines)
        write_bytes_atomically(path, "".join(json.dumps(line) + "\n" for line in written).encode())

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        self._claim.close()

    def add(self, place: int, sample: str, scores: Sequence[Score]) -> None:
        self._write({"place": place, "sample": sample, "scores": [asdict(score) for score in scores]})

    def skip(self, place: int, sample: UnreadableSample) -> None:
        self._write({"place": place, "sample": sample.name, "reason": sample.reason})

    def _write(self, line: dict[str, Any]) -> None:
        self._lines.append(line)
        self.finished.add(line["sample"])
        if self._path is not None:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")

    def scores(self) -> tuple[Score, ...]:
        """Scores in the order of the benchmark."""
        return tuple(score_from(score) for line in self._ordered() for score in line.get("scores", ()))

    def skipped_samples(self) -> tuple[tuple[str, str], ...]:
        return tuple((line["sample"], line["reason"]) for line in self._ordered() if "reason" in line)

    def _ordered(self) -> list[dict[str, Any]]:
        return sorted(self._lines, key=lambda line: line["place"])  # within a sequence they come in order


def _whole_lines(path: Path, head: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The lines of a ledger, without a truncated last one; ValueError for an invalid ledger.

    Lines are those of a run with this ``head``; of another run's ledger, only the head is returned.
    """
    try:
        lines = [
            parse_json(line, f"line {number}")
            for number, line in enumerate(path.read_bytes().split(b"\n")[:-1], 1)
        ]
        if not lines:
            raise ValueError("it has no whole line")
        held = {"date": lines[0]["date"], **lines[0]}
        datetime.fromisoformat(held["date"])
        if all(held.get(name) == value for name, value in head.items()):
            for line in lines[1:]:
                _check_line(line, head)
            names = [line["sample"] for line in lines[1:] if "scores" in line]
            if len(set(names)) < len(names):
                raise ValueError("expected each sample once")
    except (ValueError, IndexError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path} is not the ledger of an evaluation ({error}): --overwrite starts over"
        ) from error
    return [held, *lines[1:]]


def _check_line(line: Any, head: Mapping[str, Any]) -> None:
    """ValueError, TypeError or KeyError for anything but a line of a ledger with this head."""
    if not isinstance(line["place"], int) or not isinstance(line["sample"], str):
        raise TypeError(f"expected a place and a sample, got {line['place']} and {line['sample']}")
    if "scores" not in line:
        if not isinstance(line["reason"], str):
            raise TypeError(f"expected a reason, got {line['reason']}")
        return
    scores = [score_from(score) for score in line["scores"]]
    methods, samples = [score.method for score in scores], {score.sample for score in scores}
    if methods != list(head["methods"]) or samples != {line["sample"]}:
        raise ValueError(f"expected a score for each of {list(head['methods'])}, got {methods} of {samples}")
    if any(list(score.values) != head["metrics"] for score in scores):
        raise ValueError(f"expected {head['metrics']}, got {[list(score.values) for score in scores]}")


def _cpu_seconds() -> float:
    times = os.times()
    return time.process_time() + times.children_user + times.children_system


def code_version() -> str:
    """The package's version; in a checkout also the commit, marked if files have changed since."""
    release = version("tweenlet")
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return release
    describe = ["git", "-C", str(root), "describe", "--always", "--dirty", "--exclude", "*"]
    try:
        commit = subprocess.run(describe, capture_output=True, encoding="utf-8", check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return release
    return f"{release}+{commit}"
