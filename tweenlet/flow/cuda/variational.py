"""Variational refinement as Triton kernels: :mod:`tweenlet.flow.variational` on a CUDA device.

    assemble_system  program = a block of pixels: eight gradients, flow and its neighbours read, seven numbers
    sweep            program = a block of pixels of one colour, relaxed in place, by those of the other

Bytes for a pixel: 8 x 4 and some 24 from the caches to read and 28 to write; then, for one in two, 48 and 8.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from tweenlet.flow.variational import ALPHA, DELTA, EPSILON_SQUARED, GAMMA, OMEGA, SYSTEM, ZETA_SQUARED
from tweenlet.ops.cuda.blocks import bilinear, block

PIXELS = 256
"""Of a program."""
WARPS = 4
"""Of 32 threads each, to a program."""


def linearize(first: Tensor, second: Tensor, flow: Tensor) -> Tensor:
    """As :func:`tweenlet.flow.variational.linearize`."""
    batch, height, width = first.shape
    pictures = torch.empty(batch, 2, height, width, dtype=torch.float32, device=first.device)
    slopes = torch.empty(batch, 8, height, width, dtype=torch.float32, device=first.device)
    grid = (triton.cdiv(height * width, PIXELS), batch)
    with torch.cuda.device_of(first):  # type: ignore[no-untyped-call]
        _pictures[grid](
            first.contiguous(), second.contiguous(), flow.contiguous(), pictures, height, width,
            PIXELS=PIXELS, num_warps=WARPS,
        )  # fmt: skip
        _slopes[grid](pictures, slopes, height, width, PIXELS=PIXELS, num_warps=WARPS)
    return slopes


def assemble_system(gradients: Tensor, flow: Tensor, increment: Tensor) -> Tensor:
    """As :func:`tweenlet.flow.variational.assemble_system`."""
    batch, _, height, width = flow.shape
    system = torch.empty(batch, SYSTEM, height, width, dtype=torch.float32, device=flow.device)
    with torch.cuda.device_of(flow):  # type: ignore[no-untyped-call]
        _system[(triton.cdiv(height * width, PIXELS), batch)](
            gradients.contiguous(), flow.contiguous(), increment.contiguous(), system, height, width,
            PIXELS=PIXELS, SYSTEM=SYSTEM, ALPHA=ALPHA, DELTA=DELTA, GAMMA=GAMMA, ZETA_SQUARED=ZETA_SQUARED,
            EPSILON_SQUARED=EPSILON_SQUARED, num_warps=WARPS,
        )  # fmt: skip
    return system


def sweep(system: Tensor, increment: Tensor, black: int) -> Tensor:
    """As :func:`tweenlet.flow.variational.sweep`, in place where ``increment`` is in one piece."""
    batch, _, height, width = increment.shape
    increment = increment.contiguous()
    with torch.cuda.device_of(increment):  # type: ignore[no-untyped-call]
        _sweep[(triton.cdiv(height * ((width + 1) // 2), PIXELS), batch)](
            system.contiguous(),
            increment,
            height,
            width,
            black,
            PIXELS=PIXELS,
            SYSTEM=SYSTEM,
            OMEGA=OMEGA,
            num_warps=WARPS,
        )
    return increment


@triton.jit
def _pictures(
    first: tl.tensor, second: tl.tensor, flow: tl.tensor, pictures: tl.tensor, height: int, width: int,
    PIXELS: tl.constexpr,
) -> None:  # fmt: skip
    """A block of pixels of one pair of frames, the second fetched by flow: their mean, and the change."""
    image, pixel, known, row, column = block(height, width, PIXELS)
    plane = height * width
    flow += image * 2 * plane + pixel
    pictures += image * 2 * plane + pixel
    y = tl.minimum(tl.maximum(row + tl.load(flow + plane, known, 0.0), 0.0), height - 1.0)
    x = tl.minimum(tl.maximum(column + tl.load(flow, known, 0.0), 0.0), width - 1.0)
    top, left = tl.floor(y), tl.floor(x)
    fetched = bilinear(
        second + image * plane, top.to(tl.int32), left.to(tl.int32), y - top, x - left, known,
        height, width, width, 1,
    )  # fmt: skip
    here = tl.load(first + image * plane + pixel, known, 0.0)
    tl.store(pictures, (here + fetched) / 2, known)
    tl.store(pictures + plane, fetched - here, known)


@triton.jit
def _slope(
    picture: tl.tensor, row: tl.tensor, column: tl.tensor, known: tl.tensor, height: int, width: int,
    DOWN: tl.constexpr,
) -> tl.tensor:  # fmt: skip
    """The number below a pixel less that above, or those to its right and left; borders go on."""
    if DOWN:
        one = tl.minimum(row + 1, height - 1) * width + column
        other = tl.maximum(row - 1, 0) * width + column
    else:
        one = row * width + tl.minimum(column + 1, width - 1)
        other = row * width + tl.maximum(column - 1, 0)
    return tl.load(picture + one, known, 0.0) - tl.load(picture + other, known, 0.0)


@triton.jit
def _slopes(pictures: tl.tensor, slopes: tl.tensor, height: int, width: int, PIXELS: tl.constexpr) -> None:
    """A block of pixels of the mean and the change of one pair of frames."""
    image, pixel, known, row, column = block(height, width, PIXELS)
    plane = height * width
    mean = pictures + image * 2 * plane
    change = mean + plane
    slopes += image * 8 * plane + pixel
    right, left = tl.minimum(column + 1, width - 1), tl.maximum(column - 1, 0)
    below, above = tl.minimum(row + 1, height - 1), tl.maximum(row - 1, 0)
    xx = _slope(mean, row, right, known, height, width, False)
    xx -= _slope(mean, row, left, known, height, width, False)
    xy = _slope(mean, below, column, known, height, width, False)
    xy -= _slope(mean, above, column, known, height, width, False)
    yy = _slope(mean, below, column, known, height, width, True)
    yy -= _slope(mean, above, column, known, height, width, True)
    tl.store(slopes, _slope(mean, row, column, known, height, width, False), known)
    tl.store(slopes + plane, _slope(mean, row, column, known, height, width, True), known)
    tl.store(slopes + 2 * plane, tl.load(change + pixel, known, 0.0), known)
    tl.store(slopes + 3 * plane, xx, known)
    tl.store(slopes + 4 * plane, xy, known)
    tl.store(slopes + 5 * plane, yy, known)
    tl.store(slopes + 6 * plane, _slope(change, row, column, known, height, width, False), known)
    tl.store(slopes + 7 * plane, _slope(change, row, column, known, height, width, True), known)


@triton.jit
def _at(
    flow: tl.tensor, more: tl.tensor, row: tl.tensor, column: tl.tensor, known: tl.tensor,
    height: int, width: int,
) -> tuple[tl.tensor, tl.tensor]:  # fmt: skip
    """Flow and what is added at a pixel, or at the last one before the border."""
    place = tl.minimum(tl.maximum(row, 0), height - 1) * width + tl.minimum(tl.maximum(column, 0), width - 1)
    u = tl.load(flow + place, known, 0.0) + tl.load(more + place, known, 0.0)
    place += height * width
    return u, tl.load(flow + place, known, 0.0) + tl.load(more + place, known, 0.0)


@triton.jit
def _smooth(
    flow: tl.tensor, more: tl.tensor, row: tl.tensor, column: tl.tensor, known: tl.tensor,
    height: int, width: int, ALPHA: tl.constexpr, EPSILON_SQUARED: tl.constexpr,
) -> tl.tensor:  # fmt: skip
    """How much a pixel's flow is held to that of its neighbours to the right and below."""
    u, v = _at(flow, more, row, column, known, height, width)
    right_u, right_v = _at(flow, more, row, column + 1, known, height, width)
    below_u, below_v = _at(flow, more, row + 1, column, known, height, width)
    right_u, right_v, below_u, below_v = right_u - u, right_v - v, below_u - u, below_v - v
    squares = right_u * right_u + right_v * right_v + below_u * below_u + below_v * below_v
    return ALPHA / 2 / tl.sqrt(squares + EPSILON_SQUARED)


@triton.jit
def _system(
    slopes: tl.tensor, flow: tl.tensor, more: tl.tensor, system: tl.tensor, height: int, width: int,
    PIXELS: tl.constexpr, SYSTEM: tl.constexpr, ALPHA: tl.constexpr, DELTA: tl.constexpr,
    GAMMA: tl.constexpr, ZETA_SQUARED: tl.constexpr, EPSILON_SQUARED: tl.constexpr,
) -> None:  # fmt: skip
    """A block of pixels of one pair of frames."""
    image, pixel, known, row, column = block(height, width, PIXELS)
    plane = height * width
    slopes += image * 8 * plane + pixel
    flow += image * 2 * plane
    more += image * 2 * plane
    system += image * SYSTEM * plane + pixel
    x, y = tl.load(slopes, known, 0.0), tl.load(slopes + plane, known, 0.0)
    t = tl.load(slopes + 2 * plane, known, 0.0)
    xx, xy = tl.load(slopes + 3 * plane, known, 0.0), tl.load(slopes + 4 * plane, known, 0.0)
    yy = tl.load(slopes + 5 * plane, known, 0.0)
    xt, yt = tl.load(slopes + 6 * plane, known, 0.0), tl.load(slopes + 7 * plane, known, 0.0)
    u, v = tl.load(more + pixel, known, 0.0), tl.load(more + plane + pixel, known, 0.0)

    squares = x * x + y * y + ZETA_SQUARED
    change = t + x * u + y * v
    weight = DELTA / 2 / tl.sqrt(change * change / squares + EPSILON_SQUARED) / squares
    by_x, by_y = xx * xx + xy * xy + ZETA_SQUARED, yy * yy + xy * xy + ZETA_SQUARED
    change_x, change_y = xt + xx * u + xy * v, yt + xy * u + yy * v
    along = GAMMA / 2 / tl.sqrt(change_x * change_x / by_x + change_y * change_y / by_y + EPSILON_SQUARED)
    by_x, by_y = along / by_x, along / by_y

    right = _smooth(flow, more, row, column, known, height, width, ALPHA, EPSILON_SQUARED)
    below = tl.where(row < height - 1, right, 0.0)
    right = tl.where(column < width - 1, right, 0.0)
    left = _smooth(flow, more, row, column - 1, known, height, width, ALPHA, EPSILON_SQUARED)
    left = tl.where(column > 0, left, 0.0)
    above = _smooth(flow, more, row - 1, column, known, height, width, ALPHA, EPSILON_SQUARED)
    above = tl.where(row > 0, above, 0.0)
    held = left + right + above + below
    own_u, own_v = tl.load(flow + pixel, known, 0.0), tl.load(flow + plane + pixel, known, 0.0)
    pulled_u, pulled_v = -held * own_u, -held * own_v
    for neighbour in tl.static_range(4):
        if neighbour == 0:
            its, step, there = left, -1, known & (column > 0)
        elif neighbour == 1:
            its, step, there = right, 1, known & (column < width - 1)
        elif neighbour == 2:
            its, step, there = above, -width, known & (row > 0)
        else:
            its, step, there = below, width, known & (row < height - 1)
        pulled_u += its * tl.load(flow + pixel + step, there, 0.0)
        pulled_v += its * tl.load(flow + plane + pixel + step, there, 0.0)

    tl.store(system, weight * x * x + by_x * xx * xx + by_y * xy * xy + ZETA_SQUARED + held, known)
    tl.store(system + plane, weight * y * y + by_x * xy * xy + by_y * yy * yy + ZETA_SQUARED + held, known)
    tl.store(system + 2 * plane, weight * x * y + by_x * xx * xy + by_y * xy * yy, known)
    tl.store(system + 3 * plane, pulled_u - weight * t * x - by_x * xx * xt - by_y * xy * yt, known)
    tl.store(system + 4 * plane, pulled_v - weight * t * y - by_x * xy * xt - by_y * yy * yt, known)
    tl.store(system + 5 * plane, right, known)
    tl.store(system + 6 * plane, below, known)


@triton.jit
def _sweep(
    system: tl.tensor, more: tl.tensor, height: int, width: int, black: int,
    PIXELS: tl.constexpr, SYSTEM: tl.constexpr, OMEGA: tl.constexpr,
) -> None:  # fmt: skip
    """A block of pixels of one colour."""
    image = tl.program_id(1).to(tl.int64)
    plane = height * width
    number = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)
    across = (width + 1) // 2
    row = number // across
    column = 2 * (number % across) + (row + black) % 2
    known = (row < height) & (column < width)
    pixel = row * width + column
    system += image * SYSTEM * plane + pixel
    more += image * 2 * plane + pixel
    around_u = tl.zeros((PIXELS,), tl.float32)
    around_v = around_u
    for neighbour in tl.static_range(4):
        if neighbour == 0:  # its weight to the right is this one's to the left
            step, weights, there = -1, 5 * plane - 1, known & (column > 0)
        elif neighbour == 1:
            step, weights, there = 1, 5 * plane, known & (column < width - 1)
        elif neighbour == 2:
            step, weights, there = -width, 6 * plane - width, known & (row > 0)
        else:
            step, weights, there = width, 6 * plane, known & (row < height - 1)
        weight = tl.load(system + weights, there, 0.0)
        around_u += weight * tl.load(more + step, there, 0.0)
        around_v += weight * tl.load(more + plane + step, there, 0.0)
    uu, vv = tl.load(system, known, 1.0), tl.load(system + plane, known, 1.0)
    uv = tl.load(system + 2 * plane, known, 0.0)
    u, v = tl.load(more, known, 0.0), tl.load(more + plane, known, 0.0)
    u += OMEGA * ((around_u + tl.load(system + 3 * plane, known, 0.0) - v * uv) / uu - u)
    v += OMEGA * ((around_v + tl.load(system + 4 * plane, known, 0.0) - u * uv) / vv - v)
    tl.store(more, u, known)
    tl.store(more + plane, v, known)
