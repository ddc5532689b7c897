"""What a level of an intermediate-flow network sees, in C (csrc/levels.c), channels_last."""

from __future__ import annotations

import torch
from torch import Tensor

from tweenlet.ops.cpu.arena import empty_channels_last
from tweenlet.ops.cpu.library import loaded


def level_inputs(
    before: Tensor, after: Tensor, times: Tensor, scale: int, estimate: Tensor, factor: int, *more: Tensor
) -> tuple[Tensor, Tensor]:
    """As :func:`tweenlet.ops.levels.level_inputs`."""
    batch, channels, height, width = before.shape
    known, before, after = estimate.shape[1], _pixels(before), _pixels(after)
    estimate = _pixels(torch.cat((estimate, *more), 1) if more else estimate)
    beside = estimate.shape[1] - known
    size = (height, width)
    outputs = 2 * channels + 1 + known + beside
    inputs, flows = (
        empty_channels_last((batch, count, *size), before.dtype, before.device) for count in (outputs, 4)
    )
    for k, time in enumerate(times.flatten().tolist()):
        loaded().level_inputs(
            *(before[k], after[k], estimate[k], inputs[k], flows[k], time),
            *(channels, known, beside, height, width, factor, scale, torch.get_num_threads()),
        )
    return inputs, flows


def _pixels(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)
