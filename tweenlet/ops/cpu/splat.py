"""Splatting in C (csrc/splat.c): sums whose order is the same for any number of threads."""

from __future__ import annotations

import torch
from torch import Tensor

from tweenlet.ops.cpu.bindings import for_each_sample
from tweenlet.ops.cpu.library import require_library


def splat_sum(values: Tensor, flow: Tensor) -> Tensor:
    """As :func:`tweenlet.ops.splat.splat_sum`."""
    inputs = [x.contiguous() for x in (values, flow)]
    total = torch.empty_like(inputs[0])
    for_each_sample(require_library().splat_sum, (*inputs, total), *values.shape[1:], torch.get_num_threads())
    return total
