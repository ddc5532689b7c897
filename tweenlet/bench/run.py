"""Run: subjects are timed by themselves, part by part, or in turn.

Times are medians of several windows of a running stream, after one that warms up: what a stream can use
again from window to window, it uses.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace

import torch

from tweenlet.bench.clock import Seconds, Times, clock, watched
from tweenlet.bench.memory import peaks
from tweenlet.bench.report import Race, Report, Result
from tweenlet.bench.roofline import ceilings
from tweenlet.bench.subjects import DTYPES, Stream, Subject, maker, moving_picture
from tweenlet.inference.engines import processor
from tweenlet.interpolation.interpolator import Interpolator
from tweenlet.network.cost import cost
from tweenlet.ops.cpu import library as native
from tweenlet.runtime.devices import resolve_device

REST = "the rest"
"""Padding, copies, and what else is in no part."""


def bench(
    subjects: Sequence[Subject],
    size: tuple[int, int],
    runs: int = 5,
    memory: bool = True,
    device: str | torch.device = "cpu",
) -> Report:
    """Time each subject on frames of ``size`` (width, height).

    A subject that cannot be run is among the failures. ValueError if none can, for under one run, and for a
    device that cannot be used.
    """
    _check(runs)
    device = resolve_device(device)
    results, failures = [], dict[str, str]()
    for subject in subjects:
        try:
            result = _measure(subject, size, runs, device)
            results.append(replace(result, peaks=peaks(subject, size, device)) if memory else result)
        except (ValueError, OSError) as error:
            failures[str(subject)] = str(error)
    if not results:
        raise ValueError("; ".join(failures.values()) or "expected something to time, got nothing")
    dtypes = dict.fromkeys(result.subject.dtype for result in results)
    return Report(
        _machine(device), torch.__version__,
        {name: ceilings(DTYPES[name], device) for name in dtypes}, tuple(results), failures,
    )  # fmt: skip


def race(
    subjects: Sequence[Subject], size: tuple[int, int], runs: int = 5, device: str | torch.device = "cpu"
) -> Race:
    """Let two or more subjects take turns, ``runs`` times each, in this process."""
    _check(runs)
    device = resolve_device(device)
    names = tuple(map(str, subjects))
    if len(set(names)) != len(names) or len(names) < 2:
        raise ValueError(f"expected two or more different subjects, got {', '.join(names) or 'none'}")
    makers = [maker(subject, device) for subject in subjects]
    frames = [frame.to(device) for frame in moving_picture(size, runs + 4)]
    taken: dict[str, Times] = {name: ([], []) for name in names}
    for turn in range(runs + 1):
        for name, make in zip(names, makers, strict=True):
            with clock(*taken[name], device):
                make(frames[turn : turn + 4])
    return Race(
        _machine(device), torch.__version__, *size, torch.get_num_threads(),
        names, {name: Seconds.warm(*times) for name, times in taken.items()},
    )  # fmt: skip


def _measure(subject: Subject, size: tuple[int, int], runs: int, device: torch.device) -> Result:
    width, height = size
    make = maker(subject, device)
    taken: dict[str, Times] = {}
    times: Times = ([], [])
    frames = [frame.to(device) for frame in moving_picture(size, runs + 4)]
    stream = make if isinstance(make, Stream) else None
    interpolator = None if stream is None else stream.interpolator
    with watched(stream, taken, device) if subject.engine == "eager" else nullcontext():
        for turn in range(runs + 1):
            with clock(*times, device):
                make(frames[turn : turn + 4])
    parts = {name: Seconds.warm(*part) for name, part in taken.items()}
    whole = Seconds.warm(*times)
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
        subject, width, height, torch.get_num_threads(), times[0][0], whole, parts, work, moved, str(device)
    )


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


def _machine(device: torch.device) -> str:
    name = f"{torch.cuda.get_device_name(device)}, " if device.type == "cuda" else ""
    return f"{name}{processor()}, {os.cpu_count()} cores, {platform.system()}, {native.describe()}"


def _check(runs: int) -> None:
    if runs < 1:
        raise ValueError(f"expected one run or more, got {runs}")
