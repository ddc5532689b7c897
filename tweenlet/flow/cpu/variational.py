"""The variational refinement in C (csrc/variational.c): all of it in one call."""

from __future__ import annotations

import torch
from torch import Tensor

from tweenlet.flow.variational import (
    ALPHA,
    DELTA,
    EPSILON_SQUARED,
    FIXED_POINT_ITERATIONS,
    GAMMA,
    OMEGA,
    SOR_ITERATIONS,
    ZETA_SQUARED,
)
from tweenlet.ops.cpu.bindings import Penalties, for_each_sample
from tweenlet.ops.cpu.library import loaded, threads_for


def refine(first: Tensor, second: Tensor, flow: Tensor) -> Tensor:
    """As :func:`tweenlet.flow.variational.refine`."""
    inputs = [x.contiguous() for x in (first, second, flow)]
    refined = torch.empty_like(inputs[-1])
    penalties = Penalties(ALPHA, DELTA, GAMMA, OMEGA, ZETA_SQUARED, EPSILON_SQUARED)
    settings = (FIXED_POINT_ITERATIONS, SOR_ITERATIONS, penalties, threads_for(first[0].numel()))
    for_each_sample(loaded().refine_flow, (*inputs, refined), *first.shape[1:], *settings)
    return refined
