"""Mix: frames fetched along flows of half their size, and mixed, by every backend."""

from __future__ import annotations

import pytest
import torch

from tweenlet.ops import dispatch
from tweenlet.ops.mix import fetch_both, mix

needs_native = pytest.mark.skipif(not dispatch.has_native(), reason="no C compiler")
LAYOUTS = (torch.contiguous_format, torch.channels_last)


@needs_native
@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("size", [(2, 2), (6, 10), (34, 46)], ids=str)
def test_frames_are_fetched_as_in_double_precision(size, layout):
    height, width = size
    frames = torch.rand(2, 2, 3, height, width)
    motion = 6 * torch.randn(2, 7, height // 2, width // 2).contiguous(memory_format=layout)
    motion[0, :4, 0, 0] = torch.tensor([1e7, -1e7, -40.0, 40.0])
    flows = motion[:, :4]
    with dispatch.override("reference"):
        expected = fetch_both(*frames.double().unbind(1), flows.double())
    with dispatch.override("cpu"):
        torch.testing.assert_close(fetch_both(*frames.unbind(1), flows).double(), expected, atol=2e-4, rtol=0)


@needs_native
@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("corrected", [True, False])
@pytest.mark.parametrize("size", [(2, 2), (6, 10), (34, 46)], ids=str)
def test_is_mixed_as_in_double_precision(size, corrected, layout):
    height, width = size
    before, after = torch.rand(2, 2, 3, height, width).unbind(1)
    half = (height // 2, width // 2)
    fetched = torch.rand(2, 24, *half).contiguous(memory_format=layout)
    mask = (20 * torch.randn(2, 6, *half)).contiguous(memory_format=layout)[:, 4:5]
    correction = torch.randn(2, 16, *half).contiguous(memory_format=layout) if corrected else None
    still = torch.rand(2, 1, height, width)
    inputs = (before, after, fetched, mask, correction, still)
    with dispatch.override("reference"):
        expected = mix(*(None if x is None else x.double() for x in inputs))
    with dispatch.override("cpu"):
        torch.testing.assert_close(mix(*inputs).double(), expected, atol=1e-5, rtol=0)


def test_the_mean_of_both_frames_where_nothing_moves():
    before, after = torch.rand(2, 1, 3, 4, 6)
    fetched = fetch_both(before, after, torch.zeros(1, 4, 2, 3))
    frame = mix(before, after, fetched, torch.zeros(1, 1, 2, 3), None, torch.zeros(1, 1, 4, 6))
    torch.testing.assert_close(frame, (before + after) / 2)
