"""Inputs of a level of an intermediate-flow network, in C (csrc/levels.c), channels_last."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tweenlet.ops.cpu.arena import empty_channels_last
from tweenlet.ops.cpu.level_entry import adjacent_channels, pack_estimates, padded_pixels
from tweenlet.ops.cpu.library import require_library


def pooled_level_inputs(
    before: Tensor, after: Tensor, times: Tensor, scale: int, estimates: Sequence[Tensor]
) -> Tensor:
    """As :func:`tweenlet.ops.levels.pooled_level_inputs`, channels_last."""
    batch, channels, height, width = before.shape
    before, after, known_channels = padded_pixels(before), padded_pixels(after), estimates[-1].shape[1]
    estimates = adjacent_channels(estimates)
    shape = (batch, 2 * channels + 1 + known_channels, height // scale, width // scale)
    inputs = empty_channels_last(shape, before.dtype, before.device)
    for k, time in enumerate(times.flatten().tolist()):
        require_library().pooled_level_inputs(
            *(before[k], after[k], pack_estimates(estimates, k, height), len(estimates), inputs[k], time),
            *(channels, before.stride(3), known_channels, height, width, scale, torch.get_num_threads()),
        )
    return inputs


def merge_warped(before: Tensor, after: Tensor, estimates: Sequence[Tensor]) -> Tensor:
    """As :func:`tweenlet.ops.levels.merge_warped`."""
    batch, _, height, width = before.shape
    before, after = padded_pixels(before), padded_pixels(after)
    estimates = adjacent_channels(estimates)
    frame = before.new_empty(batch, 3, height, width)
    for k in range(batch):
        require_library().merge_warped(
            *(before[k], after[k], pack_estimates(estimates, k, height), len(estimates), frame[k]),
            *(before.stride(3), height, width, torch.get_num_threads()),
        )
    return frame
