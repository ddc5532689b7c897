from __future__ import annotations

import pytest
import torch

from tweenlet.ops.prelu import prelu


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(("channels", "slopes"), [(1, 1), (6, 1), (6, 6), (40, 40)])
@pytest.mark.parametrize("threads", [1, 3])
def test_learns_below_zero(channels, slopes, memory_format, dtype, threads, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    torch.manual_seed(0)
    x, gradient = (
        torch.randn(2, channels, 5, 7).to(dtype).contiguous(memory_format=memory_format) for _ in range(2)
    )
    x[0, 0, 0] = 0
    x, slope = x.requires_grad_(), torch.linspace(-0.25, 0.5, slopes).to(dtype).requires_grad_()
    made = prelu(x, slope)
    with torch.device("meta"):  # wherever new tensors are by default
        for_x, for_slope = torch.autograd.grad(made, (x, slope), gradient)
    by_channel = slope.view(-1, 1, 1)
    assert torch.equal(for_x, torch.where(x > 0, gradient, gradient * by_channel))
    terms = gradient.double() * x.double().clamp_max(0)
    wanted = terms.sum() if slopes == 1 else terms.sum((0, 2, 3))
    close = 2e-6 if dtype == torch.float32 else 0.03
    torch.testing.assert_close(for_slope.double(), wanted.view(-1), atol=close, rtol=close)


def test_another_device_is_left_to_pytorch():
    x = torch.rand(2, 6, 5, 7, device="meta").contiguous(memory_format=torch.channels_last)
    slope = torch.rand(6, device="meta", requires_grad=True)
    (found,) = torch.autograd.grad(prelu(x, slope).sum(), slope)
    assert found.is_meta
