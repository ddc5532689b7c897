"""Channels: pictures of any number of channels, for networks that take three.

1 or 2   repeated to three, and averaged back
4        RGB, and opacity by itself
more     three by three
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from tweenlet.interpolation.motion_cache import MotionCache
from tweenlet.interpolation.pictures import Picture
from tweenlet.network.motion import Motion
from tweenlet.runtime.arrays import array_namespace

if TYPE_CHECKING:
    from tweenlet.interpolation.interpolator import Interpolator
    from tweenlet.interpolation.lite import LiteInterpolator

HALFWAY = Fraction(1, 2)


class ChannelGroups:
    """A network of three channels for pictures (C, H, W) of any: it runs once for each three of them.

    Args:
        network: makes frames of RGB.

    """

    def __init__(self, network: Interpolator | LiteInterpolator) -> None:
        self._network = network
        self.takes_time = network.takes_time

    def between(
        self, frames: Sequence[Picture], time: Fraction = HALFWAY, motion: Motion | None = None
    ) -> Picture:
        """As :meth:`.interpolator.Interpolator.between`; ``motion`` is that of the first channels."""
        groups = []
        for first in range(0, len(frames[0]), 3):
            parts = [frame[first : first + 3] for frame in frames]
            picture = self._network.between(
                [_triple(part) for part in parts], time, None if first else motion
            )
            count = len(parts[0])
            groups.append(picture if count == 3 else _reduce(picture, count))
        return array_namespace(groups[0]).concatenate(groups)

    def motion_cache(self) -> MotionCache | None:
        """A new cache for the motion of the first channels of a stream."""
        return None if self._network.motion_cache() is None else MotionCache(self)

    def features(self, frame: Picture) -> Any:
        """As :meth:`.interpolator.Interpolator.features`."""
        return self._network.features(_triple(frame[:3]))

    def estimate(self, before: Any, after: Any, time: float) -> Any:
        """As :meth:`.interpolator.Interpolator.estimate`."""
        return self._network.estimate(before, after, time)

    def join(
        self, features: tuple[Any, Any], estimates: Sequence[Any], repeats: Sequence[bool], time: float
    ) -> Motion:
        """As :meth:`.interpolator.Interpolator.join`."""
        return self._network.join(features, estimates, repeats, time)


def _triple(channels: Picture) -> Picture:
    """One or two channels as three: the last is repeated."""
    missing = 3 - len(channels)
    if not missing:
        return channels
    return array_namespace(channels).concatenate([channels, *[channels[-1:]] * missing])


def _reduce(picture: Picture, count: int) -> Picture:
    """The inverse of :func:`_triple`: what was repeated is averaged."""
    mean = picture[count - 1 :].mean(0)[None]
    return array_namespace(picture).concatenate([picture[: count - 1], mean])
