"""What the Triton kernels that go over the pixels of a picture share."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def block(
    height: int, width: int, PIXELS: tl.constexpr
) -> tuple[tl.tensor, tl.tensor, tl.tensor, tl.tensor, tl.tensor]:
    """Of this program: which picture, which of its pixels, whether there are such, their rows and columns."""
    pixel = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)
    return tl.program_id(1).to(tl.int64), pixel, pixel < height * width, pixel // width, pixel % width


@triton.jit
def bilinear(
    picture: tl.tensor, row: tl.tensor, column: tl.tensor, y_share: tl.tensor, x_share: tl.tensor,
    known: tl.tensor, height: int, width: int, line: int, step: int,
) -> tl.tensor:  # fmt: skip
    """A picture between a row and the next, a column and the next, ``line`` and ``step`` numbers apart.

    Its border goes on. Of the type of the shares.
    """
    above = tl.minimum(tl.maximum(row, 0), height - 1) * line
    below = tl.minimum(tl.maximum(row + 1, 0), height - 1) * line
    left = tl.minimum(tl.maximum(column, 0), width - 1) * step
    right = tl.minimum(tl.maximum(column + 1, 0), width - 1) * step
    upper = tl.load(picture + above + left, known, 0.0).to(x_share.dtype)
    upper += x_share * (tl.load(picture + above + right, known, 0.0).to(x_share.dtype) - upper)
    lower = tl.load(picture + below + left, known, 0.0).to(x_share.dtype)
    lower += x_share * (tl.load(picture + below + right, known, 0.0).to(x_share.dtype) - lower)
    return upper + y_share * (lower - upper)
