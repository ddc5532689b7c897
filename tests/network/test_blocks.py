from __future__ import annotations

import pytest
import torch
from torch import nn

from tweenlet.network.blocks import PerSliceConv3d, PReLU


def learnt(layer, x, gradient):
    """What a layer makes of x, and the gradients of x and of its weight."""
    x = x.detach().requires_grad_()
    out = layer(x)
    return out, *torch.autograd.grad(out, (x, layer.weight), gradient.to(out.dtype))


@pytest.mark.parametrize("channels", [1, 6])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_a_slope_is_learnt_as_pytorch_learns_it(channels, memory_format):
    torch.manual_seed(0)
    x, gradient = (torch.randn(2, 6, 5, 7).contiguous(memory_format=memory_format) for _ in range(2))
    x[0, 0, 0] = 0
    ours, plain = PReLU(channels, init=-0.3), nn.PReLU(channels, init=-0.3)
    for result, expected in zip(learnt(ours, x, gradient), learnt(plain, x, gradient), strict=True):
        torch.testing.assert_close(result, expected)
    ours, plain = ours.double(), plain.double()
    assert torch.autograd.gradcheck(ours, x.double().add_(0.01).requires_grad_())
    with torch.autocast("cpu", torch.bfloat16):
        half, expected = learnt(PReLU(channels), x, gradient), learnt(nn.PReLU(channels), x, gradient)
    for result, one in zip(half, expected, strict=True):
        assert result.dtype == one.dtype
        torch.testing.assert_close(result, one, atol=0.05, rtol=0.02)


@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last_3d])
def test_slices_of_several_samples_are_those_of_each(kernel, stride, memory_format):
    torch.manual_seed(0)
    layer = PerSliceConv3d(3, 4, kernel, (1, stride, stride))
    x = torch.randn(2, 3, 5, 8, 6).contiguous(memory_format=memory_format)
    gradient = torch.randn(2, 4, 5, 8 // stride, 6 // stride)
    out, for_x, for_weight = learnt(layer, x, gradient)
    each = [learnt(layer, x[n : n + 1], gradient[n : n + 1]) for n in range(2)]
    torch.testing.assert_close(out, torch.cat([one for one, _, _ in each]))
    torch.testing.assert_close(for_x, torch.cat([one for _, one, _ in each]))
    torch.testing.assert_close(for_weight, each[0][2] + each[1][2])
