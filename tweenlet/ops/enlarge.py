"""Enlarge: pictures of twice the size, bilinear, some rows at a time.

(B, C, h, w)  -->  rows of (B, C, 2h, 2w)
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from tweenlet.ops.cpu import arena as region
from tweenlet.ops.cpu import library as native


def doubled(x: Tensor, start: int, end: int) -> Tensor:
    """The rows from ``start`` to ``end`` of ``x`` (B, C, h, w) at twice its size: (B, C, end - start, 2w).

    As ``F.interpolate`` does it, pixel areas on pixel areas; no gradient. What lies channels last in float32
    or bfloat16 on a CPU goes through native code, on all threads. ValueError for rows that it does not have.
    """
    library = native.library()
    batch, channels, height, width = x.shape
    if not 0 <= start <= end <= 2 * height:
        raise ValueError(f"expected some of {2 * height} rows, got those from {start} to {end}")
    if (
        library is None
        or x.numel() == 0
        or x.device.type != "cpu"
        or not native.takes(x.dtype)
        or not x.is_contiguous(memory_format=torch.channels_last)
    ):
        first, last = max(start // 2 - 1, 0), min(end // 2 + 1, height)
        wide = F.interpolate(x[:, :, first:last], scale_factor=2, mode="bilinear", align_corners=False)
        return wide[:, :, start - 2 * first : end - 2 * first]
    made = region.pixels((batch, channels, end - start, 2 * width), x.dtype, x.device)
    sizes = (batch, height, width, channels, start, end)
    library.upsample_rows(x.dtype == torch.bfloat16, x, made, *sizes, torch.get_num_threads())
    return made
