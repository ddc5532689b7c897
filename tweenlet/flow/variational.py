"""Variational refinement: flow made smooth, and true to brightness and slopes, by a few relaxations.

    first, second (B, h, w), flow (B, 2, h, w) in pixels  ->  flow (B, 2, h, w)

    slopes of both --+--> system: seven numbers a pixel --> sweep, red and black pixels in turn --+
                     |                                                                            |
                     +--- some times, each with the weights that follow from the last one <-------+

Brox et al., "High Accuracy Optical Flow Estimation Based on a Theory for Warping", 2004, in the form that
OpenCV has it in (`cv2.VariationalRefinement`), and equal to it: robust penalties for the change of a pixel,
for that of its slopes, and for how flow differs between neighbours, linearised where the flow was found. On
a CPU all of it is one kernel.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tweenlet.ops.dispatch import kernel_for
from tweenlet.ops.warp import backwarp

FIXED_POINT_ITERATIONS, SOR_ITERATIONS = 5, 5
"""How often the weights are computed, and how often all pixels are relaxed by each of them."""
ALPHA, DELTA, GAMMA = 20.0, 5.0, 10.0
"""Weights of smoothness, of constant brightness and of constant gradients, named as in OpenCV."""
OMEGA = 1.6
"""Over-relaxation factor of the SOR solver."""
ZETA_SQUARED, EPSILON_SQUARED = 0.1**2, 0.001**2
"""Added to squares of gradients, and to those of what is penalised."""
SYSTEM = 7
"""Planes of a system: two on and one off the diagonal, two right sides, weights to the right and below."""


def refine(first: Tensor, second: Tensor, flow: Tensor) -> Tensor:
    """The flow (B, 2, h, w) from ``first`` to ``second`` (B, h, w), luma in [0, 255], refined; float32."""
    if (run := kernel_for(refine, first, second, flow)) is not None:
        return run(first, second, flow)
    gradients = linearize(first, second, flow)
    increment = torch.zeros_like(flow, memory_format=torch.contiguous_format)
    for _ in range(FIXED_POINT_ITERATIONS):
        system = assemble_system(gradients, flow, increment)
        for _ in range(SOR_ITERATIONS):
            for black in (0, 1):
                increment = sweep(system, increment, black)
    return flow + increment


def linearize(first: Tensor, second: Tensor, flow: Tensor) -> Tensor:
    """What is linear around a flow (B, 2, h, w) between two frames (B, h, w), as (B, 8, h, w).

    Gradients along x and y, the change, second derivatives (xx, xy, yy), and the gradients of the change.
    """
    if (run := kernel_for(linearize, first, second, flow)) is not None:
        return run(first, second, flow)
    warped = backwarp(second[:, None], flow)[:, 0]
    between, change = (first + warped) / 2, warped - first
    x, y = _gradient(between)
    (xx, xy), (_, yy), (xt, yt) = _gradient(x), _gradient(y), _gradient(change)
    return torch.stack((x, y, change, xx, xy, yy, xt, yt), 1)


def assemble_system(gradients: Tensor, flow: Tensor, increment: Tensor) -> Tensor:
    """What pixels are relaxed by, (B, SYSTEM, h, w), from gradients (B, 8, h, w), flow and what is added."""
    if (run := kernel_for(assemble_system, gradients, flow, increment)) is not None:
        return run(gradients, flow, increment)
    x, y, t, xx, xy, yy, xt, yt = gradients.unbind(1)
    u, v = increment.unbind(1)
    squares = x * x + y * y + ZETA_SQUARED
    weight = DELTA / 2 / ((t + x * u + y * v).square() / squares + EPSILON_SQUARED).sqrt() / squares
    by_x, by_y = xx * xx + xy * xy + ZETA_SQUARED, yy * yy + xy * xy + ZETA_SQUARED
    change_x, change_y = xt + xx * u + xy * v, yt + xy * u + yy * v
    along = GAMMA / 2 / (change_x.square() / by_x + change_y.square() / by_y + EPSILON_SQUARED).sqrt()
    by_x, by_y = along / by_x, along / by_y
    now = flow + increment
    squares = (_forward_difference(now, -1).square() + _forward_difference(now, -2).square()).sum(1)
    smooth = ALPHA / 2 / (squares + EPSILON_SQUARED).sqrt()
    right, below = smooth.clone(), smooth
    right[..., -1], below[..., -1, :] = 0, 0
    held = right + _shift(right, -1) + below + _shift(below, -2)
    pulled = torch.zeros((), device=flow.device)
    for weights, dim in ((right, -1), (below, -2)):
        pull = weights[:, None] * _forward_difference(flow, dim)
        pulled = pulled + pull - _shift(pull, dim)
    return torch.stack(
        (
            weight * x * x + by_x * xx * xx + by_y * xy * xy + ZETA_SQUARED + held,
            weight * y * y + by_x * xy * xy + by_y * yy * yy + ZETA_SQUARED + held,
            weight * x * y + by_x * xx * xy + by_y * xy * yy,
            pulled[:, 0] - weight * t * x - by_x * xx * xt - by_y * xy * yt,
            pulled[:, 1] - weight * t * y - by_x * xy * xt - by_y * yy * yt,
            right,
            below,
        ), 1,
    )  # fmt: skip


def sweep(system: Tensor, increment: Tensor, black: int) -> Tensor:
    """What is added to the flow, (B, 2, h, w), with all red pixels relaxed, or all black ones.

    It may be the same tensor, changed.
    """
    if (run := kernel_for(sweep, system, increment)) is not None:
        return run(system, increment, black)
    uu, vv, uv, by_u, by_v, right, below = system.unbind(1)
    around = torch.zeros((), device=increment.device)
    for weights, dim in ((right, -1), (below, -2)):
        around = around + weights[:, None] * _shift(increment, dim, back=True)
        around = around + _shift(weights[:, None] * increment, dim)
    u, v = increment.unbind(1)
    new_u = u + OMEGA * ((around[:, 0] + by_u - v * uv) / uu - u)
    new_v = v + OMEGA * ((around[:, 1] + by_v - new_u * uv) / vv - v)
    row, column = (torch.arange(side, device=increment.device) for side in increment.shape[-2:])
    chosen = (row[:, None] + column) % 2 == black
    return torch.where(chosen, torch.stack((new_u, new_v), 1), increment)


def _gradient(x: Tensor) -> tuple[Tensor, Tensor]:
    """Central differences along x and y, not halved; the borders go on."""
    along_x, along_y = (_central_difference(x, dim) for dim in (-1, -2))
    return along_x, along_y


def _central_difference(x: Tensor, dim: int) -> Tensor:
    """The next number less the one before, along a dimension; the last goes on beyond the borders."""
    size = x.shape[dim]
    place = torch.arange(size, device=x.device)
    return x.index_select(dim, (place + 1).clamp_max(size - 1)) - x.index_select(
        dim, (place - 1).clamp_min(0)
    )


def _forward_difference(x: Tensor, dim: int) -> Tensor:
    """The next number less the own one, along a dimension; nothing at the end."""
    return torch.cat((x.diff(dim=dim), torch.zeros_like(x.narrow(dim, 0, 1))), dim)


def _shift(x: Tensor, dim: int, back: bool = False) -> Tensor:
    """Each number at the next place along a dimension, or ``back`` at the one before; zero comes in."""
    size, none = x.shape[dim], torch.zeros_like(x.narrow(dim, 0, 1))
    kept = x.narrow(dim, 1 if back else 0, size - 1)
    return torch.cat((kept, none) if back else (none, kept), dim)
