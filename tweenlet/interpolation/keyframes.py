"""Key frames: the frames of a stream that show something new, and the scenes that they belong to.

    source   0  1  2  3  4  5  6  7  8        drawn on twos, a cut, a still
    shows    A  A  B  B  C  C │X  X  X
    key      0  0  1  1  2  2  3  3  3

Frames are taken from the stream only as far as an answer needs it, and few are held. A repeat holds the
picture of its key frame.
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
"""Usual intervals that a picture may stand and still be taken for one of a movement; longer, it is held."""
SHORTEST_HOLD = Fraction(1, 10)
"""Seconds: of a stream without a steady rate, no interval longer than this is a usual one."""
STEADY = 2
"""A stream is steady if its longest interval is at most so many times its shortest."""
REMEMBERED = 240
"""Intervals by which the usual one is judged."""
AROUND = 2
"""Frames before and after a frame by which it is judged whether it repeats the one before."""


@dataclass(frozen=True)
class SourceFrame(Generic[Original]):
    """A frame of the source."""

    original: Original
    """As it came."""
    picture: Picture
    """RGB (3, H, W) in [0, 1], on the network's device."""
    time: Fraction
    """When it is shown, in seconds."""
    duration: Fraction
    """For how long, in seconds."""
    remake: bool = False
    """Whether what it shows is to be replaced by what lies between its neighbours."""
    encore: bool = False
    """Whether it only tells what follows the last frame of a loop."""
    fingerprint: NDArray[np.float32] | None = field(default=None, compare=False)
    """That of its picture, where it is known."""


@dataclass(frozen=True)
class _Key:
    first: int
    picture: Picture
    fingerprint: NDArray[np.float32]


class KeyFrames(Generic[Original]):
    """A single pass over a stream, which tells key frames from repeats and finds where scenes cut.

    Args:
        frames: the stream.
        cuts: whether cuts are looked for; if not, the whole stream is one scene.
        repeats: whether repeats are looked for; if not, every frame is a key frame.
        reach: frames within which the next key frame is looked for.

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
        self._steps: dict[int, float] = {}  # by frame: how far it differs from the one before
        self._key_of: dict[int, int] = {}
        self._keys: dict[int, _Key] = {}
        self._changes: dict[int, scene_detection.Change] = {}
        self._cut_after: dict[int, bool] = {}
        self._intervals: dict[int, Fraction] = {}  # by frame: how long after the one before it comes
        self._time, self._last_fingerprint = Fraction(0), np.zeros(0, np.float32)
        self.taken = 0
        """Frames taken from the stream so far."""
        self.encores = 0
        """Those among them that are shown before, too."""
        self.judged = 0
        """Frames of which it is known whether they are repeats."""
        self.repeats = 0
        """Repeats among them."""
        self.cuts = 0
        """Cuts met so far."""

    def __getstate__(self) -> dict[str, Any]:
        """All that is known, for a copy that :meth:`go_on` gives the rest of the stream."""
        return self.__dict__ | {"_source": None}

    def go_on(self, frames: Iterable[SourceFrame[Original]]) -> None:
        """Take the frames of the stream that come after those taken."""
        self._source = iter(frames)

    def __len__(self) -> int:
        """How many different pictures are held."""
        pictures = [frame.picture for frame in self._frames.values()]
        return len({id(picture) for picture in [*pictures, *(key.picture for key in self._keys.values())]})

    def has(self, index: int) -> bool:
        """Whether the stream reaches frame ``index``; takes frames up to it."""
        while not self._ended and self.taken <= index:
            frame = next(self._source, None)
            if frame is None:
                self._ended = True
            else:
                self._take(frame)
        return index < self.taken

    def frame(self, index: int) -> SourceFrame[Original]:
        """Frame ``index`` of those that the stream :meth:`has`; KeyError for one that was let go."""
        return self._frames[index]

    def key_of(self, index: int) -> int:
        """The number of the key frame that frame ``index`` is or repeats."""
        while self.judged <= index:
            self._judge(self.judged)
            self.judged += 1
        return self._key_of[index]

    def first_of(self, key: int) -> int:
        """Which frame a key frame is."""
        return self._keys[key].first

    def picture(self, key: int) -> Picture:
        """The picture (3, H, W) of a key frame."""
        return self._keys[key].picture

    def next_key_after(self, key: int) -> int | None:
        """The frame that is the next key frame; None unless it comes within reach."""
        first = self._keys[key].first
        for index in range(first + 1, first + 1 + self._reach):
            if not self.has(index):
                return None
            if (index >= self.judged or index in self._key_of) and self.key_of(index) != key:
                return index
        return None

    def has_key(self, key: int) -> bool:
        """Whether there is a key frame ``key``, looked for no further than :meth:`next_key_after` looks."""
        return key in self._keys or (key - 1 in self._keys and self.next_key_after(key - 1) is not None)

    def is_cut(self, key: int) -> bool:
        """Whether a key frame is the last of its scene, another following."""
        if not self._look_for_cuts:
            return False
        if key not in self._cut_after:
            before = self._change(key - 1) if key > 0 else None
            after = self._change(key + 1) if self.has_key(key + 2) else None
            self._cut_after[key] = scene_detection.is_cut(self._change(key), before, after)
            self.cuts += self._cut_after[key]
        return self._cut_after[key]

    def usual_interval(self, index: int) -> Fraction:
        """Seconds between frames where the stream runs, by frame ``index``, those before it and few after."""
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
        """Let go of frames before ``index`` and of key frames before ``key``."""
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
        """Find out whether a frame repeats the key frame before it."""
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
