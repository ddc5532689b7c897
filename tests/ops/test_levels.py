"""What a level of an intermediate-flow network sees, by every backend."""

from __future__ import annotations

import pytest
import torch

from tweenlet.ops import dispatch
from tweenlet.ops.levels import level_inputs

LAYOUTS = (torch.contiguous_format, torch.channels_last)


@pytest.mark.skipif(not dispatch.compiled(), reason="no C compiler")
@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("more", [0, 2])
@pytest.mark.parametrize(("features", "context", "factor"), [(0, 1, 2), (4, 8, 2), (20, 17, 4)])
def test_is_that_in_double_precision(features, context, factor, more, layout):
    height, width = 2 * factor, 6 * factor
    frames = torch.rand(2, 2, 3 + features, height, width)
    before, after = (x.contiguous(memory_format=layout) for x in frames.unbind(1))
    coarse = 9 * torch.randn(2, 5 + context + more, height // factor, width // factor)
    coarse = coarse.contiguous(memory_format=layout)
    coarse[0, :4, 0, 0] = torch.tensor([1e6, -1e6, 50.0, -50.0])
    estimate, beside = coarse[:, : 5 + context], coarse[:, 5 + context :]
    times = torch.tensor([0.25, 0.5]).view(2, 1, 1, 1)

    def run(*tensors):
        first, second, at, known, other = tensors
        return level_inputs(first, second, at, 4, known, factor, *([other] if more else []))

    with dispatch.override("reference"):
        expected = run(*(x.double() for x in (before, after, times, estimate, beside)))
    with dispatch.override("cpu"):
        found = run(before, after, times, estimate, beside)
    for x, y in zip(found, expected, strict=True):
        torch.testing.assert_close(x.double(), y, atol=2e-4, rtol=2e-6)
