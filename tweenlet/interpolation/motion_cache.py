"""Motion cache: features of frames and motion estimates of pairs, computed once for each in a stream.

    windows     0 1 2 3          frames  1  2          pairs  0-1  1-2  2-3
                  1 2 3 4                   2  3                   1-2  2-3  3-4   all but one cached

Frames are identified by their numbers. It serves networks of four frames, whose timing follows the pairs
before and after (:mod:`tweenlet.network.four_frames`). Networks of two frames need features only
(:class:`FeatureCache`). Each stream has a cache of its own.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from fractions import Fraction
from typing import Any, Protocol

from tweenlet.interpolation.pictures import Picture, is_equal
from tweenlet.network.motion import PAIR_TIME, EncodedPair, Motion

CAPACITY = 4
"""Frames, and pairs, to remember: those of one window, and one more."""
PAIR = 2
"""Frames to remember for networks of two frames, whose features are of full size."""


class MotionFinder(Protocol):
    """Estimates motion: an interpolator of tensors, or a network of arrays."""

    def features(self, frame: Any) -> Any:
        """Features (1, C, h, w) of a frame."""

    def estimate(self, before: Any, after: Any, time: float) -> Any:
        """Motion estimate of a pair from the features of its frames, for a time between them."""

    def join(
        self, features: tuple[Any, Any], estimates: Sequence[Any], repeats: Sequence[bool], time: float
    ) -> Motion:
        """As :meth:`tweenlet.network.four_frames.FourFrameFlow.join`, for one window."""


class MotionCache:
    """Estimates the motion in the windows of one stream, and remembers that of the latest frames.

    Args:
        finder: estimates motion.
        view: maps a frame of the stream (C, H, W) to the input of the finder's ``features``.

    """

    def __init__(self, finder: MotionFinder, view: Callable[[Picture], Any] = lambda frame: frame) -> None:
        self._finder, self._view = finder, view
        self._features: OrderedDict[Hashable, Any] = OrderedDict()  # by the frame's number
        self._estimates: OrderedDict[Hashable, Any] = OrderedDict()  # by those of a pair, at PAIR_TIME

    def through(self, view: Callable[[Picture], Picture]) -> MotionCache:
        """A new cache with the same finder, for a stream whose frames go through ``view`` first."""
        return MotionCache(self._finder, lambda frame: self._view(view(frame)))

    def window(
        self, frames: Sequence[Picture], numbers: Sequence[Fraction | int], time: Fraction | float = PAIR_TIME
    ) -> Motion:
        """The motion in a window of four frames (C, H, W), for a new one at a time between the middle two.

        ``numbers`` identify the frames in the stream: the same number is always the same frame.
        """
        repeats = [is_equal(frames[outer], frames[inner]) for outer, inner in ((0, 1), (3, 2))]
        middle = self._estimate(frames, numbers, 1, float(time))
        outer = [
            middle if repeat else self._estimate(frames, numbers, pair, PAIR_TIME)
            for pair, repeat in zip((0, 2), repeats, strict=True)
        ]
        before, after = (self._features_of(frames[k], numbers[k]) for k in (1, 2))
        return self._finder.join((before, after), (outer[0], middle, outer[1]), repeats, float(time))

    def _features_of(self, frame: Picture, number: Fraction | int) -> Any:
        return _remember(self._features, number, lambda: self._finder.features(self._view(frame)))

    def _estimate(
        self, frames: Sequence[Picture], numbers: Sequence[Fraction | int], first: int, time: float
    ) -> Any:
        """Motion estimate of the pair that begins with the frame ``first`` of the window."""

        def compute() -> Any:
            before, after = (self._features_of(frames[k], numbers[k]) for k in (first, first + 1))
            return self._finder.estimate(before, after, time)

        if time != PAIR_TIME:  # no other window asks for that
            return compute()
        return _remember(self._estimates, (numbers[first], numbers[first + 1]), compute)


class FeatureCache:
    """Computes the features of the frames of one stream, for a network of two frames, and remembers a pair.

    Args:
        features: features of a frame (C, H, W); None if they are computed tile by tile.

    """

    def __init__(self, features: Callable[[Picture], Any | None]) -> None:
        self._compute = features
        self._features: OrderedDict[Hashable, Any] = OrderedDict()  # by the frame's number

    def through(self, view: Callable[[Picture], Picture]) -> FeatureCache:
        """A new cache for a stream whose frames go through ``view`` first."""
        return FeatureCache(lambda frame: self._compute(view(frame)))

    def window(
        self, frames: Sequence[Picture], numbers: Sequence[Fraction | int], time: Fraction | float = PAIR_TIME
    ) -> EncodedPair | None:
        """As :meth:`MotionCache.window`, the features of the middle two frames; None if there are none."""
        del time  # they serve all times
        before, after = (self._features_of(frames[k], numbers[k]) for k in (1, 2))
        return None if before is None else EncodedPair(before, after)

    def _features_of(self, frame: Picture, number: Fraction | int) -> Any:
        return _remember(self._features, number, lambda: self._compute(frame), PAIR)


def _remember(
    cached: OrderedDict[Hashable, Any],
    key: Hashable,
    compute: Callable[[], Any],
    capacity: int = CAPACITY,
) -> Any:
    """The cached value of a key, computed if need be; the least recently used beyond capacity are dropped."""
    if key not in cached:
        cached[key] = compute()
    cached.move_to_end(key)
    while len(cached) > capacity:
        cached.popitem(last=False)
    return cached[key]
