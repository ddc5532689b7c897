from __future__ import annotations

import pytest
import torch

from tweenlet.ops.correlation import correlation
from tweenlet.ops.warp import backwarp


def test_backwarp_meets_the_official_one(expected, device):
    golden = {name: tensor.to(device) for name, tensor in expected("backwarp").items()}
    torch.testing.assert_close(backwarp(golden["input"], golden["flow"]), golden["out"], atol=5e-6, rtol=1e-5)


def test_backwarp_is_blank_outside():
    source = torch.ones(1, 2, 4, 8)
    flow = torch.zeros(1, 2, 4, 8)
    flow[:, 0] = 3
    out = backwarp(source, flow)
    assert (out[..., 5:] == 0).all()
    assert (out[..., :4] == 1).all()


def test_backwarp_gradient():
    torch.manual_seed(0)
    source = torch.rand(2, 2, 4, 5, dtype=torch.float64, requires_grad=True)
    flow = (torch.rand(2, 2, 4, 5, dtype=torch.float64) - 0.45).requires_grad_()
    assert torch.autograd.gradcheck(backwarp, (source, flow))


def test_backwarp_in_half_precision_places_samples_in_float32():
    source, flow = torch.rand(1, 3, 4, 600).bfloat16(), (torch.randn(1, 2, 4, 600) * 5).bfloat16()
    out = backwarp(source, flow)
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out.float(), backwarp(source.float(), flow.float()), atol=0.01, rtol=0.01)


def test_correlation_meets_the_official_kernel(expected, gradients, device):
    golden = {name: tensor.to(device) for name, tensor in expected("correlation81").items()}
    out, grads = gradients(correlation, [golden["first"], golden["second"]], golden["grad_out"])
    torch.testing.assert_close(out, golden["out"], atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(grads[0], golden["grad_first"], atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(grads[1], golden["grad_second"], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_correlation_channel_is_a_displacement(dtype):
    first, second = torch.zeros(1, 3, 12, 12, dtype=dtype), torch.zeros(1, 3, 12, 12, dtype=dtype)
    first[..., 5, 5], second[..., 3, 8] = 1, 1  # two up, three right
    out = correlation(first, second)
    assert out[0, (4 - 2) * 9 + 4 + 3, 5, 5] == 1
    assert out.sum() == 1


def test_refuse_shapes_that_do_not_match():
    with pytest.raises(ValueError, match="one shape"):
        correlation(torch.zeros(1, 2, 4, 4), torch.zeros(1, 3, 4, 4))
    with pytest.raises(ValueError, match="expected a flow"):
        backwarp(torch.zeros(1, 2, 4, 4), torch.zeros(1, 1, 4, 4))
