"""Means, in native code and by PyTorch."""

from __future__ import annotations

import pytest
import torch

from tweenlet.ops import dispatch
from tweenlet.ops.reduce import channel_mean

DTYPES = [
    torch.float32,
    pytest.param(
        torch.bfloat16,
        marks=pytest.mark.skipif(
            not dispatch.has_native(torch.bfloat16), reason="a processor without bfloat16"
        ),
    ),
]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(1, 3, 2, 2), (1, 16, 90, 70), (1, 40, 3, 60, 50)], ids=str)
@pytest.mark.parametrize("threads", [1, 3])
def test_one_sample_goes_through_native_code(shape, dtype, threads, monkeypatch):
    if not dispatch.has_native():
        pytest.skip("no C compiler")
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    form = torch.channels_last if len(shape) == 4 else torch.channels_last_3d
    x = (1 + torch.rand(shape)).to(dtype).contiguous(memory_format=form)
    expected = x.double().mean(tuple(range(2, x.dim())), keepdim=True)
    monkeypatch.setattr(torch.Tensor, "mean", None)
    with torch.device("meta"):  # wherever new tensors are by default
        made = channel_mean(x)
    assert made.shape == expected.shape
    assert (made.double() / expected - 1).abs().max() < (1e-6 if dtype == torch.float32 else 2**-8)


def test_other_samples_and_what_learns_go_through_pytorch():
    for x in (torch.rand(2, 3, 4, 5), torch.rand(1, 3, 4, 5).requires_grad_(), torch.rand(1, 3, 2, 4, 5)):
        rest = tuple(range(2, x.dim()))
        assert torch.equal(channel_mean(x), x.mean(rest, keepdim=True))
    x = torch.rand(1, 3, 4, 5).contiguous(memory_format=torch.channels_last).requires_grad_()
    assert torch.equal(torch.autograd.grad(channel_mean(x).sum(), x)[0], torch.full((1, 3, 4, 5), 1 / 20))
