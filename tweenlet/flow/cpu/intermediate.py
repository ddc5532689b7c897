"""Intermediate flow in C (csrc/intermediate.c)."""

from __future__ import annotations

import torch
from torch import Tensor

from tweenlet.flow.intermediate import FALLBACK_WEIGHT, PHOTOMETRIC_DECAY
from tweenlet.ops.cpu.bindings import for_each_sample
from tweenlet.ops.cpu.library import loaded


def intermediate_flow(before: Tensor, after: Tensor, flows: Tensor) -> tuple[Tensor, Tensor]:
    """As :func:`tweenlet.flow.intermediate.intermediate_flow`."""
    height, width = (side // 2 for side in before.shape[2:])
    flow, coverage = (before.new_empty(len(before), planes, height, width) for planes in (8, 2))
    samples = (before.contiguous(), after.contiguous(), flows.contiguous(), flow, coverage)
    settings = (height, width, PHOTOMETRIC_DECAY, FALLBACK_WEIGHT, torch.get_num_threads())
    for_each_sample(loaded().intermediate_flow, samples, *settings)
    return flow, coverage
