"""Backward warp in C (csrc/warp.c), for planes and for channels_last pixels."""

from __future__ import annotations

import torch
from torch import Tensor

from tweenlet.ops.cpu.bindings import for_each_sample
from tweenlet.ops.cpu.library import require_library


def backwarp(source: Tensor, flow: Tensor) -> Tensor:
    """As :func:`tweenlet.ops.warp.backwarp`; the result has the memory format of the source."""
    channels, height, width = source.shape[1:]
    channels_last = _is_channels_last(source)
    source = source if channels_last else source.contiguous()
    warped = torch.empty_like(source)
    flow = flow if flow.stride(2) == width * flow.stride(3) else flow.contiguous()
    strides = (source.stride(3), warped.stride(3), flow.stride(3), flow.stride(1))
    settings = (channels_last, *strides, channels, height, width, torch.get_num_threads())
    for_each_sample(require_library().backwarp, (source, flow, warped), *settings)
    return warped


def _is_channels_last(x: Tensor) -> bool:
    """Whether the channels of a pixel of (B, C, H, W) are adjacent, and pixels evenly spaced."""
    return x.shape[1] > 1 and x.stride(1) == 1 and x.stride(2) == x.shape[3] * x.stride(3)
