"""Key frames: the frames of a stream that are not repeats, and the scenes they belong to.

    source   0  1  2  3  4  5  6  7  8        drawn on twos, a cut, a still
    shows    A  A  B  B  C  C │X  X  X
    key      0  0  1  1  2  2  3  3  3

Frames are read only as far as an answer needs, and few are held. A repeat shares the picture of its key
frame.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from tweenlet.interpolation.pictures import Picture
from tweenlet.video import scene_detection

Original = TypeVar("Original")

LONGEST_RUN = 6
"""Longest run, in usual intervals, that still counts as part of a movement; a longer one is a hold."""
SHORTEST_HOLD = Fraction(1, 10)
"""Seconds: in a stream without a steady rate, no longer interval counts as usual."""
STEADY = 2
"""Largest ratio of longest to shortest interval in a stream of steady rate."""
REMEMBERED = 240
"""Intervals from which the usual one is determined."""
AROUND = 2
"""Frames on either side that are compared to decide whether a frame is a repeat."""


@dataclass(frozen=True)
class SourceFrame(Generic[Original]):
    """A frame of the source."""

    original: Original
    """The frame as it came from the source."""
    picture: Picture
    """RGB (3, H, W) in [0, 1], on the network's device."""
    time: Fraction
    """Presentation time, in seconds."""
    duration: Fraction
    """Duration, in seconds."""
    remake: bool = False
    """Whether its picture is to be replaced by one interpolated from its neighbours."""
    encore: bool = False
    """Whether it is only context after the last frame of a loop."""
    fingerprint: NDArray[np.float32] | None = field(default=None, compare=False)
    """Fingerprint of its picture, if known."""


@dataclass(frozen=True)
class _Key:
    first: int
    picture: Picture
    fingerprint: NDArray[np.float32]


class KeyFrames(Generic[Original]):
    """A single pass over a stream that separates key frames from repeats and detects cuts.

    Args:
        frames: the stream.
        cuts: whether to detect cuts; if not, the stream is one scene.
        repeats: whether to detect repeats; if not, every frame is a key frame.
        reach: frames within which to look for the next key frame.

    """

    def __init__(
        self,
        frames: Iterable[SourceFrame[Original]],
        cuts: bool = True,
        repeats: bool = True,
        reach: int = LONGEST_RUN,
    ) -> None:
        self._reach = reach
        self._source: Iterator[SourceFrame[Original]] = iter(frames)
        self._ended = False
        self._look_for_cuts, self._look_for_repeats = cuts, repeats
        self._frames: dict[int, SourceFrame[Original]] = {}
        self._fingerprints: dict[int, NDArray[np.float32]] = {}
        self._steps: dict[int, float] = {}  # by frame: difference from the previous one
        self._key_of: dict[int, int] = {}
        self._keys: dict[int, _Key] = {}
        self._changes: dict[int, scene_detection.Change] = {}
        self._cut_after: dict[int, bool] = {}
        self._intervals: dict[int, Fraction] = {}  # by frame: time since the previous one
        self._time, self._last_fingerprint = Fraction(0), np.zeros(0, np.float32)
        self.taken = 0
        """Frames read so far."""
        self.encores = 0
        """Number of these that are encores."""
        self.judged = 0
        """Frames decided to be repeats or not."""
        self.repeats = 0
        """Repeats among these."""
        self.cuts = 0
        """Cuts detected so far."""

    def __getstate__(self) -> dict[str, Any]:
        """State without the stream, for a copy to resume by :meth:`go_on`."""
        return self.__dict__ | {"_source": None}

    def go_on(self, frames: Iterable[SourceFrame[Original]]) -> None:
        """Resume a copy with the frames of the stream that were not read yet."""
        self._source = iter(frames)

    def __len__(self) -> int:
        """Number of distinct pictures held."""
        pictures = [frame.picture for frame in self._frames.values()]
        return len({id(picture) for picture in [*pictures, *(key.picture for key in self._keys.values())]})

    def has(self, index: int) -> bool:
        """Whether the stream has a frame ``index``; reads up to it."""
        while not self._ended and self.taken <= index:
            frame = next(self._source, None)
            if frame is None:
                self._ended = True
            else:
                self._take(frame)
        return index < self.taken

    def frame(self, index: int) -> SourceFrame[Original]:
        """Frame ``index``, which the stream :meth:`has`; KeyError if it was dropped."""
        return self._frames[index]

    def key_of(self, index: int) -> int:
        """Number of the key frame that frame ``index`` is or repeats."""
        while self.judged <= index:
            self._judge(self.judged)
            self.judged += 1
        return self._key_of[index]

    def first_of(self, key: int) -> int:
        """Index of the frame that is key frame ``key``."""
        return self._keys[key].first

    def picture(self, key: int) -> Picture:
        """The picture (3, H, W) of a key frame."""
        return self._keys[key].picture

    def next_key_after(self, key: int) -> int | None:
        """Index of the frame that is the next key frame; None if it is out of reach."""
        first = self._keys[key].first
        for index in range(first + 1, first + 1 + self._reach):
            if not self.has(index):
                return None
            if (index >= self.judged or index in self._key_of) and self.key_of(index) != key:
                return index
        return None

    def has_key(self, key: int) -> bool:
        """Whether there is a key frame ``key``, within the reach of :meth:`next_key_after`."""
        return key in self._keys or (key - 1 in self._keys and self.next_key_after(key - 1) is not None)

    def is_cut(self, key: int) -> bool:
        """Whether the scene is cut after a key frame."""
        if not self._look_for_cuts:
            return False
        if key not in self._cut_after:
            before = self._change(key - 1) if key > 0 else None
            after = self._change(key + 1) if self.has_key(key + 2) else None
            self._cut_after[key] = scene_detection.is_cut(self._change(key), before, after)
            self.cuts += self._cut_after[key]
        return self._cut_after[key]

    def usual_interval(self, index: int) -> Fraction:
        """Usual seconds between frames around frame ``index``, ignoring holds."""
        last = index + 1 + AROUND
        self.has(last)
        near = range(last - REMEMBERED + 1, last + 1)
        ordered = sorted(self._intervals[i] for i in near if i in self._intervals)
        if not ordered:
            return SHORTEST_HOLD
        if ordered[-1] <= STEADY * ordered[0]:
            return ordered[len(ordered) // 2]
        return min(ordered[len(ordered) // 4], SHORTEST_HOLD)

    def forget(self, index: int, key: int) -> None:
        """Drop frames before ``index`` and key frames before ``key``."""
        for by_frame in (self._frames, self._key_of):
            _drop(by_frame, index)
        _drop(self._steps, index - AROUND)
        _drop(self._intervals, index - REMEMBERED)
        for by_key in (self._keys, self._changes, self._cut_after):
            _drop(by_key, key)

    def _take(self, frame: SourceFrame[Original]) -> None:
        index = self.taken
        bad = frame.remake and index > 0
        fingerprint = frame.fingerprint
        if bad:
            fingerprint = self._last_fingerprint
        elif fingerprint is None:
            fingerprint = scene_detection.fingerprint(frame.picture)
        if index:
            self._steps[index] = scene_detection.difference(self._last_fingerprint, fingerprint)
            self._intervals[index] = frame.time - self._time
        self._frames[index], self._fingerprints[index] = frame, fingerprint
        self._last_fingerprint, self._time = fingerprint, frame.time
        self.taken += 1
        self.encores += frame.encore

    def _judge(self, index: int) -> None:
        """Decide whether a frame repeats the key frame before it."""
        self.has(index + AROUND)
        key = self._key_of.get(index - 1, -1)
        fingerprint = self._fingerprints.pop(index)
        if key >= 0 and self._frames[index].remake:
            last = self._frames[index - 1]
            self._key_of[index] = key
            self._frames[index] = replace(self._frames[index], picture=last.picture, original=last.original)
            return
        if key >= 0 and self._look_for_repeats:
            drift = scene_detection.difference(self._keys[key].fingerprint, fingerprint)
            before, after = (
                [self._steps[i] for i in range(first, first + AROUND) if i in self._steps]
                for first in (index - AROUND, index + 1)
            )
            if scene_detection.is_repeat(drift, before, after):
                self._key_of[index] = key
                if drift > scene_detection.SURE:  # the encoder has refined the picture
                    self._keys[key] = replace(self._keys[key], fingerprint=fingerprint)
                self._frames[index] = replace(self._frames[index], picture=self._keys[key].picture)
                self.repeats += 1
                return
        self._key_of[index] = key + 1
        self._keys[key + 1] = _Key(index, self._frames[index].picture, fingerprint)

    def _change(self, key: int) -> scene_detection.Change:
        if key not in self._changes:
            before, after = (scene_detection.thumbnail(self._keys[k].fingerprint) for k in (key, key + 1))
            self._changes[key] = scene_detection.change(before, after)
        return self._changes[key]


def _drop(numbered: dict[int, Any], oldest: int) -> None:
    for number in [number for number in numbered if number < oldest]:
        del numbered[number]
