"""Spans: positions and blending weights of the tiles of a frame, for tensors and arrays.

    one side       ├─────────── tile ──────────┤
    of a frame                        ├─────────── tile ──────────┤
    weights        1 1 1 1 1 1 1 1 1 1 1 1 ╲ 0 0
                                      0 0 ╱ 1 1 1 1 1 1 1 1 1 1 1 1    0 in the margins, where the cut shows

For every pixel the weights of all tiles sum to 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tweenlet.network.motion import Estimate

if TYPE_CHECKING:
    from tweenlet.network.blocks import Extent

SMALLEST = 256
"""Smallest side of a tile, in pixels."""
CONTEXT = 64
"""Receptive field beyond the flow, in pixels. In theory it is more than twice as large, but pixels further
away changed no output by more than 1e-4."""
BLEND = 32
"""Width of the blend between two tiles, in pixels."""
LIMIT = 3 * 2**29
"""Largest memory of a frame inside a network, in bytes, before "auto" uses tiles."""


@dataclass(frozen=True)
class Tiling:
    """Which frames run in tiles, and the size of these."""

    side: int | None = None
    """Longest side of a tile in pixels; None = no tiles."""
    area: int | None = None
    """Frames of up to this many pixels stay whole; None = those with no side longer than ``side``."""

    def side_for(self, height: int, width: int) -> int | None:
        """Side of the tiles of a frame; None if it stays whole."""
        fits = max(height, width) <= (self.side or 0) if self.area is None else height * width <= self.area
        return None if fits else self.side


def parse_tile(tile: int | str | None, area: int | None) -> Tiling:
    """Parse ``tile``: a side in pixels, None or "none", or "auto", the largest that fits.

    Args:
        tile: the interpolator's argument.
        area: pixels that fit into memory; None = unknown, so that "auto" never tiles.

    Raises:
        ValueError: any other value.

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
    """A tile along one side: pixels `start` to `stop`, and their weights, which sum to 1 over tiles."""

    start: int
    stop: int
    weight: NDArray[np.float32]

    def extent(self, spans: Sequence[Span]) -> Extent:
        """Its start and end, and the length of the side."""
        return self.start, self.stop, spans[-1].stop


def spans(length: int, side: int, margin: int, multiple: int) -> list[Span]:
    """Divide ``length`` pixels into the fewest tiles of one size, at most ``side`` long.

    Length, side and all starts are multiples of ``multiple``. Neighbours overlap by two margins plus at least
    BLEND pixels; weights fade from one to the other in the middle of the overlap.
    """
    if length <= side:
        return [Span(0, length, np.ones(length, np.float32))]
    shared = 2 * margin + BLEND + multiple
    count = math.ceil((length - shared) / (side - shared))
    side = math.ceil((length + (count - 1) * shared) / count / multiple) * multiple
    starts = [(length - side) * i // (count - 1) // multiple * multiple for i in range(count)]
    place = np.arange(length) + 0.5
    ramps = [np.ones(length)]  # by tile: 0 before it, 1 from it on
    for before, after in pairwise(starts):
        part = (place - (before + side + after) / 2) / BLEND
        ramps.append(0.5 + 0.5 * np.sin(math.pi * part.clip(-0.5, 0.5)))
    ramps.append(np.zeros(length))
    return [
        Span(start, start + side, (here - next_one)[start : start + side].astype(np.float32))
        for start, (here, next_one) in zip(starts, pairwise(ramps), strict=True)
    ]


def margins(motion: Estimate | None, side: int) -> tuple[int, int]:
    """Margins of a tile that are only context: above and below, left and right, in pixels.

    At most a quarter of ``side``: pixels that move further are taken from the tile's edge.
    """
    reach = [0.0, 0.0]
    if motion is not None:
        reach = [float(abs(motion.finest[:, axis:4:2]).max()) for axis in (1, 0)]
    down, across = (min(CONTEXT + math.ceil(pixels), side // 4) for pixels in reach)
    return down, across


def cut_motion(motion: Estimate, down: Span, across: Span) -> Estimate:
    """Crop the motion in whole frames to a tile."""
    rows, columns = (slice(span.start // 2, span.stop // 2) for span in (down, across))
    return Estimate(motion.finest[..., rows, columns], motion.repeats)
