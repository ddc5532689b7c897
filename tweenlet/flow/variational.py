"""Variational refinement: flow made smooth, and true to brightness and slopes, by a few relaxations.

    first, second (B, h, w), flow (B, 2, h, w) in pixels  ->  flow (B, 2, h, w)

    slopes of both --+--> system: seven numbers a pixel --> swept, red and black pixels in turn --+
                     |                                                                            |
                     +--- FIXED times, each with the weights that follow from the last one <------+

Brox et al., "High Accuracy Optical Flow Estimation Based on a Theory for Warping", 2004, in the form that
OpenCV has it in (`cv2.VariationalRefinement`), and equal to it: robust penalties for the change of a pixel,
for that of its slopes, and for how flow differs between neighbours, linearised where the flow was found. On
a CPU all of it is native code.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tweenlet.ops.cpu import library as native
from tweenlet.ops.cpu.bindings import Library, Penalties, for_each_sample
from tweenlet.ops.dispatch import wanted
from tweenlet.ops.warp import sample

FIXED, SWEEPS = 5, 5
"""How often the weights are found anew, and how often all pixels are then relaxed."""
SMOOTH, BRIGHT, SLOPE = 20.0, 5.0, 10.0
"""How much flow that differs counts, a pixel that changes, and a slope that changes."""
OVER = 1.6
"""Each relaxation goes so much further than it is told to."""
DULL, TINY = 0.1**2, 0.001**2
"""Added to squares of slopes, and to those of what is penalised."""
SYSTEM = 7
"""Planes of a system: two on and one off the diagonal, two right sides, weights to the right and below."""


def refined(first: Tensor, second: Tensor, flow: Tensor) -> Tensor:
    """The flow (B, 2, h, w) from ``first`` to ``second`` (B, h, w), luma in [0, 255], refined; float32."""
    if (library := native.library_for(first, second, flow)) is not None:
        return _by_native_code(library, first, second, flow)
    slopes = slopes_of(first, second, flow)
    more = torch.zeros_like(flow, memory_format=torch.contiguous_format)
    for _ in range(FIXED):
        system = system_of(slopes, flow, more)
        for _ in range(SWEEPS):
            for black in (0, 1):
                more = swept(system, more, black)
    return flow + more


def slopes_of(first: Tensor, second: Tensor, flow: Tensor) -> Tensor:
    """What is linear around a flow (B, 2, h, w) between two frames (B, h, w), as (B, 8, h, w).

    Slopes along x and y, the change, slopes of slopes (xx, xy, yy), and those of the change along x and y.
    """
    if wanted(first, second, flow):
        from tweenlet.flow.cuda import variational as triton_variational

        return triton_variational.slopes_of(first, second, flow)
    warped = sample(second[:, None], flow)[:, 0]
    between, change = (first + warped) / 2, warped - first
    x, y = _slope(between, -1), _slope(between, -2)
    return torch.stack(
        (x, y, change, _slope(x, -1), _slope(x, -2), _slope(y, -2), _slope(change, -1), _slope(change, -2)), 1
    )


def system_of(slopes: Tensor, flow: Tensor, more: Tensor) -> Tensor:
    """What pixels are relaxed by, (B, SYSTEM, h, w), from slopes (B, 8, h, w), flow and what is added."""
    if wanted(slopes, flow, more):
        from tweenlet.flow.cuda import variational as triton_variational

        return triton_variational.system_of(slopes, flow, more)
    x, y, t, xx, xy, yy, xt, yt = slopes.unbind(1)
    u, v = more.unbind(1)
    squares = x * x + y * y + DULL
    weight = BRIGHT / 2 / ((t + x * u + y * v).square() / squares + TINY).sqrt() / squares
    by_x, by_y = xx * xx + xy * xy + DULL, yy * yy + xy * xy + DULL
    change_x, change_y = xt + xx * u + xy * v, yt + xy * u + yy * v
    along = SLOPE / 2 / (change_x.square() / by_x + change_y.square() / by_y + TINY).sqrt()
    by_x, by_y = along / by_x, along / by_y
    now = flow + more
    squares = (_onward(now, -1).square() + _onward(now, -2).square()).sum(1)
    smooth = SMOOTH / 2 / (squares + TINY).sqrt()
    right, below = smooth.clone(), smooth
    right[..., -1], below[..., -1, :] = 0, 0
    held = right + _shifted(right, -1) + below + _shifted(below, -2)
    pulled = torch.zeros((), device=flow.device)
    for weights, dim in ((right, -1), (below, -2)):
        pull = weights[:, None] * _onward(flow, dim)
        pulled = pulled + pull - _shifted(pull, dim)
    return torch.stack(
        (
            weight * x * x + by_x * xx * xx + by_y * xy * xy + DULL + held,
            weight * y * y + by_x * xy * xy + by_y * yy * yy + DULL + held,
            weight * x * y + by_x * xx * xy + by_y * xy * yy,
            pulled[:, 0] - weight * t * x - by_x * xx * xt - by_y * xy * yt,
            pulled[:, 1] - weight * t * y - by_x * xy * xt - by_y * yy * yt,
            right,
            below,
        ), 1,
    )  # fmt: skip


def swept(system: Tensor, more: Tensor, black: int) -> Tensor:
    """What is added to the flow, (B, 2, h, w), with all red pixels relaxed, or all black ones.

    It may be the same tensor, changed.
    """
    if wanted(system, more):
        from tweenlet.flow.cuda import variational as triton_variational

        return triton_variational.swept(system, more, black)
    uu, vv, uv, by_u, by_v, right, below = system.unbind(1)
    around = torch.zeros((), device=more.device)
    for weights, dim in ((right, -1), (below, -2)):
        around = around + weights[:, None] * _shifted(more, dim, back=True)
        around = around + _shifted(weights[:, None] * more, dim)
    u, v = more.unbind(1)
    new_u = u + OVER * ((around[:, 0] + by_u - v * uv) / uu - u)
    new_v = v + OVER * ((around[:, 1] + by_v - new_u * uv) / vv - v)
    row, column = (torch.arange(side, device=more.device) for side in more.shape[-2:])
    chosen = (row[:, None] + column) % 2 == black
    return torch.where(chosen, torch.stack((new_u, new_v), 1), more)


def _slope(x: Tensor, dim: int) -> Tensor:
    """The next number less the one before, along a dimension; the last goes on beyond the borders."""
    size = x.shape[dim]
    place = torch.arange(size, device=x.device)
    return x.index_select(dim, (place + 1).clamp_max(size - 1)) - x.index_select(
        dim, (place - 1).clamp_min(0)
    )


def _onward(x: Tensor, dim: int) -> Tensor:
    """The next number less the own one, along a dimension; nothing at the end."""
    return torch.cat((x.diff(dim=dim), torch.zeros_like(x.narrow(dim, 0, 1))), dim)


def _shifted(x: Tensor, dim: int, back: bool = False) -> Tensor:
    """Each number at the next place along a dimension, or ``back`` at the one before; zero comes in."""
    size, none = x.shape[dim], torch.zeros_like(x.narrow(dim, 0, 1))
    kept = x.narrow(dim, 1 if back else 0, size - 1)
    return torch.cat((kept, none) if back else (none, kept), dim)


def _by_native_code(library: Library, first: Tensor, second: Tensor, flow: Tensor) -> Tensor:
    read = [x.contiguous() for x in (first, second, flow)]
    made = torch.empty_like(read[-1])
    penalties = Penalties(SMOOTH, BRIGHT, SLOPE, OVER, DULL, TINY)
    threads = native.threads(first[0].numel())
    for_each_sample(library.refine_flow, (*read, made), *first.shape[1:], FIXED, SWEEPS, penalties, threads)
    return made
