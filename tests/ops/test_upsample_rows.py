"""Enlarge, in native code and by PyTorch."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from tweenlet.ops import dispatch
from tweenlet.ops.resample import upsample_rows


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("shape", [(1, 3, 1, 1), (2, 16, 6, 5), (1, 40, 9, 14)], ids=str)
def test_any_rows_are_those_of_the_whole(compiled, dtype, shape):
    if compiled and not dispatch.has_native(dtype):
        pytest.skip("a processor without bfloat16")
    x = torch.rand(shape).to(dtype).contiguous(memory_format=torch.channels_last)
    whole = F.interpolate(x.double(), scale_factor=2, mode="bilinear", align_corners=False)
    height = whole.shape[2]
    for start in range(height):
        for end in range(start + 1, height + 1):
            made = upsample_rows(x, start, end)
            assert made.dtype == dtype
            apart = (made.double() - whole[:, :, start:end]).abs().max()
            assert apart < (1e-6 if dtype == torch.float32 else 2**-8)


@pytest.mark.parametrize("rows", [(-1, 3), (4, 3), (0, 13)], ids=str)
def test_rows_that_are_not_there_are_refused(compiled, rows):
    x = torch.rand(1, 3, 6, 5).contiguous(memory_format=torch.channels_last)
    with pytest.raises(ValueError, match=f"some of 12 rows, got those from {rows[0]} to {rows[1]}"):
        upsample_rows(x, *rows)


def test_a_picture_without_pixels_is_left_to_pytorch():
    x = torch.rand(1, 3, 6, 0).contiguous(memory_format=torch.channels_last)
    with pytest.raises(RuntimeError, match="greater than 0"):
        upsample_rows(x, 0, 12)
