"""Clock: wall and CPU seconds of a frame and of its parts, on a CPU or a CUDA device."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median

import torch

from tweenlet.bench.targets import Stream
from tweenlet.inference.latency import hook_parts

Times = tuple[list[float], list[float]]
"""Wall and CPU seconds by run, while they are being measured."""


@dataclass(frozen=True)
class Seconds:
    """Measured times, by run."""

    wall: tuple[float, ...]
    cpu: tuple[float, ...]
    """CPU seconds of all threads of the process."""

    @classmethod
    def without_warmup(cls, wall: Sequence[float], cpu: Sequence[float]) -> Seconds:
        """Drop the first run, which warms up."""
        return cls(tuple(wall[1:]), tuple(cpu[1:]))

    @property
    def median(self) -> tuple[float, float]:
        """Median wall and CPU seconds."""
        return median(self.wall), median(self.cpu)


@contextmanager
def clock(wall: list[float], cpu: list[float], device: torch.device) -> Iterator[None]:
    """Append the seconds that the block takes, including all work it queues on a CUDA device."""
    _synchronize(device)
    start = time.perf_counter(), time.process_time()
    yield
    _synchronize(device)
    wall.append(time.perf_counter() - start[0])
    cpu.append(time.process_time() - start[1])


@contextmanager
def part_timer(
    stream: Stream | None,
    times: dict[str, Times],
    device: torch.device,
) -> Iterator[None]:
    """Time the parts of a stream's network.

    Args:
        stream: the stream; None does nothing.
        times: filled at the end, by part: one entry per window.
        device: where the network runs.

    """
    if stream is None:
        yield
        return
    starts: dict[str, _Moment] = {}
    spans: dict[str, dict[int, list[tuple[_Moment, _Moment]]]] = {}  # by name, then by window

    def start(name: str) -> None:
        starts[name] = _Moment.now(device)

    def stop(name: str) -> None:
        span = starts[name], _Moment.now(device)
        spans.setdefault(name, {}).setdefault(stream.windows, []).append(span)

    with hook_parts(stream.interpolator.model, start, stop):
        yield
    _synchronize(device)
    for name, by_window in spans.items():
        wall, cpu = zip(*(_total(by_window.get(k + 1, [])) for k in range(stream.windows)), strict=True)
        times[name] = list(wall), list(cpu)


def _total(spans: Sequence[tuple[_Moment, _Moment]]) -> tuple[float, float]:
    """Sum the wall and CPU seconds of all calls of a part in one window."""
    seconds = [end.since(begin) for begin, end in spans]
    return sum(wall for wall, _ in seconds), sum(cpu for _, cpu in seconds)


@dataclass(frozen=True)
class _Moment:
    """A point in time on the CPU and, on a CUDA device, in its queue of work."""

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
        """Wall seconds (the device's, if any) and CPU seconds; the device must have reached this moment."""
        wall = self.wall - earlier.wall
        if self.event is not None and earlier.event is not None:
            wall = earlier.event.elapsed_time(self.event) / 1e3
        return wall, self.cpu - earlier.cpu


def _synchronize(device: torch.device) -> None:
    """Wait for a CUDA device to finish its queue."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
