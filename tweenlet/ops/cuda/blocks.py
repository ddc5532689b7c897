"""Shared by the Triton kernels over the pixels of an image: indices of a block, and bilinear sampling."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def block(
    height: int, width: int, PIXELS: tl.constexpr
) -> tuple[tl.tensor, tl.tensor, tl.tensor, tl.tensor, tl.tensor]:
    """Number of this program's image, its pixels, whether they exist, and their rows and columns."""
    pixel = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)
    return tl.program_id(1).to(tl.int64), pixel, pixel < height * width, pixel // width, pixel % width


@triton.jit
def bilinear(
    picture: tl.tensor, row: tl.tensor, column: tl.tensor, y_share: tl.tensor, x_share: tl.tensor,
    active: tl.tensor, height: int, width: int, line: int, step: int,
) -> tl.tensor:  # fmt: skip
    """Sample an image between ``row`` and the next, ``column`` and the next; its border is repeated.

    ``line`` and ``step`` are its strides of rows and columns. The result has the dtype of the shares.
    """
    above = tl.minimum(tl.maximum(row, 0), height - 1) * line
    below = tl.minimum(tl.maximum(row + 1, 0), height - 1) * line
    left = tl.minimum(tl.maximum(column, 0), width - 1) * step
    right = tl.minimum(tl.maximum(column + 1, 0), width - 1) * step
    upper = tl.load(picture + above + left, active, 0.0).to(x_share.dtype)
    upper += x_share * (tl.load(picture + above + right, active, 0.0).to(x_share.dtype) - upper)
    lower = tl.load(picture + below + left, active, 0.0).to(x_share.dtype)
    lower += x_share * (tl.load(picture + below + right, active, 0.0).to(x_share.dtype) - lower)
    return upper + y_share * (lower - upper)
