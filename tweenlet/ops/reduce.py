"""Means: of each channel over a picture or several in time, in one pass over memory.

(B, C, ...)  -->  (B, C, 1, ...)
"""

from __future__ import annotations

import torch
from torch import Tensor

from tweenlet.ops.cpu import library as native


def means(x: Tensor) -> Tensor:
    """The mean of each channel of ``x`` (B, C, H, W) or (B, C, T, H, W), with sides of 1 for the rest.

    Where nothing is learnt, one sample of float32 or bfloat16 on a CPU, channels last, goes through native
    code on all threads: PyTorch takes up to five times as long.
    """
    rest = tuple(range(2, x.dim()))
    found = None if torch.compiler.is_compiling() else _by_native_code(x)
    if found is None:
        return x.mean(rest, keepdim=True)
    return (found / x[0, 0].numel()).to(x.dtype)[(..., *[None] * len(rest))]


def sums(x: Tensor) -> Tensor:
    """The sum of each channel of ``x`` as in :func:`means`, (B, C), float64."""
    found = _by_native_code(x)
    return x.sum(tuple(range(2, x.dim())), dtype=torch.float64) if found is None else found


def _by_native_code(x: Tensor) -> Tensor | None:
    library = native.library()
    form = torch.channels_last if x.dim() == 4 else torch.channels_last_3d
    if (
        library is None
        or x.device.type != "cpu"
        or x.shape[0] != 1
        or x.dim() not in (4, 5)
        or not native.takes(x.dtype)
        or not x.is_contiguous(memory_format=form)
        or (torch.is_grad_enabled() and x.requires_grad)
    ):
        return None
    channels, threads = x.shape[1], torch.get_num_threads()
    found = x.new_zeros(threads, channels, dtype=torch.float64)
    library.channel_sum(x.dtype == torch.bfloat16, x, found, x[0, 0].numel(), channels, threads)
    return found.sum(0, keepdim=True)
