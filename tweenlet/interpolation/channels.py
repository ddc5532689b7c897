"""Channels: pictures of any number of channels, for networks that take three.

1 or 2   repeated to three, and averaged back
4        RGB, and opacity by itself
more     three by three
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from tweenlet.interpolation.motion_cache import MotionCache
from tweenlet.network.four_frames import Motion

if TYPE_CHECKING:
    from tweenlet.interpolation.interpolator import Interpolator

HALFWAY = Fraction(1, 2)


class ChannelGroups:
    """A network of three channels for pictures (C, H, W) of any: it runs once for each three of them.

    Args:
        network: makes frames of RGB.

    """

    def __init__(self, network: Interpolator) -> None:
        self._network = network
        self.takes_time = network.takes_time

    def between(
        self, frames: Sequence[Tensor], time: Fraction = HALFWAY, motion: Motion | None = None
    ) -> Tensor:
        """As :meth:`.interpolator.Interpolator.between`; ``motion`` is that of the first channels."""
        groups = []
        for first in range(0, len(frames[0]), 3):
            parts = [frame[first : first + 3] for frame in frames]
            picture = self._network.between(
                [_triple(part) for part in parts], time, None if first else motion
            )
            count = len(parts[0])
            groups.append(picture if count == 3 else _reduce(picture, count))
        return torch.cat(groups)

    def motion_cache(self) -> MotionCache | None:
        """A new cache for the motion of the first channels of a stream."""
        return None if self._network.motion_cache() is None else MotionCache(self)

    def features(self, frame: Tensor) -> Tensor:
        """As :meth:`.interpolator.Interpolator.features`."""
        return self._network.features(_triple(frame[:3]))

    def estimate(self, before: Tensor, after: Tensor, time: float) -> Tensor:
        """As :meth:`.interpolator.Interpolator.estimate`."""
        return self._network.estimate(before, after, time)

    def join(
        self, features: tuple[Tensor, Tensor], estimates: Sequence[Tensor], repeats: Tensor, time: float
    ) -> Motion:
        """As :meth:`.interpolator.Interpolator.join`."""
        return self._network.join(features, estimates, repeats, time)


def _triple(channels: Tensor) -> Tensor:
    """One or two channels as three: the last is repeated."""
    missing = 3 - len(channels)
    return torch.cat([channels, *[channels[-1:]] * missing]) if missing else channels


def _reduce(picture: Tensor, count: int) -> Tensor:
    """The inverse of :func:`_triple`: what was repeated is averaged."""
    return torch.cat([picture[: count - 1], picture[count - 1 :].mean(0, keepdim=True)])
