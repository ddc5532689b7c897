"""Affine, in native code and by PyTorch."""

from __future__ import annotations

from ctypes import ArgumentError

import pytest
import torch
from torch.nn import functional as F

from tweenlet.ops import dispatch
from tweenlet.ops.epilogue import scale_shift_act_


@pytest.mark.parametrize("shape", [(1, 5, 7, 3), (1, 16, 4, 4), (1, 24, 3, 6, 5), (2, 3, 4, 5)], ids=str)
@pytest.mark.parametrize("inputs", ["all", "factors"])
def test_it_scales_shifts_adds_and_cuts(compiled, shape, inputs):
    x, added = torch.randn(2, *shape)
    form = torch.channels_last if x.dim() == 4 else torch.channels_last_3d
    x, added = x.contiguous(memory_format=form), added.contiguous(memory_format=form)
    factors, shifts = torch.randn(2, shape[1])
    here = (shape[1], *[1] * (x.dim() - 2))
    expected = x * factors.view(here)
    if inputs == "all":
        expected = F.leaky_relu(expected + shifts.view(here) + added, 0.2)
        output = scale_shift_act_(x, factors, shifts, added, 0.2)
    else:
        output = scale_shift_act_(x, factors.view(1, *here))
    assert output is x
    torch.testing.assert_close(output, expected, atol=1e-6, rtol=1e-6)


def test_added_of_another_layout_is_added_all_the_same():
    x = torch.randn(1, 8, 6, 7).contiguous(memory_format=torch.channels_last)
    added, ones = torch.randn(1, 8, 6, 7), torch.ones(8)
    torch.testing.assert_close(scale_shift_act_(x.clone(), ones, residual=added), x + added)


@pytest.mark.skipif(not dispatch.has_native(torch.bfloat16), reason="a processor without bfloat16")
def test_bfloat16_is_rounded_once():
    x, added = (
        torch.randn(1, 20, 6, 7).bfloat16().contiguous(memory_format=torch.channels_last) for _ in range(2)
    )
    factors, shifts = torch.randn(2, 20)
    wanted = scale_shift_act_(x.float(), factors, shifts, added.float(), 0.2)
    assert torch.equal(scale_shift_act_(x, factors, shifts, added, 0.2), wanted.bfloat16())


@pytest.mark.skipif(not dispatch.has_native(), reason="no C compiler")
def test_numbers_of_another_device_are_refused():
    x = torch.randn(1, 8, 6, 7).contiguous(memory_format=torch.channels_last)
    ones, elsewhere = torch.ones(8), torch.ones(8, device="meta")
    for numbers in (elsewhere, None), (ones, elsewhere):
        with pytest.raises(ArgumentError, match="on the CPU for native code, got one on meta"):
            scale_shift_act_(x, *numbers)
