"""Timeline: which frame is shown when: source frames unchanged, and new frames between them.

    source ──> KeyFrames ──> Timeline ──> OutputFrame(original or made, time, duration)
                                │  │
                             Clock  network.between(four pictures, time)

A position is a Fraction in units of key frames: 7 is key frame 7, 7 + 3/8 lies between 7 and 8. A network
that takes a time predicts it in one run. One that only predicts midpoints is called recursively (recursive
midpoint interpolation): a picture of level l is the midpoint of four pictures of lower levels, spaced 2/2^l:

    level 0   0───────1───────2───────3───────4
    level 1       ½               2½                 2½ from 1, 2, 3, 4
    level 2                     2¼                   2¼ from 1½, 2, 2½, 3

At the ends of a scene the outer picture is repeated. The result is that of doubling the whole stream
repeatedly, but only pictures that are shown, and those they depend on, are computed, once each, and dropped
after their last use. A picture that is shown is computed when it is asked for, by whoever asks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from fractions import Fraction
from itertools import groupby
from math import ceil, floor
from threading import Lock
from typing import Any, Generic, Protocol

from tweenlet.interpolation.keyframes import LONGEST_RUN, SHORTEST_HOLD, KeyFrames, Original, SourceFrame
from tweenlet.interpolation.motion_cache import FeatureCache, MotionCache
from tweenlet.interpolation.pictures import Picture, clamp
from tweenlet.interpolation.timing import Interval, OutputTiming, Slot
from tweenlet.network.motion import Precomputed
from tweenlet.runtime.arrays import array_namespace
from tweenlet.video.colour import UNSPECIFIED
from tweenlet.video.light import to_codes, to_light

REPEATS = ("keep", "smooth", "ignore")
"""Ways to treat frames that repeat the previous one."""
MET = Fraction(1, 2000)
"""Tolerance, in seconds, within which a source frame is shown as is: containers round to milliseconds."""


class Network(Protocol):
    """Predicts the frames between: an interpolator of tensors or arrays."""

    takes_time: bool
    """Whether it predicts a frame at any time, not only the midpoint."""

    def between(
        self, frames: Sequence[Picture], time: Fraction = ..., motion: Precomputed | None = ...
    ) -> Picture:
        """The picture (3, H, W) at a time in (0, 1) between the middle two of four."""

    def motion_cache(self) -> MotionCache | FeatureCache | None:
        """A new cache for what the network computes once in a stream; None if it takes nothing."""


@dataclass(frozen=True)
class OutputFrame(Generic[Original]):
    """A frame of the output."""

    source: SourceFrame[Original] | None
    """The source frame, if shown unchanged; None for a new picture."""
    between: tuple[SourceFrame[Original], SourceFrame[Original]]
    """The source frames on either side of a new picture; for a source frame, that frame twice."""
    make: Callable[[], Picture]
    """Returns the picture; the first call may take the network's time."""
    time: Fraction
    """Presentation time, in seconds."""
    duration: Fraction
    """Duration, in seconds."""
    number: int
    """Number of frames shown before it."""
    blurred: bool = False
    """Whether the picture is the mean of several."""

    @property
    def picture(self) -> Picture:
        """RGB (3, H, W), on the network's device; made when first asked for, in whatever thread asks."""
        return self.make()


class Once:
    """A picture that is made when first asked for, by any thread; what it was made from is then let go."""

    def __init__(self, make: Callable[[], Picture]) -> None:
        self._make: Callable[[], Picture] | None = make
        self._picture: Picture = None
        self._lock = Lock()

    def __call__(self) -> Picture:
        """The picture."""
        with self._lock:
            if self._make is not None:
                self._picture, self._make = self._make(), None
        return self._picture


@dataclass(frozen=True)
class _Gap(Generic[Original]):
    """The time during which the picture moves from one key frame to the next."""

    key: int
    first: int
    """Index of the source frame at its start."""
    start: Fraction
    end: Fraction
    after: int
    """Index of the source frame at its end."""
    between: tuple[SourceFrame[Original], SourceFrame[Original]]
    cut: bool

    def part(self, time: Fraction, nearest: Fraction = Fraction(0)) -> Fraction:
        """Fraction of the gap that has passed, in [0, 1]; 0 or 1 within MET or ``nearest`` of its ends."""
        tolerance = min(MET, (self.end - self.start) / 8)
        if time <= self.start + tolerance or time < self.start + nearest:
            return Fraction(0)
        if time >= self.end - max(tolerance, nearest):
            return Fraction(1)
        return (time - self.start) / (self.end - self.start)


class Timeline(Generic[Original]):
    """The output stream, produced in a single pass.

    Args:
        frames: the source, in the order of its times.
        network: predicts the frames between.
        timing: output times.
        rate: average frames per second of the source.
        cuts: do not interpolate across scene cuts; repeat the nearer frame.
        repeats: "keep" shows repeated frames as they are, and interpolates in the interval before the next
            new one; "smooth" spreads the motion over repeats; "ignore" treats every frame as new.
        longest_run: longest run of repeats, in intervals, that "smooth" interpolates; longer ones are held.
        transfer: AVColorTransferCharacteristic of the source, for averaging light over a shutter.

    The source may end with :attr:`~.keyframes.SourceFrame.encore` frames, which are not shown.

    """

    def __init__(
        self,
        frames: Iterable[SourceFrame[Original]],
        network: Network,
        timing: OutputTiming,
        rate: Fraction = Fraction(1),
        *,
        cuts: bool = True,
        repeats: str = "keep",
        longest_run: int = LONGEST_RUN,
        transfer: int = UNSPECIFIED,
    ) -> None:
        if repeats not in REPEATS:
            raise ValueError(f"expected repeats to be one of {', '.join(REPEATS)}, got {repeats!r}")
        if longest_run < 2:
            raise ValueError(f"expected a longest_run of 2 or more, got {longest_run}")
        self.source = KeyFrames(frames, cuts, repeats != "ignore", max(longest_run, LONGEST_RUN))
        self._longest_run, self._transfer = longest_run, transfer
        self._network, self._motion = network, network.motion_cache()
        self._clock, self._levels, self._keep_frames = timing.clock(rate), timing.levels, timing.keep_frames
        self._smooth, self._has_shutter = repeats == "smooth", bool(timing.shutter)
        self._gaps: dict[int, _Gap[Original]] = {}  # by key frame, with repeats "smooth"
        self._pictures: dict[Fraction, Callable[[], Picture]] = {}
        self._index = 0  # of the source frame whose interval is current
        self._shown = -1
        self._slots = -1
        self._slot_time: Fraction | None = None
        self.skipped = 0
        """Number of first output frames whose pictures are not computed."""
        self.made = 0
        """Runs of the network so far."""
        self.originals = 0
        """Source frames shown so far."""
        self._begin_interval()

    def __getstate__(self) -> dict[str, Any]:
        """State at the start of the current interval, for a copy to resume by :meth:`go_on`."""
        return self.__dict__ | self._begun | {"_network": None, "_motion": None, "_pictures": {}}

    def go_on(self, frames: Iterable[SourceFrame[Original]], network: Network) -> None:
        """Resume a copy: its next frame is the first of the interval that was current.

        Args:
            frames: the source frames that were not read yet.
            network: predicts the frames between.

        """
        self.source.go_on(frames)
        self._network, self._motion = network, network.motion_cache()
        self._begin_interval()

    def _begin_interval(self) -> None:
        """Save the state that the slots of an interval change."""
        names = ("_index", "_slots", "_slot_time")
        self._begun = {name: getattr(self, name) for name in names} | {"_clock": copy(self._clock)}

    def __iter__(self) -> Iterator[OutputFrame[Original]]:
        """Yield the output, frame by frame."""
        latest: SourceFrame[Original] | None = None
        for output in self._blurred() if self._has_shutter else self._samples():
            if output.source is not None and output.source is not latest:
                latest = output.source
                self.originals += 1
            yield output

    def _blurred(self) -> Iterator[OutputFrame[Original]]:
        """Yield the means of frames over the open shutter."""
        for _, group in groupby(self._samples(), key=lambda output: output.time):
            yield _expose(list(group), self._transfer)

    def _samples(self) -> Iterator[OutputFrame[Original]]:
        """Yield the frame of each slot."""
        while self.source.has(self._index + 1) and not self.source.frame(self._index).encore:
            self._begin_interval()
            index = self._index
            gap = self._gap(index)
            start, end = self.source.frame(index).time, self.source.frame(index + 1).time
            held_until = end if gap is None else max(gap.start, start)
            for slot in self._clock.within(Interval(start, end, held_until)):
                yield self._output(slot, index, gap)
            self._index += 1
            self.source.forget(self._index, self.source.key_of(self._index) - 3)
        self._begin_interval()
        index = self._index
        if self.source.has(index) and not self.source.frame(index).encore:
            last = self.source.frame(index)
            usual = self.source.usual_interval(index) if index else last.duration
            for slot in self._clock.last(last.time, last.duration, usual):
                if self._shown < index or last.duration > usual * 3 / 2:
                    yield self._output(slot, index, None)

    def __len__(self) -> int:
        """Number of distinct pictures held, of the source and new."""
        return len(self.source) + sum(position.denominator > 1 for position in self._pictures)

    def _gap(self, index: int) -> _Gap[Original] | None:
        """The gap that contains the interval after source frame ``index``; None if that frame is held."""
        source, key = self.source, self.source.key_of(index)
        if key in self._gaps:
            return self._gaps[key]
        after = index + 1 if source.key_of(index + 1) != key else None
        interval = source.usual_interval(index)
        remade = source.frame(index + 1).remake and not source.frame(index).remake
        if after is None and (remade or (self._smooth and source.first_of(key) == index)):
            after = source.next_key_after(key)
            if after is not None and not source.is_cut(key):
                between = source.frame(index), source.frame(after)
                start, end = (frame.time for frame in between)
                if end - start <= (LONGEST_RUN if remade else self._longest_run) * interval:
                    self._gaps = {key: _Gap(key, index, start, end, after, between, cut=False)}
                    return self._gaps[key]
            after = None
        if after is None:
            return None
        between = source.frame(index), source.frame(after)
        start, end = (frame.time for frame in between)
        if end - start > LONGEST_RUN * interval:
            start = end - interval
        if cut := source.is_cut(key):  # in a slide show, move only shortly before the next frame
            start = max(start, end - SHORTEST_HOLD)
        return _Gap(key, index, start, end, after, between, cut)

    def _output(self, slot: Slot, index: int, gap: _Gap[Original] | None) -> OutputFrame[Original]:
        """The frame of a slot that begins in the interval after source frame ``index``."""
        time, duration = slot.shown, slot.duration
        self._slots += time != self._slot_time
        self._slot_time = time
        nearest = slot.width / 2 if self._keep_frames else Fraction(0)
        passed = Fraction(0) if gap is None else gap.part(slot.time, nearest)
        part = passed if gap is None else self._reachable(gap, passed)
        if gap is not None and 0 < part < 1:
            position = gap.key + part
            if self._slots < self.skipped:
                nothing = _given(gap.between[0].picture)
                return OutputFrame(None, gap.between, nothing, time, duration, self._slots)
            self._pictures = {p: x for p, x in self._pictures.items() if _is_needed(p, position)}
            return OutputFrame(None, gap.between, self._maker(position), time, duration, self._slots)
        number = gap.after if gap is not None and part == 1 else index
        if gap is None or not gap.cut or passed == 1:  # a frame shown early, beyond a cut, is still due
            self._shown = max(self._shown, number)
        frame = self.source.frame(number)
        return OutputFrame(frame, (frame, frame), _given(frame.picture), time, duration, self._slots)

    def _reachable(self, gap: _Gap[Original], part: Fraction) -> Fraction:
        """The nearest position in a gap that can be computed; across a cut only its ends."""
        if gap.cut:
            return Fraction(part > Fraction(1, 2))
        if self._network.takes_time:
            return part
        intervals = gap.after - gap.first
        scale = 2 ** min(self._levels + (max(intervals, 1) - 1).bit_length(), 8)
        return Fraction(round(part * scale), scale)

    def _maker(self, position: Fraction) -> Callable[[], Picture]:
        """Makes the picture at a position: a key frame's, or one that the network predicts, once."""
        if position.denominator == 1:
            return _given(self.source.picture(int(position)))
        if position not in self._pictures:
            if self._network.takes_time:
                step, time = Fraction(1), position - floor(position)
                around = [Fraction(floor(position) + k) for k in (-1, 0, 1, 2)]
            else:
                step, time = Fraction(1, position.denominator), Fraction(1, 2)
                around = [position + k * step for k in (-3, -1, 1, 3)]
            window = [self._within_scene(place, position) for place in around]
            pictures = [self._maker(place)() for place in window]
            motion = None if self._motion is None else self._motion.window(pictures, window, time)
            between = self._network.between
            self._pictures[position] = Once(lambda: clamp(between(pictures, time, motion), pictures[1:3]))
            self.made += 1
        return self._pictures[position]

    def _within_scene(self, time: Fraction, origin: Fraction) -> Fraction:
        """The position nearest to ``time`` that lies in the scene of ``origin``."""
        source = self.source
        low, high = floor(origin), ceil(origin)
        while low > time and low > 0 and not source.is_cut(low - 1):
            low -= 1
        while high < time and source.has_key(high + 1) and not source.is_cut(high):
            high += 1
        return min(max(time, Fraction(low)), Fraction(high))


def _expose(samples: Sequence[OutputFrame[Original]], transfer: int) -> OutputFrame[Original]:
    """Average the frames of one output time in linear light, by opacity; equal ones are left alone."""
    first, last = samples[0], samples[-1]
    if len(samples) == 1 or all(s.source and s.picture is first.picture for s in samples):
        return first
    make = Once(lambda: _mean_light([sample.picture for sample in samples], transfer))
    between = first.between[0], last.between[1]
    return OutputFrame(None, between, make, first.time, first.duration, first.number, blurred=True)


def _mean_light(samples: Sequence[Picture], transfer: int) -> Picture:
    """The mean of pictures in linear light, by opacity."""
    xp = array_namespace(samples[0])
    pictures = xp.stack(samples)
    light = to_light(pictures[:, :3], transfer)
    if pictures.shape[1] != 4:
        return to_codes(light.mean(0), transfer)
    opacity = pictures[:, 3:]
    share = opacity / opacity.sum(0).clip(1e-6)
    light = xp.where(opacity.sum(0) > 0, (light * share).sum(0), light.mean(0))
    return xp.concatenate([to_codes(light, transfer), opacity.mean(0)])


def _given(picture: Picture) -> Callable[[], Picture]:
    return lambda: picture


def _is_needed(position: Fraction, now: Fraction) -> bool:
    """Whether a picture can be needed at or after ``now``: level l reaches less than 3/2^l ahead."""
    return position > now - Fraction(3, position.denominator)
