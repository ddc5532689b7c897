"""Spans: where the tiles of a frame lie, and how they are blended; of tensors and of arrays alike.

one side       ├─────────── tile ──────────┤
of a frame                        ├─────────── tile ──────────┤
weights        1 1 1 1 1 1 1 1 1 1 1 1 ╲ 0 0
0 0 ╱ 1 1 1 1 1 1 1 1 1 1 1 1    0 in the margins, where the cut shows
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tweenlet.network.motion import Motion

if TYPE_CHECKING:
    from torch import Tensor

    from tweenlet.network.blocks import Extent

SMALLEST = 256
"""The least side of a tile in pixels."""
SIGHT = 64
"""How far networks look beyond the flow, in pixels: in theory twice as far and more, but what lies further
than this changed no pixel by more than 1e-4."""
MEETING = 32
"""Pixels over which one tile fades into the next."""
LIMIT = 3 * 2**29
"""Bytes that a frame may take inside a network before "auto" cuts it into tiles."""


@dataclass(frozen=True)
class Tiling:
    """Which frames are cut into tiles, and how large the tiles are."""

    side: int | None = None
    """Longest side of a tile in pixels; None: nothing is cut."""
    area: int | None = None
    """Frames of at most so many pixels stay whole; None: those no longer than ``side`` do."""

    def side_for(self, height: int, width: int) -> int | None:
        """The side of the tiles of a frame, None where it stays whole."""
        fits = max(height, width) <= (self.side or 0) if self.area is None else height * width <= self.area
        return None if fits else self.side


def parse_tile(tile: int | str | None, area: int | None) -> Tiling:
    """What ``tile`` asks for: the side in pixels, or None ("none"), or "auto", the largest that fits.

    Args:
        tile: as an interpolator takes it.
        area: pixels that fit into memory; None: nobody knows, and "auto" cuts nothing.

    Raises:
        ValueError: anything else.

    """
    if tile is None or tile == "none" or (tile == "auto" and area is None):
        return Tiling()
    if tile == "auto" and area is not None:
        return Tiling(max(SMALLEST, math.isqrt(area)), area)
    side = int(tile) if str(tile).isdecimal() else 0
    if side < SMALLEST:
        raise ValueError(f'expected tile to be "auto", "none" or {SMALLEST} pixels or more, got {tile}')
    return Tiling(side)


@dataclass(frozen=True)
class Span:
    """A tile along one side: pixels `start` to `stop`, and the weight of each, adding up to 1 over tiles."""

    start: int
    stop: int
    weight: NDArray[np.float32]

    def extent(self, spans: Sequence[Span]) -> Extent:
        """Where it begins and ends, and how much there is in all."""
        return self.start, self.stop, spans[-1].stop


def spans(length: int, side: int, margin: int, multiple: int) -> list[Span]:
    """Cut ``length`` pixels into the fewest tiles, of one size, at most ``side`` long.

    Length, side and all starts are multiples of ``multiple``. Neighbours share two margins and MEETING or
    more; the weights fade from one to the next in the middle of that.
    """
    if length <= side:
        return [Span(0, length, np.ones(length, np.float32))]
    shared = 2 * margin + MEETING + multiple
    count = math.ceil((length - shared) / (side - shared))
    side = math.ceil((length + (count - 1) * shared) / count / multiple) * multiple
    starts = [(length - side) * i // (count - 1) // multiple * multiple for i in range(count)]
    place = np.arange(length) + 0.5
    ramps = [np.ones(length)]  # by tile: 0 before it, 1 in it and after it
    for before, after in pairwise(starts):
        part = (place - (before + side + after) / 2) / MEETING
        ramps.append(0.5 + 0.5 * np.sin(math.pi * part.clip(-0.5, 0.5)))
    ramps.append(np.zeros(length))
    return [
        Span(start, start + side, (here - next_one)[start : start + side].astype(np.float32))
        for start, (here, next_one) in zip(starts, pairwise(ramps), strict=True)
    ]


def margins(motion: Motion | None, side: int) -> tuple[int, int]:
    """How many pixels of a tile only serve as surroundings, above and below and left and right.

    A quarter of ``side`` at most: pixels that move further than this reaches are drawn from the tile's edge.
    """
    reach = [0.0, 0.0]
    if motion is not None:
        reach = [float(abs(motion.estimate[:, axis:4:2]).max()) for axis in (1, 0)]
    down, across = (min(SIGHT + math.ceil(pixels), side // 4) for pixels in reach)
    return down, across


def cut_motion(motion: Motion, down: Span, across: Span, size: tuple[int, int]) -> Motion:
    """What a tile is given of the motion in frames that are padded to a ``size`` (height, width)."""

    def cut(x: Tensor) -> Tensor:
        rows, columns = (
            slice(span.start * own // length, span.stop * own // length)
            for span, own, length in zip((down, across), x.shape[-2:], size, strict=True)
        )
        return x[..., rows, columns]

    return Motion(
        cut(motion.before),
        cut(motion.after),
        cut(motion.estimate),
        cut(motion.acceleration),
        motion.repeats,
    )
