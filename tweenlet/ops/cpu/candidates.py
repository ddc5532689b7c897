"""Candidates blended in C (csrc/candidates.c): nothing of four frames is ever whole."""

from __future__ import annotations

import torch
from torch import Tensor

from tweenlet.ops.candidates import MERGED_CHANNELS
from tweenlet.ops.cpu.arena import empty_channels_last
from tweenlet.ops.cpu.bindings import for_each_sample
from tweenlet.ops.cpu.library import loaded


def blend_candidates(before: Tensor, after: Tensor, flow: Tensor, logits: Tensor) -> tuple[Tensor, Tensor]:
    """As :func:`tweenlet.ops.candidates.blend_candidates`, the residuals channels_last."""
    height, width = flow.shape[2:]
    frames = [x.contiguous() for x in (before, after)]
    maps = [x if x.stride(2) == width * x.stride(3) else x.contiguous() for x in (flow, logits)]
    strides = [x.stride(dim) for x in maps for dim in (1, 3)]
    average = torch.empty_like(frames[0])
    shape = (len(before), 4 * MERGED_CHANNELS, height, width)
    residuals = empty_channels_last(shape, before.dtype, before.device)
    settings = (*strides, height, width, torch.get_num_threads())
    for_each_sample(loaded().blend_candidates, (*frames, *maps, average, residuals), *settings)
    return average, residuals
