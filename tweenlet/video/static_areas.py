"""Static areas: new pictures get the exact codes of their neighbours where nothing moves.

::

    before == after, in blocks of 8x8 luma samples ─┐
                                                    ├─ also in the 8 blocks around ──> copied from before
    new picture close to before, in these blocks ───┘

A network reproduces static text to within a few codes, which flickers at the frame rate, more so if it is
sharp. Objects that move over an area between two equal pictures differ by more, and are left alone.
"""

from __future__ import annotations

from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from tweenlet.video.colour import bits_of
from tweenlet.video.conversion import planes_of
from tweenlet.video.native import native_planes

_BLOCK = 8  # luma samples a side
_MEAN, _MOST = 1, 8  # largest error of a block, in 8-bit codes, in its mean and in any sample,
_MEAN_SHARE, _MOST_SHARE = 1 / 32, 1 / 4  # plus these fractions of its contrast

Grid = NDArray[np.bool_]


def copy_static_areas(middle: av.VideoFrame, before: av.VideoFrame, after: av.VideoFrame) -> None:
    """Copy the static areas of two pictures into the new one between them, in place.

    All three have the same size and planar pixel format. If the two are equal, everything is copied.
    """
    planes = list(zip(*map(planes_of, (middle, before, after)), strict=True))
    steps = [_steps(plane[0], planes[0][0]) for plane in planes]
    pairs = list(zip(planes, steps, strict=True))
    unit = 1 << (bits_of(middle.format) - 8)
    native = native_planes()
    if native is not None:
        _copy_compiled([native.BlockComparison(*pair) for pair in pairs], unit)
        return
    equal = np.logical_and.reduce(
        [_reduce_blocks(np.bitwise_or, first ^ second, step) == 0 for (_, first, second), step in pairs]
    )
    candidates = _erode(equal)
    if not candidates.any():
        return
    if not equal.all():
        close = [_is_close(plane, first, step, unit) for (plane, first, _), step in pairs]
        candidates = _erode(np.logical_and.reduce([equal, *close]))
    for (plane, first, _), step in pairs:
        height, width = plane.shape
        mask = candidates.repeat(step[0], 0)[:height].repeat(step[1], 1)[:, :width]
        np.copyto(plane, first, where=mask)


def _copy_compiled(comparisons: list[Any], unit: int) -> None:
    """The same by :class:`tweenlet.ops.cpu.planes.BlockComparison` of each plane."""
    equal = np.ones(comparisons[0].grid, np.int32)
    for comparison in comparisons:
        comparison.clear_unequal(equal)
    candidates = _erode(equal)
    if not candidates.any():
        return
    if not equal.all():
        for comparison in comparisons:
            comparison.clear_far(equal, _MEAN * unit, _MEAN_SHARE, _MOST * unit, _MOST_SHARE)
        candidates = _erode(equal)
    for comparison in comparisons:
        comparison.copy(candidates.astype(np.int32))


def _steps(plane: NDArray[np.integer], luma: NDArray[np.integer]) -> tuple[int, int]:
    """Rows and columns of a plane per block of the luma plane."""
    down, across = (round(full / part) for full, part in zip(luma.shape, plane.shape, strict=True))
    return _BLOCK // down, _BLOCK // across


def _is_close(
    plane: NDArray[np.integer], other: NDArray[np.integer], step: tuple[int, int], unit: int
) -> Grid:
    """Whether blocks differ little relative to their contrast, in their mean and in every sample."""
    apart = np.maximum(plane, other) - np.minimum(plane, other)
    highest, lowest = _reduce_blocks(np.maximum, other, step), _reduce_blocks(np.minimum, other, step)
    contrast = highest.astype(np.float32) - lowest
    most = _reduce_blocks(np.maximum, apart, step)
    mean = _reduce_blocks(np.add, apart, step, np.uint32) / (step[0] * step[1])
    close: Grid = most <= _MOST * unit + _MOST_SHARE * contrast
    close &= mean <= _MEAN * unit + _MEAN_SHARE * contrast
    return close


def _reduce_blocks(
    ufunc: np.ufunc, plane: NDArray[np.integer], step: tuple[int, int], kind: type[np.uint32] | None = None
) -> NDArray[np.integer]:
    """Reduce a plane block by block, repeating its last row and column to complete blocks."""
    lacking = [(0, -size % by) for size, by in zip(plane.shape, step, strict=True)]
    whole = np.pad(plane, lacking, "edge") if any(lack for _, lack in lacking) else plane
    rows = ufunc.reduce(whole.reshape(-1, step[0], whole.shape[1]), axis=1, dtype=kind)
    columns = np.ascontiguousarray(rows.reshape(len(rows), -1, step[1]).transpose(2, 0, 1))
    reduced: NDArray[np.integer] = ufunc.reduce(columns, axis=0, dtype=kind)
    return reduced


def _erode(grid: NDArray[np.bool_ | np.int32]) -> Grid:
    """Blocks that are set together with their eight neighbours; blocks outside the picture count as set."""
    eroded: Grid = grid.astype(bool)
    for lines in (eroded, eroded.T):
        whole = lines.copy()
        lines[1:] &= whole[:-1]
        lines[:-1] &= whole[1:]
    return eroded
