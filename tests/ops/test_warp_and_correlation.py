from __future__ import annotations

import pytest
import torch

from tweenlet.ops import dispatch
from tweenlet.ops.correlation import correlation
from tweenlet.ops.warp import backwarp, backwarp_pwc

needs_native = pytest.mark.skipif(not dispatch.has_native(), reason="no C compiler")


@pytest.fixture
def by_pytorch():
    """The correlation that PyTorch computes."""

    def compute(*maps):
        with dispatch.override("reference"):
            return correlation(*maps)

    return compute


def test_backwarp_meets_the_official_one(expected, device):
    golden = {name: tensor.to(device) for name, tensor in expected("backwarp").items()}
    torch.testing.assert_close(
        backwarp_pwc(golden["input"], golden["flow"]), golden["out"], atol=5e-6, rtol=1e-5
    )


def test_backwarp_is_blank_outside():
    source = torch.ones(1, 2, 4, 8)
    flow = torch.zeros(1, 2, 4, 8)
    flow[:, 0] = 3
    out = backwarp_pwc(source, flow)
    assert (out[..., 5:] == 0).all()
    assert (out[..., :4] == 1).all()


def test_backwarp_gradient():
    torch.manual_seed(0)
    source = torch.rand(2, 2, 4, 5, dtype=torch.float64, requires_grad=True)
    flow = (torch.rand(2, 2, 4, 5, dtype=torch.float64) - 0.45).requires_grad_()
    assert torch.autograd.gradcheck(backwarp, (source, flow))


def test_backwarp_in_half_precision_places_samples_in_float32():
    source, flow = torch.rand(1, 3, 4, 600).bfloat16(), (torch.randn(1, 2, 4, 600) * 5).bfloat16()
    out = backwarp_pwc(source, flow)
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out.float(), backwarp_pwc(source.float(), flow.float()), atol=0.01, rtol=0.01)


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (17, 33)], ids=str)
@pytest.mark.parametrize("channels", [1, 3, 16, 36])
def test_samples_are_those_in_double_precision(size, channels, compiled):
    """Which is PyTorch's alone. Planes, or channels_last pixels."""
    planes, flow = torch.rand(2, channels, *size), 3 * torch.randn(2, 2, *size)
    flow[0, :, 0, 0] = torch.tensor([1e6, -1e6])
    expected = backwarp(planes.double(), flow.double())
    around = torch.rand(2, *size, channels + 7).movedim(3, 1)
    pixels = around[:, 5 : 5 + channels].copy_(planes)
    for source in (planes, pixels):
        for vectors in (flow, flow.contiguous(memory_format=torch.channels_last), flow.mT.contiguous().mT):
            torch.testing.assert_close(backwarp(source, vectors).double(), expected, atol=1e-5, rtol=0)


def test_samples_from_nowhere_do_no_harm(compiled):
    flow = torch.tensor([torch.nan, torch.inf, -torch.inf, -1e38]).expand(1, 2, 3, 4)
    for source in (torch.rand(1, 3, 3, 4), torch.rand(1, 3, 4, 3).movedim(3, 1)):
        assert backwarp(source, flow).shape == (1, 3, 3, 4)


def test_correlation_meets_the_official_kernel(expected, gradients, device):
    golden = {name: tensor.to(device) for name, tensor in expected("correlation81").items()}
    out, grads = gradients(correlation, [golden["first"], golden["second"]], golden["grad_out"])
    torch.testing.assert_close(out, golden["out"], atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(grads[0], golden["grad_first"], atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(grads[1], golden["grad_second"], atol=1e-6, rtol=1e-5)


@pytest.mark.slow
def test_correlation_gradient():
    torch.manual_seed(0)
    maps = [torch.rand(2, 3, 3, 4, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    assert torch.autograd.gradcheck(correlation, maps)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_correlation_channel_is_a_displacement(dtype):
    first, second = torch.zeros(1, 3, 12, 12, dtype=dtype), torch.zeros(1, 3, 12, 12, dtype=dtype)
    first[..., 5, 5], second[..., 3, 8] = 1, 1  # two up, three right
    out = correlation(first, second)
    assert out[0, (4 - 2) * 9 + 4 + 3, 5, 5] == 1
    assert out.sum() == 1


@needs_native
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("form", [torch.contiguous_format, torch.channels_last], ids=["planes", "pixels"])
@pytest.mark.parametrize(
    "shape",
    [(1, 1, 1, 1), (1, 16, 1, 1), (2, 3, 5, 7), (1, 33, 12, 40), (3, 20, 9, 16), (1, 196, 4, 17)],
    ids=str,
)
def test_native_correlation_is_that_of_pytorch(shape, form, threads, by_pytorch):
    first, second = (x.contiguous(memory_format=form) for x in torch.randn(2, *shape))
    torch.set_num_threads(threads)
    try:
        output = correlation(first, second)
    finally:
        torch.set_num_threads(1)
    assert output.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(output, by_pytorch(first, second), atol=2e-6, rtol=1e-5)


@needs_native
def test_native_correlation_takes_any_strides_and_reads_nothing_else(by_pytorch):
    """A crop, upright and turned round, and one map for a whole batch; what lies around them is NaN."""
    around = torch.full((2, 7, 30, 29), torch.nan)
    around[..., 6:25, 5:18] = torch.randn(2, 7, 19, 13)
    for form in (torch.contiguous_format, torch.channels_last):
        maps = around.contiguous(memory_format=form)[..., 6:25, 5:18]
        for first, second in (maps[:1], maps[1:]), (maps.mT, maps[:1].expand_as(maps).mT):
            made = correlation(first, second)
            assert made.isfinite().all()
            torch.testing.assert_close(made, by_pytorch(first, second), atol=2e-6, rtol=1e-5)


@needs_native
def test_native_correlation_keeps_nan_and_infinity_where_they_are(by_pytorch):
    first, second = torch.randn(2, 1, 3, 11, 18)
    first[..., 2, 3], second[..., 9, 17], second[..., 0, 0] = torch.nan, torch.inf, -torch.inf
    torch.testing.assert_close(correlation(first, second), by_pytorch(first, second), equal_nan=True)


@needs_native
def test_a_gradient_is_left_to_pytorch():
    first, second = torch.randn(2, 1, 3, 4, 5)
    second.requires_grad_()
    output = correlation(first, second)
    assert output.requires_grad
    with torch.no_grad():
        torch.testing.assert_close(correlation(first, second), output)


def test_refuse_shapes_that_do_not_match():
    with pytest.raises(ValueError, match="one shape"):
        correlation(torch.zeros(1, 2, 4, 4), torch.zeros(1, 3, 4, 4))
    with pytest.raises(ValueError, match="expected a flow"):
        backwarp_pwc(torch.zeros(1, 2, 4, 4), torch.zeros(1, 1, 4, 4))
