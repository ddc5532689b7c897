"""Clock: wall and CPU seconds, of a whole frame and part by part, on a CPU or a CUDA device."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from statistics import median

import torch
from torch import Tensor

from tweenlet.bench.subjects import Stream
from tweenlet.network.cost import parts_of

FLOW = "classical flow"
Times = tuple[list[float], list[float]]
"""Wall and CPU seconds, run by run, while they are taken."""


@dataclass(frozen=True)
class Seconds:
    """The times of one thing, run by run."""

    wall: tuple[float, ...]
    cpu: tuple[float, ...]
    """Of all threads of the process."""

    @classmethod
    def warm(cls, wall: Sequence[float], cpu: Sequence[float]) -> Seconds:
        """Those of all runs but the first, which warms up."""
        return cls(tuple(wall[1:]), tuple(cpu[1:]))

    @property
    def median(self) -> tuple[float, float]:
        """Medians of wall and CPU seconds."""
        return median(self.wall), median(self.cpu)


@contextmanager
def clock(wall: list[float], cpu: list[float], device: torch.device) -> Iterator[None]:
    """Add the seconds that the block takes; a CUDA device is waited for."""
    _finish(device)
    begun = time.perf_counter(), time.process_time()
    yield
    _finish(device)
    wall.append(time.perf_counter() - begun[0])
    cpu.append(time.process_time() - begun[1])


@contextmanager
def watched(
    stream: Stream | None,
    taken: dict[str, Times],
    device: torch.device,
) -> Iterator[None]:
    """Time the parts of the network that a stream runs, and the flow that is found before."""
    if stream is None:
        yield
        return
    begun: dict[str, _Moment] = {}
    spans: dict[str, dict[int, list[tuple[_Moment, _Moment]]]] = {}  # by name, then by window

    def start(name: str) -> None:
        begun[name] = _Moment.now(device)

    def stop(name: str) -> None:
        ended = begun[name], _Moment.now(device)
        spans.setdefault(name, {}).setdefault(stream.windows, []).append(ended)

    hooks = []
    flows = stream.flows
    if flows is not None:
        window = flows.window

        def timed(frames: Sequence[Tensor], numbers: Sequence[Fraction | int]) -> list[Tensor]:
            start(FLOW)
            found = window(frames, numbers)
            stop(FLOW)
            return found

        flows.window = timed  # type: ignore[method-assign]
    for name, part in parts_of(stream.interpolator.model).items():
        hooks.append(part.register_forward_pre_hook(lambda *_, name=name: start(name)))
        hooks.append(part.register_forward_hook(lambda *_, name=name: stop(name)))
    try:
        yield
    finally:
        if flows is not None:
            flows.window = window  # type: ignore[method-assign]
        for hook in hooks:
            hook.remove()
    _finish(device)
    for name, by_window in spans.items():
        wall, cpu = zip(*(_total(by_window.get(k + 1, [])) for k in range(stream.windows)), strict=True)
        taken[name] = list(wall), list(cpu)


def _total(spans: Sequence[tuple[_Moment, _Moment]]) -> tuple[float, float]:
    """Wall and CPU seconds of all calls of a part in one window."""
    seconds = [end.since(begin) for begin, end in spans]
    return sum(wall for wall, _ in seconds), sum(cpu for _, cpu in seconds)


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


def _finish(device: torch.device) -> None:
    """Wait until a CUDA device has done what it was asked."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
