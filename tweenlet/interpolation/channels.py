"""Channels: pictures of any number of channels, for networks that take three.

1 or 2   repeated to three, and averaged back
4        RGB, and opacity by itself
more     three by three
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING

from tweenlet.interpolation.motion_cache import FeatureCache, MotionCache
from tweenlet.interpolation.pictures import HALFWAY, Picture
from tweenlet.network.motion import Precomputed
from tweenlet.runtime.arrays import array_namespace

if TYPE_CHECKING:
    from tweenlet.interpolation.interpolator import Interpolator
    from tweenlet.interpolation.lite import LiteInterpolator


class ChannelGroups:
    """Runs a network of three channels on pictures (C, H, W) of any number, once for each three of them.

    Args:
        network: interpolates RGB.

    """

    def __init__(self, network: Interpolator | LiteInterpolator) -> None:
        self._network = network
        self.takes_time = network.takes_time

    def between(
        self, frames: Sequence[Picture], time: Fraction = HALFWAY, motion: Precomputed | None = None
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

    def motion_cache(self) -> MotionCache | FeatureCache | None:
        """A new cache for the first channels of a stream; None if the network takes nothing."""
        cache = self._network.motion_cache()
        return None if cache is None else cache.through(lambda frame: _triple(frame[:3]))


def _triple(channels: Picture) -> Picture:
    """One or two channels as three: the last is repeated."""
    missing = 3 - len(channels)
    if not missing:
        return channels
    return array_namespace(channels).concatenate([channels, *[channels[-1:]] * missing])


def _reduce(picture: Picture, count: int) -> Picture:
    """The inverse of :func:`_triple`: repeated channels are averaged."""
    mean = picture[count - 1 :].mean(0)[None]
    return array_namespace(picture).concatenate([picture[: count - 1], mean])
