"""Packing: weights laid out as the GEMM micro-kernels (csrc/gemm.h) read them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from tweenlet.ops.cpu.library import library


def vector_lanes() -> int:
    """Numbers per vector, to whose multiples native code pads channels."""
    compiled = library()
    return 1 if compiled is None else int(compiled.vector_lanes())


def pad_channels(numbers: Tensor, channels: int) -> Tensor:
    """Pad a value per channel with zeros, as far as a vector can reach beyond the last; float32."""
    return F.pad(numbers.float().cpu().expand(channels), (0, vector_lanes())).contiguous()


def pack_weights(matrices: Tensor, dtype: torch.dtype) -> Tensor:
    """Pack matrices (N, taps, inputs, outputs) in ``dtype`` as (N, numbers), in blocks of output vectors."""
    outputs = matrices.shape[-1]
    pair = 2 if dtype == torch.bfloat16 else 1  # inputs side by side for each output
    matrices = F.pad(matrices.cpu().to(dtype), (0, -outputs % vector_lanes(), 0, -matrices.shape[-2] % pair))
    count, taps = matrices.shape[:2]
    by_pair = matrices.view(count, taps, -1, pair, matrices.shape[-1]).transpose(-1, -2).flatten(-2)
    parts = torch.split(by_pair, [pair * outputs for outputs in group_outputs(matrices.shape[-1])], -1)
    return torch.cat([part.flatten(1) for part in parts], 1).contiguous()


def group_outputs(outputs: int) -> list[int]:
    """Outputs of each micro-kernel call, of so many in whole vectors: as ``vectors_at_once`` in gemm.h."""
    lanes = vector_lanes()
    left, at_once = outputs // lanes, list[int]()
    while left:
        if lanes == 16:
            at_once.append(2 if left == 4 else min(left, 3))
        else:
            at_once.append(3 if left == 3 else min(left, 2))
        left -= at_once[-1]
    return [vectors * lanes for vectors in at_once]
