"""Bench: how fast a network makes frames here, part by part, beside what this machine can do at all.

    frames of a moving picture -- Interpolator, window by window --> seconds, CPU seconds, by part
                               -- the same in a fresh process -----> peak memory
    a convolution, a copy ---------------------------------------> the two ceilings, and a roofline

Times are medians of several windows of a running stream, after one that warms up: what a stream can use
again from window to window, it uses. On a busy machine only ratios mean something: :func:`race` lets several
subjects take turns, window by window, and compares them pair by pair.

The roofline: multiply-adds at the rate of the first ceiling take one time, the numbers that the layers read
and write (:mod:`tweenlet.cost`) at the rate of the second another. The longer is the least that a part takes
while layers run one after the other, unless a method needs fewer multiply-adds, as Winograd's. On a CUDA
device the frames lie there already, as those of a stream do; whole frames are waited for, and parts timed by
events on the device.
"""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from tweenlet import native
from tweenlet.cost import cost
from tweenlet.engines import ENGINES, processor
from tweenlet.evaluation.peers import Method, Onnx, command, function
from tweenlet.export import OnnxFile
from tweenlet.interpolate import Interpolator, usable
from tweenlet.memory import peak as held_at_most
from tweenlet.memory import resident
from tweenlet.weights import network_of

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
FOREIGN = ("function", "command")
"""Engines of what is no network of ours, besides ONNX files."""
CPU = torch.device("cpu")
PEERS = 'FILE.py:FUNCTION or "CMD {1} {2} {out}"'
FLOW = "classical flow"
REST = "the rest"
"""Padding, copies, and what else is in no part."""


@dataclass(frozen=True)
class Subject:
    """What is timed: a network as :func:`tweenlet.weights.network_of` takes it, or an ONNX file; and how.

    Or a function or command as :mod:`tweenlet.evaluation.peers` takes them, that being the ``engine`` then.
    """

    source: str
    engine: str = "eager"
    dtype: str = "float32"

    def __str__(self) -> str:
        foreign = self.source.endswith(".onnx") or self.engine in FOREIGN
        return self.source if foreign else f"{self.source}:{self.engine}:{self.dtype}"


@dataclass(frozen=True)
class Seconds:
    """The times of one thing, run by run."""

    wall: tuple[float, ...]
    cpu: tuple[float, ...]
    """Of all threads of the process."""

    @property
    def median(self) -> tuple[float, float]:
        """Medians of wall and CPU seconds."""
        return median(self.wall), median(self.cpu)


@dataclass(frozen=True)
class Ceilings:
    """What the machine can do at most, measured just now."""

    convolution: float
    """10^9 multiply-adds a second of a 3x3 convolution, 64 to 64 channels, channels_last, 240x432. On a CUDA
    device of one of 256 to 256 channels, 16 times 128x128, or of a product of 8192x8192, the better one."""
    copy: float
    """10^9 bytes a second, read and written, of a copy of 128 MB; on a CUDA device 1 GB."""


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
    peak: int | None = None
    """Bytes that one frame takes at most, beyond the process with the network and the frames loaded."""

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
            peak = "" if result.peak is None else f", peak memory {result.peak / 1e6:.0f} MB"
            lines += [
                "",
                f"{result.subject}   {result.width}x{result.height}, {result.threads} threads, "
                f"median of {len(result.whole.wall)}: {1 / result.whole.median[0]:.2f} frames/s, "
                f"first frame {result.first:.2f} s{peak}",
                f"  {'part':16}{'wall ms':>10}{'CPU ms':>10}{'multiply-adds':>16}{'of ceiling':>12}"
                f"{'moved':>10}{'at least ms':>13}{'reached':>9}",
            ]
            ceilings = self.ceilings[result.subject.dtype]
            for name, took in {**result.parts, "all": result.whole}.items():
                wall, cpu = took.median
                told = f"  {name:16}{1e3 * wall:>10.1f}{1e3 * cpu:>10.1f}"
                floor = result.floor(name, ceilings)
                if floor is not None:
                    told += (
                        f"{result.multiply_adds[name] / 1e9:>14.2f} G{result.share(name, ceilings):>12.0%}"
                        f"{result.moved[name] / 1e9:>7.2f} GB{1e3 * floor:>13.2f}"
                        f"{result.reached(name, ceilings):>9.0%}"
                    )
                lines.append(told)
        lines += [f"\n{subject}: {reason}" for subject, reason in self.failures.items()]
        return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class Race:
    """Subjects that took turns: the first of them against the others."""

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
        """For people: every pair, then the median and how far the pairs spread."""
        lines = []
        for other in self.subjects[1:]:
            lines.append(f"{other} / {self.subjects[0]}, time against time")
            for kind, found in zip(("wall", "CPU"), self.ratios(other), strict=True):
                pairs = " ".join(f"{ratio:.2f}" for ratio in found)
                lines.append(
                    f"  {kind:5}{pairs}   median {median(found):.2f} ({min(found):.2f} to {max(found):.2f})"
                )
        return "\n".join(lines) + "\n"


def bench(
    subjects: Sequence[Subject],
    size: tuple[int, int],
    runs: int = 5,
    memory: bool = True,
    device: str | torch.device = CPU,
) -> Report:
    """Time each subject on frames of ``size`` (width, height).

    A subject that cannot be run is among the failures. ValueError if none can, for under one run, and for a
    device that cannot be used.
    """
    _check(runs)
    device = usable(device)
    results, failures = [], dict[str, str]()
    for subject in subjects:
        try:
            result = _measure(subject, size, runs, device)
            results.append(replace(result, peak=peak(subject, size, device)) if memory else result)
        except (ValueError, OSError) as error:
            failures[str(subject)] = str(error)
    if not results:
        raise ValueError("; ".join(failures.values()) or "expected something to time, got nothing")
    dtypes = dict.fromkeys(result.subject.dtype for result in results)
    machine = f"{_name(device)}{processor()}, {os.cpu_count()} cores, {platform.system()}, {native.told()}"
    return Report(
        machine, torch.__version__,
        {name: ceilings(DTYPES[name], device=device) for name in dtypes}, tuple(results), failures,
    )  # fmt: skip


def race(
    subjects: Sequence[Subject], size: tuple[int, int], runs: int = 5, device: str | torch.device = CPU
) -> Race:
    """Let two or more subjects take turns, ``runs`` times each, in this process."""
    _check(runs)
    device = usable(device)
    names = tuple(map(str, subjects))
    if len(set(names)) != len(names) or len(names) < 2:
        raise ValueError(f"expected two or more different subjects, got {', '.join(names) or 'none'}")
    makers = [_maker(subject, device) for subject in subjects]
    frames = [frame.to(device) for frame in moving_picture(size, runs + 4)]
    taken: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in names}
    for turn in range(runs + 1):
        for name, make in zip(names, makers, strict=True):
            with _clock(*taken[name], device):
                make(frames[turn : turn + 4])
    return Race(
        names, {name: Seconds(tuple(wall[1:]), tuple(cpu[1:])) for name, (wall, cpu) in taken.items()}
    )


def ceilings(dtype: torch.dtype = torch.float32, rounds: int = 8, device: torch.device = CPU) -> Ceilings:
    """The best of ``rounds`` of a convolution in ``dtype`` and of a copy."""
    wide = device.type == "cuda"
    batch, channels, height, width = (16, 256, 128, 128) if wide else (1, 64, 240, 432)
    x = torch.rand(batch, channels, height, width, device=device)
    weight = torch.rand(channels, channels, 3, 3, device=device)
    x, weight = (t.to(dtype, memory_format=torch.channels_last) for t in (x, weight))
    source = torch.rand(1 << (28 if wide else 25), device=device)
    target = torch.empty_like(source)

    def best(work: Callable[[], object]) -> float:
        wall: list[float] = []
        for _ in range(rounds):
            with _clock(wall, [], device):
                work()
        return min(wall)

    with torch.inference_mode():
        convolution = best(lambda: F.conv2d(x, weight, padding=1))
        copy = best(lambda: target.copy_(source))
        rate = 9 * batch * channels * channels * height * width / convolution
        if wide:
            square = torch.rand(8192, 8192, device=device).to(dtype)
            rate = max(rate, 8192**3 / best(lambda: square @ square))
    return Ceilings(rate / 1e9, 2 * source.nbytes / copy / 1e9)


def peak(subject: Subject, size: tuple[int, int], device: torch.device = CPU) -> int | None:
    """Bytes that ``subject`` takes at most for frames of ``size``, measured in a process of its own.

    On a CUDA device it is what PyTorch gives out there at once. On the CPU it is the highest resident memory
    while two frames are made, less the resident memory before, with the network and the frames loaded: an
    engine's own graph counts. From Linux's VmHWM, set back before the first frame; not ru_maxrss, in which a
    process begins at what its parent had. None on other systems.
    """
    if device.type == "cuda":
        make = _maker(subject, device)
        frames = [frame.to(device) for frame in moving_picture(size, 5)]
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        for turn in range(2):
            make(frames[turn : turn + 4])
        return torch.cuda.max_memory_allocated(device) - before
    if not Path("/proc/self/clear_refs").exists():
        return None
    words = [subject.source, subject.engine, subject.dtype, *map(str, size), str(torch.get_num_threads())]
    done = subprocess.run(
        [sys.executable, "-c", "from tweenlet.bench import _peak_here; _peak_here()", *words],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise OSError(f"{subject} could not be run to see its memory: {done.stderr.strip()[-300:]}")
    return int(done.stdout)


def moving_picture(size: tuple[int, int], count: int) -> list[Tensor]:
    """``count`` frames (3, H, W) in [0, 1] of a soft texture that moves (4, 2) pixels from frame to frame."""
    width, height = size
    noise = torch.rand(1, 3, height // 8 + 2, width // 8 + 2, generator=torch.Generator().manual_seed(0))
    picture = F.interpolate(noise, size=(height, width), mode="bicubic", align_corners=False)[0].clamp(0, 1)
    return [picture.roll((2 * k, 4 * k), (1, 2)).contiguous() for k in range(count)]


def _measure(subject: Subject, size: tuple[int, int], runs: int, device: torch.device) -> Result:
    width, height = size
    make = _maker(subject, device)
    taken: dict[str, tuple[list[float], list[float]]] = {}
    wall, cpu = list[float](), list[float]()
    frames = [frame.to(device) for frame in moving_picture(size, runs + 4)]
    interpolator = make.__self__ if hasattr(make, "__self__") else None
    with _watched(interpolator, taken, device) if subject.engine == "eager" else nullcontext():
        for turn in range(runs + 1):
            with _clock(wall, cpu, device):
                make(frames[turn : turn + 4])
    parts = {name: Seconds(tuple(w[1:]), tuple(c[1:])) for name, (w, c) in taken.items()}
    whole = Seconds(tuple(wall[1:]), tuple(cpu[1:]))
    if parts:
        rest = [
            tuple(all_ - sum(part[i] for part in those) for i, all_ in enumerate(total))
            for total, those in (
                (whole.wall, [p.wall for p in parts.values()]), (whole.cpu, [p.cpu for p in parts.values()]),
            )
        ]  # fmt: skip
        parts[REST] = Seconds(*rest)
    work, moved = _work(interpolator, size, DTYPES[subject.dtype])
    return Result(
        subject, width, height, torch.get_num_threads(), wall[0], whole, parts, work, moved, str(device)
    )


def _maker(subject: Subject, device: torch.device = CPU) -> Callable[[list[Tensor]], Tensor]:
    """Four frames -> the one in their middle."""
    if subject.dtype not in DTYPES:
        raise ValueError(f"expected a dtype of {', '.join(DTYPES)}, got {subject.dtype}")
    if subject.source.endswith(".onnx"):
        try:
            return Interpolator(OnnxFile(subject.source)).middle
        except ValueError:
            foreign: Method = Onnx(subject.source)
            return lambda frames: foreign(torch.stack(frames))
    if subject.engine in FOREIGN:
        peer = (function if subject.engine == "function" else command)(subject.source)
        return lambda frames: peer(torch.stack(frames).cpu())
    with torch.random.fork_rng(devices=()):  # a network fresh from its config: the same one every time
        torch.manual_seed(0)
        model = network_of(subject.source)
    return Interpolator(model, device=device, engine=subject.engine, dtype=DTYPES[subject.dtype]).middle


@contextmanager
def _watched(
    interpolator: Interpolator | None,
    taken: dict[str, tuple[list[float], list[float]]],
    device: torch.device,
) -> Iterator[None]:
    """Time the parts of the network that the interpolator runs, and the flow that it finds before."""
    if interpolator is None:
        yield
        return
    begun: dict[str, _Moment] = {}
    spans: dict[str, list[tuple[_Moment, _Moment]]] = {}

    def start(name: str) -> None:
        begun[name] = _Moment.now(device)

    def stop(name: str) -> None:
        spans.setdefault(name, []).append((begun[name], _Moment.now(device)))

    hooks = []
    find = interpolator.flows
    if find is not None:
        look = find.four

        def timed(frames: Sequence[Tensor]) -> list[Tensor]:
            start(FLOW)
            found = look(frames)
            stop(FLOW)
            return found

        find.four = timed  # type: ignore[method-assign]
    for name, part in interpolator.model.named_children():
        hooks.append(part.register_forward_pre_hook(lambda *_, name=name: start(name)))
        hooks.append(part.register_forward_hook(lambda *_, name=name: stop(name)))
    try:
        yield
    finally:
        if find is not None:
            find.four = look  # type: ignore[method-assign]
        for hook in hooks:
            hook.remove()
    _finish(device)
    for name, pairs in spans.items():
        wall, cpu = zip(*(end.since(begin) for begin, end in pairs), strict=True)
        taken[name] = list(wall), list(cpu)


@dataclass(frozen=True)
class _Moment:
    """A point in time: where the CPU is, and on a CUDA device where that is in what it has been asked."""

    wall: float
    cpu: float
    event: torch.cuda.Event | None

    @classmethod
    def now(cls, device: torch.device) -> _Moment:
        event = None
        if device.type == "cuda":
            event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
            event.record(torch.cuda.current_stream(device))
        return cls(time.perf_counter(), time.process_time(), event)

    def since(self, earlier: _Moment) -> tuple[float, float]:
        """Wall seconds, those of the device if there is one, and CPU seconds; it must have come so far."""
        wall = self.wall - earlier.wall
        if self.event is not None and earlier.event is not None:
            wall = earlier.event.elapsed_time(self.event) / 1e3
        return wall, self.cpu - earlier.cpu


def _work(
    interpolator: Interpolator | None, size: tuple[int, int], dtype: torch.dtype
) -> tuple[dict[str, int], dict[str, int]]:
    """Multiply-adds and bytes moved, by part and of all."""
    config = getattr(interpolator.model, "config", None) if interpolator is not None else None
    if config is None:
        return {}, {}
    counted = cost(config, size[1], size[0])
    work = {name: part.multiply_adds for name, part in counted.parts.items()}
    moved = {name: part.moved * dtype.itemsize for name, part in counted.parts.items()}
    return work | {"all": counted.multiply_adds}, moved | {"all": counted.moved * dtype.itemsize}


@contextmanager
def _clock(wall: list[float], cpu: list[float], device: torch.device = CPU) -> Iterator[None]:
    _finish(device)
    begun = time.perf_counter(), time.process_time()
    yield
    _finish(device)
    wall.append(time.perf_counter() - begun[0])
    cpu.append(time.process_time() - begun[1])


def _finish(device: torch.device) -> None:
    """Wait until a CUDA device has done what it was asked."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _name(device: torch.device) -> str:
    return f"{torch.cuda.get_device_name(device)}, " if device.type == "cuda" else ""


def _peak_here() -> None:
    """In a process of its own: print what two frames took. See :func:`peak`."""
    source, engine, dtype, width, height, threads = sys.argv[1:]
    torch.set_num_threads(int(threads))
    make = _maker(Subject(source, engine, dtype))
    frames = moving_picture((int(width), int(height)), 5)
    before = resident()
    Path("/proc/self/clear_refs").write_text("5")  # sets VmHWM to VmRSS
    for turn in range(2):
        make(frames[turn : turn + 4])
    print(held_at_most() - before)


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


def _check(runs: int) -> None:
    if runs < 1:
        raise ValueError(f"expected one run or more, got {runs}")


def subjects_of(model: str, engines: Sequence[str], dtype: str = "float32") -> list[Subject]:
    """A network by each engine, or an ONNX file. ValueError for an unknown engine or dtype."""
    for name in engines:
        if name not in (*ENGINES, "auto"):
            raise ValueError(f"expected engines of {', '.join((*ENGINES, 'auto'))}; got {name!r}")
    if dtype not in DTYPES:
        raise ValueError(f"expected a dtype of {', '.join(DTYPES)}, got {dtype!r}")
    if model.endswith(".onnx"):
        return [subject_of(model)]
    return [Subject(model, engine, dtype) for engine in engines]


def subject_of(text: str, dtype: str = "float32") -> Subject:
    """MODEL, MODEL:ENGINE, MODEL:ENGINE:DTYPE, FILE.onnx, FILE.py:FUNCTION or a command, for :func:`race`."""
    if text.endswith(".onnx"):
        return Subject(text, "onnxruntime")
    if "{out}" in text:
        return Subject(text, "command")
    if re.fullmatch(r".+\.py:[\w.]+", text):
        return Subject(text, "function")
    source, engine, kind = ([*text.split(":"), "", ""])[:3]
    if text.count(":") > 2 or (engine and engine not in (*ENGINES, "auto")) or not source:
        raise ValueError(
            f"expected MODEL, MODEL:ENGINE, MODEL:ENGINE:DTYPE, FILE.onnx, {PEERS}, got {text!r}"
        )
    return Subject(source, engine or "eager", kind or dtype)
