"""Views of two frames, and their average: what they show, and that native code does as PyTorch."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from tweenlet.ops.candidates import MERGED_CHANNELS, blend_candidates, warp_candidates


def test_views_are_of_before_and_after_in_turn():
    before, after = torch.rand(2, 1, 3, 20, 24)
    places = torch.zeros(1, 8, 20, 24)
    places[:, 4] = 2  # the third view is of before, two pixels to the right
    there = warp_candidates(before, after, places)
    moved = torch.cat((before[..., 2:], before[..., -1:], before[..., -1:]), -1)
    torch.testing.assert_close(there, torch.cat((before, after, moved, after), 1))
    into = torch.empty(1, 20, 24, 15).permute(0, 3, 1, 2)[:, 2:14]
    assert warp_candidates(before, after, places, into) is into
    assert torch.equal(into, there)


def test_the_average_goes_by_what_is_said():
    before, after = torch.rand(2, 1, 3, 12, 16)
    said = torch.tensor([0.0, 50, 0, 50]).view(1, 4, 1, 1).expand(1, 4, 6, 8)
    average, apart = blend_candidates(before, after, torch.zeros(1, 8, 6, 8), said)
    torch.testing.assert_close(average, after)
    full = F.pixel_shuffle(apart, 2)
    assert full.shape == (1, MERGED_CHANNELS, 12, 16)
    torch.testing.assert_close(full[:, :3], before - after)
    torch.testing.assert_close(full[:, -3:], after - 0.5)


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (6, 16), (9, 33)], ids=str)
@pytest.mark.parametrize("spread", [2, 1e6])
def test_native_code_does_as_pytorch(size, spread, monkeypatch):
    height, width = size
    before, after = torch.rand(2, 2, 3, 2 * height, 2 * width)
    places, said = spread * torch.randn(2, 8, *size), 3 * torch.randn(2, 4, *size)
    wanted = blend_candidates(*(x.double() for x in (before, after, places, said)))
    last = [x.contiguous(memory_format=torch.channels_last) for x in (places, said)]
    both = torch.cat(last, 1)
    for threads in (1, 3):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        for maps in ((places, said), last, (both[:, :8], both[:, 8:])):
            made = blend_candidates(before, after, *maps)
            for one, other in zip(made, wanted, strict=True):
                torch.testing.assert_close(one.double(), other, atol=5e-5, rtol=0)


def test_what_is_no_number_stays_where_it_is():
    before, after = torch.rand(2, 1, 3, 12, 16)
    places, said = torch.zeros(1, 8, 6, 8), torch.zeros(1, 4, 6, 8)
    places[..., 3, 3] = torch.nan
    average, _ = blend_candidates(before, after, places, said)
    assert average[..., :4, :].isfinite().all()


def test_both_learn():
    before, after = torch.rand(2, 1, 3, 6, 8, requires_grad=True).double().unbind(0)
    inputs = [before, after, torch.randn(1, 8, 3, 4).double(), torch.randn(1, 4, 3, 4).double()]
    leaves = [x.detach().requires_grad_() for x in inputs]
    assert torch.autograd.gradcheck(
        lambda *x: blend_candidates(*x)[1].square().sum(), leaves, eps=1e-7, atol=1e-4
    )
    average, _ = blend_candidates(*(x.detach().float().requires_grad_() for x in inputs))
    assert average.requires_grad
