"""Inputs of a level of an intermediate-flow network, in C (csrc/levels.c), channels_last."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from tweenlet.ops.cpu.arena import empty_channels_last
from tweenlet.ops.cpu.bindings import Estimate, array
from tweenlet.ops.cpu.library import require_library


def level_inputs(
    before: Tensor, after: Tensor, times: Tensor, scale: int, estimate: Tensor, factor: int, *more: Tensor
) -> tuple[Tensor, Tensor]:
    """As :func:`tweenlet.ops.levels.level_inputs`."""
    batch, channels, height, width = before.shape
    known_channels, before, after = estimate.shape[1], _pixels(before), _pixels(after)
    estimate = _pixels(torch.cat((estimate, *more), 1) if more else estimate)
    more_channels = estimate.shape[1] - known_channels
    size, threads = (height, width), torch.get_num_threads()
    outputs = 2 * channels + 1 + known_channels + more_channels
    inputs, flows = (
        empty_channels_last((batch, count, *size), before.dtype, before.device) for count in (outputs, 4)
    )
    for k, time in enumerate(times.flatten().tolist()):
        require_library().level_inputs(
            *(before[k], after[k], estimate[k], inputs[k], flows[k], time),
            *(channels, known_channels, more_channels, height, width, factor, scale, threads),
        )
    return inputs, flows


def pooled_level_inputs(
    before: Tensor, after: Tensor, times: Tensor, scale: int, estimates: Sequence[Tensor]
) -> Tensor:
    """As :func:`tweenlet.ops.levels.pooled_level_inputs`, channels_last."""
    batch, channels, height, width = before.shape
    before, after, known_channels = _pixels(before), _pixels(after), estimates[-1].shape[1]
    estimates = [_pixels(estimate) for estimate in estimates]
    shape = (batch, 2 * channels + 1 + known_channels, height // scale, width // scale)
    inputs = empty_channels_last(shape, before.dtype, before.device)
    for k, time in enumerate(times.flatten().tolist()):
        require_library().pooled_level_inputs(
            *(before[k], after[k], _of_sample(estimates, k, height), len(estimates), inputs[k], time),
            *(channels, known_channels, height, width, scale, torch.get_num_threads()),
        )
    return inputs


def merge_warped(before: Tensor, after: Tensor, estimates: Sequence[Tensor]) -> Tensor:
    """As :func:`tweenlet.ops.levels.merge_warped`."""
    batch, channels, height, width = before.shape
    before, after, estimates = _pixels(before), _pixels(after), [_pixels(x) for x in estimates]
    frame = before.new_empty(batch, 3, height, width)
    for k in range(batch):
        require_library().merge_warped(
            *(before[k], after[k], _of_sample(estimates, k, height), len(estimates), frame[k]),
            *(channels, height, width, torch.get_num_threads()),
        )
    return frame


def _of_sample(estimates: Sequence[Tensor], sample: int, height: int) -> Any:
    return array(Estimate(x[sample], x.shape[1], height // x.shape[2]) for x in estimates)


def _pixels(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)
