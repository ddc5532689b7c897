"""The cost volume in C (csrc/correlation.c)."""

from __future__ import annotations

import torch
from torch import Tensor

from tweenlet.ops.correlation import MATCHES
from tweenlet.ops.cpu.bindings import Strided
from tweenlet.ops.cpu.library import require_library


def correlation(first: Tensor, second: Tensor) -> Tensor:
    """As :func:`tweenlet.ops.correlation.correlation`, channels_last."""
    batch, channels, height, width = first.shape
    volume = first.new_empty(batch, height, width, MATCHES)
    maps = (Strided(x, *x.stride()) for x in (first, second))
    require_library().correlation(*maps, volume, batch, channels, height, width, torch.get_num_threads())
    return volume.permute(0, 3, 1, 2)
