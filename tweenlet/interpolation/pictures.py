"""Pictures: operations on (C, H, W), float32 in [0, 1], numpy or PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import isfinite
from typing import Any, TypeAlias

from tweenlet.runtime.arrays import array_namespace, is_tensor

Picture: TypeAlias = Any
"""A numpy array, or a tensor on any device."""
HALFWAY = Fraction(1, 2)
"""Time of the frame in the middle of two."""
SLACK = 0.5
"""Overshoot allowed beyond [0, 1]: resampling stays below it, pictures of 0 to 255 do not."""


def is_equal(a: Picture, b: Picture) -> bool:
    """Whether two pictures of one size are equal."""
    middle = a.shape[-2] // 2  # most pictures differ in one row already
    return a is b or bool((a[..., middle, :] == b[..., middle, :]).all() and (a == b).all())


def clamp(picture: Picture, around: Sequence[Picture]) -> Picture:
    """Clamp a picture, in place, to [0, 1] extended to the range of the pictures around it."""
    xp = array_namespace(picture)
    low = xp.stack([frame.min() for frame in around]).min().clip(max=0)
    high = xp.stack([frame.max() for frame in around]).max().clip(min=1)
    if not is_tensor(picture) or picture.device.type == "cpu":  # where nothing waits for them
        low, high = float(low), float(high)
    return xp.clip(picture, low, high, out=picture)


def check_values(frame: Picture, number: int, slack: float = SLACK) -> None:
    """Raise ValueError if a frame has values that are not finite, or more than ``slack`` outside [0, 1]."""
    low, high = float(frame.min()), float(frame.max())
    if not isfinite(low + high):
        raise ValueError(f"frame {number} holds NaN or infinite values: fill them first (numpy.nan_to_num)")
    if low < -slack or high > 1 + slack:
        raise ValueError(
            f"expected frames in [0, 1], got values from {low:g} to {high:g} in frame {number}: scale them, "
            "as in frame / 255"
        )
