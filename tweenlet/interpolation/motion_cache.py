"""Motion cache: what a network finds of frames and of pairs of frames of one stream, found once.

    windows     0 1 2 3          frames  1  2          pairs  0-1  1-2  2-3
                  1 2 3 4                   2  3                   1-2  2-3  3-4   all but one known already

Frames are known by their numbers. It is for networks of four frames, whose motion is timed by the pairs
before and after (:mod:`tweenlet.network.four_frames`); a stream has a cache of its own.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from fractions import Fraction
from typing import Any, Protocol

from tweenlet.interpolation.pictures import Picture, is_equal
from tweenlet.network.motion import PAIR_TIME, Motion

CAPACITY = 4
"""Frames, and pairs, that are remembered: those of one window, and one more."""


class MotionFinder(Protocol):
    """What finds motion: an interpolator, of tensors or of arrays."""

    def features(self, frame: Picture) -> Any:
        """What the network sees of a frame (3, H, W): (1, C, h, w)."""

    def estimate(self, before: Any, after: Any, time: float) -> Any:
        """What it finds of the features of two frames (1, C, h, w), for a frame at a time between them."""

    def join(
        self, features: tuple[Any, Any], estimates: Sequence[Any], repeats: Sequence[bool], time: float
    ) -> Motion:
        """As :meth:`tweenlet.network.four_frames.FourFrameFlow.join`, of one window."""


class MotionCache:
    """Finds the motion in the windows of one stream, and remembers that of the latest frames."""

    def __init__(self, finder: MotionFinder) -> None:
        self._finder = finder
        self._features: OrderedDict[Hashable, Any] = OrderedDict()  # by the frame's number
        self._estimates: OrderedDict[Hashable, Any] = OrderedDict()  # by those of a pair, at PAIR_TIME

    def window(
        self, frames: Sequence[Picture], numbers: Sequence[Fraction | int], time: Fraction | float = PAIR_TIME
    ) -> Motion:
        """The motion in a window of four frames (3, H, W), for one at a time between the middle two.

        ``numbers`` are those of the frames in the stream: the same number is always the same frame.
        """
        repeats = [is_equal(frames[outer], frames[inner]) for outer, inner in ((0, 1), (3, 2))]
        middle = self._estimate(frames, numbers, 1, float(time))
        outer = [
            middle if repeat else self._estimate(frames, numbers, pair, PAIR_TIME)
            for pair, repeat in zip((0, 2), repeats, strict=True)
        ]
        before, after = (self._seen(frames[k], numbers[k]) for k in (1, 2))
        return self._finder.join((before, after), (outer[0], middle, outer[1]), repeats, float(time))

    def _seen(self, frame: Picture, number: Fraction | int) -> Any:
        return _remembered(self._features, number, lambda: self._finder.features(frame))

    def _estimate(
        self, frames: Sequence[Picture], numbers: Sequence[Fraction | int], first: int, time: float
    ) -> Any:
        """What is found of a frame of the window and the next."""

        def find() -> Any:
            before, after = (self._seen(frames[k], numbers[k]) for k in (first, first + 1))
            return self._finder.estimate(before, after, time)

        if time != PAIR_TIME:  # no other window asks for that
            return find()
        return _remembered(self._estimates, (numbers[first], numbers[first + 1]), find)


def _remembered(cached: OrderedDict[Hashable, Any], key: Hashable, find: Callable[[], Any]) -> Any:
    """What is known by a key, or found now; of the rest only the latest are kept."""
    if key not in cached:
        cached[key] = find()
    cached.move_to_end(key)
    while len(cached) > CAPACITY:
        cached.popitem(last=False)
    return cached[key]
