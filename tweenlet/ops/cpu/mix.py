"""Synthesis from flows at half the frame's size, in C (csrc/mix.c)."""

from __future__ import annotations

import torch
from torch import Tensor

from tweenlet.ops.cpu.arena import empty_channels_last
from tweenlet.ops.cpu.bindings import for_each_sample
from tweenlet.ops.cpu.library import require_library


def fetch_both(before: Tensor, after: Tensor, flows: Tensor) -> Tensor:
    """As :func:`tweenlet.ops.mix.fetch_both`, channels_last."""
    batch, _, height, width = before.shape
    fetched = empty_channels_last((batch, 24, height // 2, width // 2), before.dtype, before.device)
    samples = (before.contiguous(), after.contiguous(), flows, fetched)
    strides = (flows.stride(2), flows.stride(3), flows.stride(1))
    for_each_sample(require_library().fetch_both, samples, *strides, height, width, torch.get_num_threads())
    return fetched


def mix(
    before: Tensor, after: Tensor, fetched: Tensor, mask: Tensor, correction: Tensor | None, still: Tensor
) -> Tensor:
    """As :func:`tweenlet.ops.mix.mix`."""
    height, width = before.shape[2:]
    before, after, still = before.contiguous(), after.contiguous(), still.contiguous()
    fetched = fetched.contiguous(memory_format=torch.channels_last)
    frame = torch.empty_like(before)
    for k in range(len(frame)):
        more = None
        if correction is not None:
            more = correction[k].permute(1, 2, 0).contiguous().permute(2, 0, 1)
        require_library().mix(
            *(before[k], after[k], fetched[k], mask[k], more, still[k], frame[k]),
            *(mask.stride(2), mask.stride(3), height, width, torch.get_num_threads()),
        )
    return frame
