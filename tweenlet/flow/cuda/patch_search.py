"""The search for flow as Triton kernels: :mod:`tweenlet.flow.patch_search` on a CUDA device.

search_round   program = a patch, two pixels of it to a thread: all of a round happens in the registers of
                one warp, and only the vector is written; pictures are read through the caches
sobel           program = a block of pixels
densify       program = a block of pixels: nine patches looked at for each
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from tweenlet.flow.patch_search import LEAST_DETERMINANT, PATCH, STEPS, STRIDE
from tweenlet.ops.cuda.blocks import bilinear, block

PIXELS = 256
"""Of a program, where it is not a patch."""
WARPS = 4
"""Of 32 threads each, to such a program."""


def search_round(first: Tensor, second: Tensor, gradients: Tensor, vectors: Tensor, distance: int) -> Tensor:
    """As :func:`tweenlet.flow.patch_search.search_round`."""
    batch, height, width = first.shape
    rows, columns = vectors.shape[-2:]
    made = torch.empty_like(vectors, memory_format=torch.contiguous_format)
    with torch.cuda.device_of(first):  # type: ignore[no-untyped-call]
        _search[(rows * columns, batch)](
            first.contiguous(), second.contiguous(), gradients.contiguous(), vectors.contiguous(), made,
            height, width, rows, columns, distance, PATCH=PATCH, STRIDE=STRIDE, STEPS=STEPS,
            LEAST_DETERMINANT=LEAST_DETERMINANT, num_warps=1,
        )  # fmt: skip
    return made


def sobel(image: Tensor) -> Tensor:
    """As :func:`tweenlet.flow.patch_search.sobel`."""
    batch, height, width = image.shape
    gradients = torch.empty(batch, 2, height, width, dtype=torch.float32, device=image.device)
    with torch.cuda.device_of(image):  # type: ignore[no-untyped-call]
        _sobel[(triton.cdiv(height * width, PIXELS), batch)](
            image.contiguous(), gradients, height, width, PIXELS=PIXELS, num_warps=WARPS
        )
    return gradients


def densify(first: Tensor, second: Tensor, vectors: Tensor) -> Tensor:
    """As :func:`tweenlet.flow.patch_search.densify`."""
    batch, height, width = first.shape
    flow = torch.empty(batch, 2, height, width, dtype=torch.float32, device=first.device)
    with torch.cuda.device_of(first):  # type: ignore[no-untyped-call]
        _densify[(triton.cdiv(height * width, PIXELS), batch)](
            first.contiguous(), second.contiguous(), vectors.contiguous(), flow, height, width,
            *vectors.shape[-2:], PIXELS=PIXELS, PATCH=PATCH, STRIDE=STRIDE, num_warps=WARPS,
        )  # fmt: skip
    return flow


@triton.jit
def _sobel(picture: tl.tensor, slopes: tl.tensor, height: int, width: int, PIXELS: tl.constexpr) -> None:
    """A block of pixels of one picture."""
    image, pixel, known, row, column = block(height, width, PIXELS)
    picture += image * height * width
    slopes += image * 2 * height * width + pixel
    along_x = tl.zeros((PIXELS,), tl.float32)
    along_y = along_x
    for down in tl.static_range(-1, 2):
        line = tl.abs(row + down)
        line = tl.where(line < height, line, 2 * height - 2 - line) * width
        for right in tl.static_range(-1, 2):
            place = tl.abs(column + right)
            place = tl.where(place < width, place, 2 * width - 2 - place)
            value = tl.load(picture + line + place, known, 0.0) / 8
            along_x += right * (2 - down * down) * value
            along_y += down * (2 - right * right) * value
    tl.store(slopes, along_x, known)
    tl.store(slopes + height * width, along_y, known)


@triton.jit
def _apart(
    second: tl.tensor, patch: tl.tensor, top: tl.tensor, left: tl.tensor, u: tl.tensor, v: tl.tensor,
    height: int, width: int, PATCH: tl.constexpr,
) -> tl.tensor:  # fmt: skip
    """How a patch (PATCH * PATCH) differs from ``second`` where a vector points."""
    pixel = tl.arange(0, PATCH * PATCH)
    y = tl.minimum(tl.maximum(top + v, 1.0 - PATCH), height - 1.0)
    x = tl.minimum(tl.maximum(left + u, 1.0 - PATCH), width - 1.0)
    row, column = tl.floor(y), tl.floor(x)
    fetched = bilinear(
        second, row.to(tl.int32) + pixel // PATCH, column.to(tl.int32) + pixel % PATCH, y - row, x - column,
        pixel >= 0, height, width, width, 1,
    )  # fmt: skip
    apart = fetched - patch
    return apart - tl.sum(apart) / (PATCH * PATCH)


@triton.jit
def _search(
    first: tl.tensor, second: tl.tensor, slopes: tl.tensor, found: tl.tensor, made: tl.tensor,
    height: int, width: int, rows: int, columns: int, away: int,
    PATCH: tl.constexpr, STRIDE: tl.constexpr, STEPS: tl.constexpr, LEAST_DETERMINANT: tl.constexpr,
) -> None:  # fmt: skip
    """One patch of one pair of frames."""
    image = tl.program_id(1).to(tl.int64)
    number = tl.program_id(0)
    row, column = number // columns, number % columns
    first += image * height * width
    second += image * height * width
    slopes += image * 2 * height * width
    found += image * 2 * rows * columns
    made += image * 2 * rows * columns

    pixel = tl.arange(0, PATCH * PATCH)
    place = (row * STRIDE + pixel // PATCH) * width + column * STRIDE + pixel % PATCH
    patch = tl.load(first + place)
    patch -= tl.sum(patch) / (PATCH * PATCH)
    x, y = tl.load(slopes + place), tl.load(slopes + height * width + place)
    xx, xy, yy = tl.sum(x * x), tl.sum(x * y), tl.sum(y * y)
    determinant = tl.maximum(xx * yy - xy * xy, LEAST_DETERMINANT)
    xx, xy, yy = xx / determinant, xy / determinant, yy / determinant
    top, left = (row * STRIDE).to(tl.float32), (column * STRIDE).to(tl.float32)

    start_u, start_v = tl.load(found + number), tl.load(found + rows * columns + number)
    apart = _apart(second, patch, top, left, start_u, start_v, height, width, PATCH)
    least = tl.sum(apart * apart)
    for neighbour in tl.static_range(4):
        step = away if neighbour > 1 else -away
        if neighbour % 2:
            its = tl.minimum(tl.maximum(row + step, 0), rows - 1) * columns + column
        else:
            its = row * columns + tl.minimum(tl.maximum(column + step, 0), columns - 1)
        u, v = tl.load(found + its), tl.load(found + rows * columns + its)
        apart = _apart(second, patch, top, left, u, v, height, width, PATCH)
        misfit = tl.sum(apart * apart)
        better = misfit < least
        start_u, start_v = tl.where(better, u, start_u), tl.where(better, v, start_v)
        least = tl.where(better, misfit, least)

    u, v = start_u, start_v
    best_u, best_v = start_u, start_v
    least = float("inf")
    for _ in tl.static_range(STEPS):
        apart = _apart(second, patch, top, left, u, v, height, width, PATCH)
        misfit = tl.sum(apart * apart)
        better = misfit < least
        best_u, best_v = tl.where(better, u, best_u), tl.where(better, v, best_v)
        least = tl.where(better, misfit, least)
        by_x, by_y = tl.sum(apart * x), tl.sum(apart * y)
        u -= yy * by_x - xy * by_y
        v -= xx * by_y - xy * by_x
    far_u, far_v = best_u - start_u, best_v - start_v
    near = far_u * far_u + far_v * far_v <= PATCH * PATCH
    tl.store(made + number, tl.where(near, best_u, start_u))
    tl.store(made + rows * columns + number, tl.where(near, best_v, start_v))


@triton.jit
def _densify(
    first: tl.tensor, second: tl.tensor, vectors: tl.tensor, flow: tl.tensor,
    height: int, width: int, rows: int, columns: int,
    PIXELS: tl.constexpr, PATCH: tl.constexpr, STRIDE: tl.constexpr,
) -> None:  # fmt: skip
    """A block of pixels of one pair of frames."""
    image, pixel, known, row, column = block(height, width, PIXELS)
    first += image * height * width
    second += image * height * width
    vectors += image * 2 * rows * columns
    flow += image * 2 * height * width
    last_row, last_column = tl.minimum(row // STRIDE, rows - 1), tl.minimum(column // STRIDE, columns - 1)
    # the first patch that still covers the pixel; past the last one, that
    top = tl.maximum(tl.minimum((row - PATCH + STRIDE) // STRIDE, last_row), 0)
    left = tl.maximum(tl.minimum((column - PATCH + STRIDE) // STRIDE, last_column), 0)
    here = tl.load(first + pixel, known, 0.0)
    total_u = tl.zeros((PIXELS,), tl.float32)
    total_v, weights = total_u, total_u
    for above in tl.static_range((PATCH + STRIDE - 1) // STRIDE):
        for before in tl.static_range((PATCH + STRIDE - 1) // STRIDE):
            its_row, its_column = last_row - above, last_column - before
            there = known & (its_row >= top) & (its_column >= left)
            number = its_row * columns + its_column
            u = tl.load(vectors + number, there, 0.0)
            v = tl.load(vectors + rows * columns + number, there, 0.0)
            y = tl.minimum(tl.maximum(row + v, 0.0), height - 1.0)
            x = tl.minimum(tl.maximum(column + u, 0.0), width - 1.0)
            y_whole, x_whole = tl.floor(y), tl.floor(x)
            fetched = bilinear(
                second, y_whole.to(tl.int32), x_whole.to(tl.int32), y - y_whole, x - x_whole, there,
                height, width, width, 1,
            )  # fmt: skip
            weight = tl.where(there, 1 / tl.maximum(tl.abs(fetched - here), 1.0), 0.0)
            total_u += weight * u
            total_v += weight * v
            weights += weight
    weights = tl.where(known, weights, 1.0)
    tl.store(flow + pixel, total_u / weights, known)
    tl.store(flow + height * width + pixel, total_v / weights, known)
