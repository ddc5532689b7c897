"""evaluate: every method on every sample of a benchmark, and the Report that comes of it.

Every clip is decoded once, and the methods take turns on the same frames, so that what else the machine does
falls on all alike.

    Benchmark -> Sample --+
                          +-> Score(psnr, ssim, seconds) -> Report -> markdown() for people
    name -> Method -------+                                       `-> to_json() for machines
"""

from __future__ import annotations

import os
import platform
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import fmean
from typing import Any, Protocol

import torch

from tweenlet.evaluation.benchmarks import Sample, benchmark
from tweenlet.evaluation.metrics import psnr, ssim
from tweenlet.evaluation.peers import Method, Network, methods

_MEANS = ("psnr", "ssim", "seconds", "cpu_seconds")

Progress = Callable[[int, int | None], None]
"""Told after every sample how many are done, and of how many (None if only decoding can tell)."""


class SampleList(Protocol):
    """What can be evaluated on: a Benchmark, or anything that lists samples as one does."""

    @property
    def name(self) -> str:
        """What the report calls it."""

    @property
    def count(self) -> int | None:
        """How many samples there are; None where only decoding can tell."""

    def __iter__(self) -> Iterator[Sample]: ...


@dataclass(frozen=True)
class Score:
    """One method on one sample."""

    method: str
    sample: str
    sequence: str
    size: tuple[int, int]
    """Width and height in pixels."""
    psnr: float
    """dB; 8-bit, at most 80 (:func:`tweenlet.evaluation.metrics.psnr`)."""
    ssim: float
    """Three-dimensional window (:func:`tweenlet.evaluation.metrics.ssim`)."""
    seconds: float
    """Wall time for the frame."""
    cpu_seconds: float
    """Processor time for the frame, child processes included."""


@dataclass(frozen=True)
class Entrant:
    """What is known of a method besides its scores."""

    name: str
    parameters: int = 0
    digest: str = ""
    """SHA-256 of the weights; empty for a method without."""


@dataclass(frozen=True)
class Report:
    """All scores of one run, and what it takes to make them again."""

    benchmark: str
    entrants: tuple[Entrant, ...]
    scores: tuple[Score, ...]
    version: str
    machine: str
    date: str

    def mean(self, field: str, method: str, sequence: str | None = None) -> float:
        """The mean of one field of Score over the samples of one method, in one sequence or all."""
        chosen = [s for s in self.scores if s.method == method and sequence in (None, s.sequence)]
        return fmean(getattr(score, field) for score in chosen)

    @property
    def sequences(self) -> list[str]:
        """Names of the sequences, in order of appearance."""
        return list(dict.fromkeys(score.sequence for score in self.scores))

    def markdown(self) -> str:
        """Two tables: the means of every method over all samples, and PSNR and SSIM per sequence."""
        overall = [
            (
                entrant.name,
                f"{self.mean('psnr', entrant.name):.2f}",
                f"{self.mean('ssim', entrant.name):.4f}",
                f"{self.mean('seconds', entrant.name):.3f}",
                f"{self.mean('cpu_seconds', entrant.name):.3f}",
                f"{entrant.parameters:,}" if entrant.parameters else "-",
            )
            for entrant in self.entrants
        ]
        names = [entrant.name for entrant in self.entrants]
        by_sequence = [
            (sequence, *(self._pair(name, sequence) for name in names)) for sequence in self.sequences
        ]
        count = len(self.scores) // len(names)
        lines = [
            f"**{self.benchmark}**, mean of {count} samples in {len(self.sequences)} sequences",
            "",
            *_table(("method", "PSNR (dB)", "SSIM", "s / frame", "CPU s / frame", "parameters"), overall),
            "",
            *_table(("PSNR / SSIM", *names), by_sequence),
            "",
            "PSNR and SSIM as in the official evaluation of ST-MFNet: 8 bits, a window across channels.",
            f"tweenlet {self.version}, {self.date}, {self.machine}",
        ]
        return "\n".join(lines) + "\n"

    def _pair(self, method: str, sequence: str) -> str:
        return f"{self.mean('psnr', method, sequence):.2f} / {self.mean('ssim', method, sequence):.4f}"

    def to_json(self) -> dict[str, Any]:
        """Everything as plain JSON types, the means beside the single scores."""
        means = {
            entrant.name: {field: self.mean(field, entrant.name) for field in _MEANS}
            for entrant in self.entrants
        }
        return {**asdict(self), "means": means}


def compare(
    names: Iterable[str],
    on: str,
    part: str = "1/1",
    device: str | torch.device | None = None,
    progress: Progress | None = None,
) -> Report:
    """What ``tweenlet evaluate`` does: models (names or files) and peers by name, on a benchmark by name.

    ``on`` is for instance ``clips:FOLDER``; ``part`` 1/3 takes every third sample, beginning with the first.
    ValueError or FileNotFoundError says what is not understood or not there, before anything is run.
    """
    samples = benchmark(on, part)
    return evaluate(methods(names, device), samples, progress)


def evaluate(methods: Mapping[str, Method], samples: SampleList, progress: Progress | None = None) -> Report:
    """Score and time every method on every sample.

    Each method makes the first frame twice, since what runs first also sets up; the second run is timed.
    ValueError for no method, no sample, or a frame of a wrong shape.
    """
    scores: list[Score] = []
    for done, sample in enumerate(samples, 1):
        for name, method in methods.items():
            if done == 1:
                method(sample.frames)
            scores.append(_score(name, method, sample))
        if progress is not None:
            progress(done, samples.count)
    if not scores:
        raise ValueError(f"nothing to evaluate: {len(methods)} methods, and no sample in {samples.name}")
    entrants = tuple(
        Entrant(name, method.parameters, method.digest) if isinstance(method, Network) else Entrant(name)
        for name, method in methods.items()
    )
    date = datetime.now(UTC).isoformat(timespec="seconds")
    return Report(samples.name, entrants, tuple(scores), code_version(), machine(), date)


def _score(name: str, method: Method, sample: Sample) -> Score:
    wall, cpu = time.perf_counter(), _cpu_seconds()
    made = method(sample.frames).cpu()
    wall, cpu = time.perf_counter() - wall, _cpu_seconds() - cpu
    if made.shape != sample.truth.shape or not made.isfinite().all():
        wanted = f"expected {tuple(sample.truth.shape)}, all finite"
        raise ValueError(f"{name} made a frame of shape {tuple(made.shape)} for {sample.name}: {wanted}")
    height, width = made.shape[-2:]
    quality = psnr(made, sample.truth).item(), ssim(made, sample.truth).item()
    return Score(name, sample.name, sample.sequence, (width, height), *quality, wall, cpu)


def _cpu_seconds() -> float:
    times = os.times()
    return time.process_time() + times.children_user + times.children_system


def code_version() -> str:
    """The package's version, and in a checkout the commit, marked if files have changed since."""
    release = version("tweenlet")
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return release
    describe = ["git", "-C", str(root), "describe", "--always", "--dirty", "--exclude", "*"]
    try:
        commit = subprocess.run(describe, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return release
    return f"{release}+{commit}"


def machine() -> str:
    """Processor, cores, accelerator and torch, in one line."""
    parts = [f"{platform.system()} {platform.machine()} {torch.backends.cpu.get_cpu_capability()}"]
    parts.append(f"{os.cpu_count()} cores, {torch.get_num_threads()} threads")
    if torch.cuda.is_available():
        parts.append(torch.cuda.get_device_name())
    return ", ".join([*parts, f"torch {torch.__version__}"])


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table that lines up as plain text too: names to the left, numbers to the right."""
    widths = [max(len(cell) for cell in column) for column in zip(head, *rows, strict=True)]
    lines = [
        [
            cells[0].ljust(widths[0]),
            *(cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True)),
        ]
        for cells in (head, *rows)
    ]
    rule = ["-" * (widths[0] + 2), *("-" * (width + 1) + ":" for width in widths[1:])]
    first, *others = (f"| {' | '.join(cells)} |" for cells in lines)
    return [first, f"|{'|'.join(rule)}|", *others]
