"""Run: time targets one by one, part by part, or let them alternate.

Times are medians over windows of a running stream, after one warm-up window. A stream reuses what it can from
window to window, such as features and motion estimates.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace

import torch

from tweenlet.bench.clock import Seconds, Times, clock, part_timer
from tweenlet.bench.memory import peaks
from tweenlet.bench.report import Race, Report, Result
from tweenlet.bench.roofline import ceilings
from tweenlet.bench.targets import Stream, Target, make_interpolate, moving_picture
from tweenlet.inference.machine import describe_machine
from tweenlet.interpolation.interpolator import Interpolator
from tweenlet.network.cost import cost
from tweenlet.runtime.devices import resolve_device
from tweenlet.runtime.dtypes import DTYPES

OTHER = "the rest"
"""Row for padding, copies and everything else outside the parts."""


def bench(
    targets: Sequence[Target],
    size: tuple[int, int],
    runs: int = 5,
    memory: bool = True,
    device: str | torch.device = "cpu",
) -> Report:
    """Time each target by itself.

    Args:
        targets: what to time; those that cannot be run are listed as failures.
        size: width and height of the frames in pixels.
        runs: timed frames, after one warm-up frame.
        memory: measure peak memory too.
        device: where networks run.

    Raises:
        ValueError: no target can be run, ``runs`` is below 1, or the device cannot be used.

    """
    _check_runs(runs)
    device = resolve_device(device)
    results, failures = [], dict[str, str]()
    for target in targets:
        try:
            result = _measure(target, size, runs, device)
            results.append(replace(result, peaks=peaks(target, size, device)) if memory else result)
        except (ValueError, OSError) as error:
            failures[str(target)] = str(error)
    if not results:
        raise ValueError("; ".join(failures.values()) or "expected something to time, got nothing")
    dtypes = dict.fromkeys(result.target.dtype for result in results)
    return Report(
        describe_machine(), torch.__version__,
        {name: ceilings(DTYPES[name], device) for name in dtypes}, tuple(results), failures,
    )  # fmt: skip


def race(
    targets: Sequence[Target], size: tuple[int, int], runs: int = 5, device: str | torch.device = "cpu"
) -> Race:
    """Time two or more targets alternately, ``runs`` frames each, in this process.

    Arguments and errors are those of :func:`bench`.
    """
    _check_runs(runs)
    device = resolve_device(device)
    names = tuple(map(str, targets))
    if len(set(names)) != len(names) or len(names) < 2:
        raise ValueError(f"expected two or more different targets, got {', '.join(names) or 'none'}")
    functions = [make_interpolate(target, device) for target in targets]
    frames = [frame.to(device) for frame in moving_picture(size, runs + 4)]
    times: dict[str, Times] = {name: ([], []) for name in names}
    for turn in range(runs + 1):
        for name, run in zip(names, functions, strict=True):
            with clock(*times[name], device):
                run(frames[turn : turn + 4])
    return Race(
        describe_machine(), torch.__version__, *size, torch.get_num_threads(),
        names, {name: Seconds.without_warmup(*taken) for name, taken in times.items()},
    )  # fmt: skip


def _measure(target: Target, size: tuple[int, int], runs: int, device: torch.device) -> Result:
    width, height = size
    run = make_interpolate(target, device)
    part_times: dict[str, Times] = {}
    times: Times = ([], [])
    frames = [frame.to(device) for frame in moving_picture(size, runs + 4)]
    stream = run if isinstance(run, Stream) else None
    interpolator = None if stream is None else stream.interpolator
    with part_timer(stream, part_times, device) if target.engine == "eager" else nullcontext():
        for turn in range(runs + 1):
            with clock(*times, device):
                run(frames[turn : turn + 4])
    parts = {name: Seconds.without_warmup(*part) for name, part in part_times.items()}
    seconds = Seconds.without_warmup(*times)
    if parts:
        rest = [
            tuple(whole - sum(part[i] for part in by_part) for i, whole in enumerate(total))
            for total, by_part in (
                (seconds.wall, [part.wall for part in parts.values()]),
                (seconds.cpu, [part.cpu for part in parts.values()]),
            )
        ]
        parts[OTHER] = Seconds(*rest)
    work, bytes_moved = _count_work(interpolator, size, DTYPES[target.dtype])
    return Result(
        target,
        width,
        height,
        torch.get_num_threads(),
        times[0][0],
        seconds,
        parts,
        work,
        bytes_moved,
        str(device),
    )


def _count_work(
    interpolator: Interpolator | None, size: tuple[int, int], dtype: torch.dtype
) -> tuple[dict[str, int], dict[str, int]]:
    """Multiply-adds and bytes moved, by part and for "all"."""
    config = getattr(interpolator.model, "config", None) if interpolator is not None else None
    if config is None:
        return {}, {}
    counted = cost(config, size[1], size[0])
    work = {name: part.multiply_adds for name, part in counted.parts.items()}
    bytes_moved = {name: part.moved * dtype.itemsize for name, part in counted.parts.items()}
    return work | {"all": counted.multiply_adds}, bytes_moved | {"all": counted.moved * dtype.itemsize}


def _check_runs(runs: int) -> None:
    if runs < 1:
        raise ValueError(f"expected one run or more, got {runs}")
