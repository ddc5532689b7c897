"""Tempo: slow down or speed up sound without change of pitch, by FFmpeg's atempo.

blocks of samples ── atempo, adjusted every STEP to stay in sync ──> more, or fewer
                       └── new filters, in sync, where the speed jumps or a ramp ends
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from math import ceil, log2

import av
from av.audio.fifo import AudioFifo
from av.filter import Graph
from av.filter.context import FilterContext

from tweenlet.video.retiming import TimeMap

SHORTEST = Fraction(1, 2)
"""Source time, in seconds, before filters that are out of step are replaced where the speed settles."""
STEP = Fraction(1, 8)
"""Source time between changes of speed, in seconds: each makes atempo lose its position."""
_PIECE = 1024
"""Samples per block."""
_CORRECTION = Fraction(3, 2)  # by how much more or less than the speed that is due


class Tempo:
    """Stretches one sound according to a time map.

    Args:
        format: FFmpeg's name of the sample format.
        layout: FFmpeg's name of the channel layout.
        rate: samples per second.
        time_map: map between output and source time.

    """

    def __init__(self, format: str, layout: str, rate: int, time_map: TimeMap) -> None:
        self._format, self._layout, self._rate, self._map = format, layout, rate, time_map
        self._graph: Graph | None = None
        self._filters: list[FilterContext] = []
        # one filter halves or doubles at most without skipping samples
        extreme = max(1 / time_map.slowest, time_map.fastest) * (1 if time_map.steady else _CORRECTION)
        self._stages = max(1, ceil(log2(extreme)))
        self._window = 1 << ceil(log2(rate / 24))  # samples that atempo compares, by its source
        self._origin = self._end = Fraction(0)  # seconds of the output: of the first sample, of what is due
        self._changed = Fraction(0)  # second of the source
        self._emitted = 0
        self._surplus = 0  # samples that earlier filters gave too many, to be left out

    def stretch(self, block: av.AudioFrame, time: Fraction) -> Iterator[av.AudioFrame]:
        """Stretch samples that begin at a source time; returns the samples ready so far."""
        if self._graph is None:
            self._begin(time)
        pieces = AudioFifo()
        block.pts = None
        pieces.write(block)
        while (piece := pieces.read(self._until_settling(time), partial=True)) is not None:
            if self._level_until is not None and time >= max(self._level_until, self._changed + STEP):
                self._adjust(time)
            time += Fraction(piece.samples, self._rate)
            self._end = self._map.output_time(time)
            yield from self._push(piece)
            if self._settling and time >= self._settling[0]:
                yield from self.finish()
                self._begin(time)

    def _until_settling(self, time: Fraction) -> int:
        """The most samples to read at a time: a piece, or up to where the speed settles."""
        left = [ceil((settled - time) * self._rate) for settled in self._settling[:1]]
        return min(_PIECE, *left) if left else _PIECE

    def finish(self) -> Iterator[av.AudioFrame]:
        """Flush the remaining samples; others may follow."""
        if self._graph is not None:
            missing = round((self._end - self._origin) * self._rate) - self._emitted
            rest = AudioFifo()
            for block in [*self._push(self._silence(2 * self._stages * self._window)), *self._push(None)]:
                block.pts = None
                rest.write(block)
            self._graph = None
            self._surplus = max(0, -missing)
            if missing > 0:
                tail = rest.read(missing, partial=True)
                if tail is not None:
                    yield tail

    def _begin(self, time: Fraction) -> None:
        self._origin, self._changed, self._emitted = self._map.output_time(time), time, 0
        self._level_until = self._map.level_until(time)  # until then they stay in sync by themselves
        self._settling = [settled for settled in self._map.settling if settled >= time + SHORTEST]
        share = self._speed(time) ** (1 / self._stages)
        graph = Graph()
        source = graph.add_abuffer(
            sample_rate=self._rate,
            format=self._format,
            layout=self._layout,
            time_base=Fraction(1, self._rate),
        )
        self._filters = [graph.add("atempo", f"{share:.9f}") for _ in range(self._stages)]
        graph.link_nodes(source, *self._filters, graph.add("abuffersink"))
        graph.configure()
        self._graph = graph
        # each filter begins a quarter of its window late
        lead = self._window / 4 * sum(share**stage for stage in range(self._stages))
        graph.push(self._silence(round(lead)))

    def _adjust(self, time: Fraction) -> None:
        """Adjust the speed so that the sound is in sync after a STEP."""
        speed, self._changed = self._speed(time), time
        ahead = self._emitted / self._rate + self._waiting(speed)
        due = float(self._map.output_time(time + STEP) - self._origin) - ahead
        wanted = float(STEP) / due if due > 0 else float(self._map.fastest)
        self._set(min(max(wanted, speed / _CORRECTION), speed * _CORRECTION))

    def _speed(self, time: Fraction) -> float:
        return float(self._map.speed_at(self._map.output_time(time)))

    def _waiting(self, speed: float) -> float:
        """Output time held back by the filters, in seconds: about a fraction of a window each."""
        share: float = speed ** (1 / self._stages)
        window = 0.6 * self._window / self._rate
        return sum((window * share**-stage for stage in range(1, self._stages + 1)), 0.0)

    def _set(self, speed: float) -> None:
        for filter in self._filters:
            share = min(max(speed ** (1 / self._stages), 0.5), 2)
            filter.process_command("tempo", f"{share:.9f}")

    def _silence(self, samples: int) -> av.AudioFrame:
        block = av.AudioFrame(self._format, self._layout, samples)
        for plane in block.planes:
            plane.update(bytes(plane.buffer_size))
        block.sample_rate, block.time_base = self._rate, Fraction(1, self._rate)
        return block

    def _push(self, block: av.AudioFrame | None) -> Iterator[av.AudioFrame]:
        assert self._graph is not None
        if block is not None:
            block.pts = None
        self._graph.push(block)
        while True:
            try:
                out = self._graph.pull()
            except (av.BlockingIOError, av.EOFError):
                return
            assert isinstance(out, av.AudioFrame)
            self._emitted += out.samples
            cut = min(self._surplus, out.samples)
            self._surplus -= cut
            if (rest := without_start(out, cut)) is not None:
                yield rest


def without_start(block: av.AudioFrame, samples: int) -> av.AudioFrame | None:
    """A block without its first samples; None if no more are left."""
    if not samples:
        return block
    block.pts = None
    pieces = AudioFifo()
    pieces.write(block)
    pieces.read(samples)
    return pieces.read()
