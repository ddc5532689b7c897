"""Planes of codes in C (csrc/planes.c, blocks.c): Y'CbCr to RGB and back, and static areas, of numpy arrays.

The plain code is in :mod:`tweenlet.video` (conversion.py, static_areas.py), which calls this through its
native.py; results are the same to the bit. Everything runs on the calling thread, since readers and writers
work beside the network.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tweenlet.ops.cpu.bindings import Blocks, YCbCr
from tweenlet.ops.cpu.library import require_library

Codes = NDArray[np.integer[Any]]
Floats = NDArray[np.float32]
EXACT_BITS = 12
"""Most bits of codes that float32 upsamples exactly, whatever the order of sums."""


def ycbcr_to_rgb(
    planes: Sequence[Codes],
    matrix: Floats,
    offset: Floats,
    halved: tuple[bool, bool],
    cosited: tuple[bool, bool],
    clip: bool,
) -> Floats:
    """RGB (3, H, W) of a planar picture.

    Args:
        planes: codes of luma (H, W), Cb and Cr, uint8 or uint16; the pixels of a row are adjacent.
        matrix: (3, 3), from codes less their offsets to RGB; red is without Cb, blue without Cr.
        offset: of each plane, (3,).
        halved: whether chroma has half of luma's rows, and of its columns.
        cosited: whether a chroma sample lies on the first of its two rows, and columns, or else between them.
        clip: whether RGB is clipped to [0, 1].

    Raises:
        ValueError: planes of other sizes, types or strides.

    """
    rgb = np.empty((3, *planes[0].shape), np.float32)
    picture = _ycbcr(planes, halved, cosited)
    require_library().ycbcr_to_rgb(picture, *_equations(matrix, offset), clip, _tensor(rgb))
    return rgb


def rgb_to_ycbcr(
    rgb: Floats,
    planes: Sequence[Codes],
    matrix: Floats,
    offset: Floats,
    halved: tuple[bool, bool],
    cosited: tuple[bool, bool],
    top: int,
) -> None:
    """The inverse of :func:`ycbcr_to_rgb`, into planes: by the inverse matrix, up to a code of ``top``."""
    if rgb.shape != (3, *planes[0].shape):
        raise ValueError(f"expected RGB of shape {(3, *planes[0].shape)}, got {rgb.shape}")
    picture = _ycbcr(planes, halved, cosited)
    require_library().rgb_to_ycbcr(_tensor(rgb), *_equations(matrix, offset), top, picture)


class BlockComparison:
    """Compares a plane of three pictures block by block.

    Args:
        planes: codes (H, W) of the new picture and of those before and after, as in :func:`ycbcr_to_rgb`.
        step: rows and columns of a block.

    """

    def __init__(self, planes: Sequence[Codes], step: tuple[int, int]) -> None:
        shape = planes[0].shape
        _check(planes, [shape] * 3)
        self.grid = tuple(-(-length // by) for length, by in zip(shape, step, strict=True))
        """Blocks down and across."""
        self._blocks = Blocks(*_fields(planes), *shape, *step)

    def clear_unequal(self, grid: NDArray[np.int32]) -> None:
        """Clear the blocks of a grid in which the pictures before and after are not equal."""
        require_library().equal_blocks(self._blocks, self._checked(grid))

    def clear_far(
        self, grid: NDArray[np.int32], mean: float, mean_share: float, most: float, most_share: float
    ) -> None:
        """Clear those whose new codes differ from the ones before by more in the mean, or in any sample.

        The shares, of the contrast of a block, are added to these limits.
        """
        require_library().close_blocks(self._blocks, mean, mean_share, most, most_share, self._checked(grid))

    def copy(self, grid: NDArray[np.int32]) -> None:
        """Copy the blocks that are set from the picture before into the new one."""
        require_library().copy_blocks(self._blocks, self._checked(grid))

    def _checked(self, grid: NDArray[np.int32]) -> Tensor:
        if grid.shape != self.grid:
            raise ValueError(f"expected a grid of {self.grid} blocks, got {grid.shape}")
        return _tensor(grid)


def _ycbcr(planes: Sequence[Codes], halved: tuple[bool, bool], cosited: tuple[bool, bool]) -> YCbCr:
    size = planes[0].shape
    chroma = tuple(-(-length // (1 + half)) for length, half in zip(size, halved, strict=True))
    _check(planes, [size, chroma, chroma])
    return YCbCr(*_fields(planes), *size, halved, cosited)


def _equations(matrix: Floats, offset: Floats) -> tuple[Tensor, Tensor]:
    if matrix.shape != (3, 3) or offset.size != 3:
        raise ValueError(
            f"expected a matrix (3, 3) and an offset of 3, got {matrix.shape} and {offset.shape}"
        )
    return _tensor(matrix), _tensor(offset)


def _check(planes: Sequence[Codes], sizes: Sequence[tuple[int, ...]]) -> None:
    kinds = [(plane.shape, plane.dtype, plane.strides[-1]) for plane in planes]
    kind = planes[0].dtype
    if kinds != [(size, kind, kind.itemsize) for size in sizes] or 0 in sizes[-1]:
        raise ValueError(f"expected planes of sizes {sizes} with adjacent pixels of one type, got {kinds}")


def _fields(planes: Sequence[Codes]) -> tuple[list[Tensor], list[int], bool]:
    """The tensors, the strides, and whether codes take two bytes."""
    tensors = [_tensor(plane) for plane in planes]
    return tensors, [tensor.stride(0) for tensor in tensors], planes[0].itemsize == 2


def _tensor(array: NDArray[Any]) -> Tensor:
    return torch.from_numpy(array)
