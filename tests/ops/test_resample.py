from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from tweenlet.ops.resample import (
    avg_pool2,
    blur,
    box_blur,
    downsample,
    gaussian_kernel,
    laplacian_pyramid,
    upsample_8tap,
)


def test_resampling_meets_the_official(expected, device):
    golden = {name: tensor.to(device) for name, tensor in expected("resample").items()}
    frame = golden["input"]
    torch.testing.assert_close(gaussian_kernel().to(device).expand(3, 1, 5, 5), golden["gauss_kernel"])
    for kernel in (gaussian_kernel(), golden["gauss_kernel"]):
        torch.testing.assert_close(blur(frame, kernel), golden["blur"], atol=1e-6, rtol=0)
        torch.testing.assert_close(downsample(frame, kernel), golden["down2"], atol=1e-6, rtol=0)
    torch.testing.assert_close(upsample_8tap(frame), golden["up8tap"], atol=1e-6, rtol=0)
    torch.testing.assert_close(upsample_8tap(frame, golden["filter8"]), golden["up8tap"], atol=1e-6, rtol=0)


def test_laplacian_pyramid_meets_the_official_loss(expected):
    golden = expected("laplacian_loss")
    student = golden["student"].double().requires_grad_()
    bands, truth = laplacian_pyramid(student), laplacian_pyramid(golden["gt"].double())
    for level in range(1, 5):
        torch.testing.assert_close(bands[level].float(), golden[f"pyr{level}_student"], atol=1e-6, rtol=0)
    levels = torch.stack([(a - b).abs().sum() for a, b in zip(bands, truth, strict=True)])
    torch.testing.assert_close(levels, golden["level_l1_unweighted"], rtol=1e-6, atol=0)
    loss = (levels * 2.0 ** torch.arange(5)).sum()
    torch.testing.assert_close(loss, golden["loss_student_gt"], rtol=1e-6, atol=0)
    loss.backward()
    wrong = (student.grad.float() - golden["grad_student"]).abs() > 1e-4
    assert wrong.double().mean() < 1e-3  # the sign of a difference near zero


@pytest.mark.parametrize("size", [(16, 16), (17, 31), (5, 3), (1, 1), (2, 64)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_any_size_and_dtype(size, dtype):
    frame = torch.rand(2, 3, *size).to(dtype)
    bands = laplacian_pyramid(frame)
    assert [tuple(band.shape[-2:]) for band in bands[:2]] == [size, tuple(-(-side // 2) for side in size)]
    assert upsample_8tap(frame).shape[-2:] == (2 * size[0], 2 * size[1])
    assert upsample_8tap(frame).dtype == bands[0].dtype == dtype
    if min(size) > 1:
        assert downsample(frame).shape[-2:] == (size[0] // 2, size[1] // 2)


@pytest.mark.parametrize(
    "size", [(2, 2), (3, 30), (30, 3), (4, 4), (5, 5), (5, 7), (9, 2), (64, 90)], ids=str
)
@pytest.mark.parametrize("shape", [(1, 3), (2, 3), (3, 1)], ids=str)
def test_native_code_does_as_pytorch(size, shape):
    frame = torch.rand(*shape, *size)
    for resize, own in ((downsample, (5, 5)), (upsample_8tap, (1, 8))):
        for kernel in (None, torch.rand(shape[1], 1, *own)):
            wanted = resize(frame.double(), kernel)  # which native code does not take
            torch.testing.assert_close(resize(frame, kernel).double(), wanted, atol=5e-6, rtol=1e-6)
            last = frame.contiguous(memory_format=torch.channels_last)
            assert torch.equal(resize(last, kernel), resize(frame, kernel))


@pytest.mark.parametrize("size", [(1, 8), (8, 1)])
def test_a_side_of_one_pixel_has_no_half(size):
    with pytest.raises((ValueError, RuntimeError)):
        downsample(torch.rand(1, 3, *size))


def test_a_flat_frame_stays_flat():
    frame = torch.full((1, 3, 16, 24), 0.7)
    torch.testing.assert_close(downsample(frame), frame[..., ::2, ::2])
    torch.testing.assert_close(upsample_8tap(frame), frame.repeat(1, 1, 2, 2))


def test_gradients():
    torch.manual_seed(0)
    frame = torch.rand(1, 2, 6, 7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(upsample_8tap, (frame,), fast_mode=True)
    assert torch.autograd.gradcheck(downsample, (frame,), fast_mode=True)
    assert torch.autograd.gradcheck(lambda x: tuple(laplacian_pyramid(x, 3)), (frame,), fast_mode=True)


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (1, 9), (9, 1), (5, 34), (16, 33)], ids=str)
def test_pools_what_there_is(size, compiled):
    x = torch.rand(2, 3, *size)
    expected = F.avg_pool2d(x.double(), 2, ceil_mode=True)
    last = x.contiguous(memory_format=torch.channels_last)
    spaced = torch.cat((last, last), 1).contiguous(memory_format=torch.channels_last)
    for frames in (x, last, spaced[:, :3], spaced[:, 3:]):
        torch.testing.assert_close(avg_pool2(frames).double(), expected, atol=1e-6, rtol=0)


def test_pools_one_pixel_that_is_expanded(compiled):
    x = torch.rand(1, 3, 1, 1).contiguous(memory_format=torch.channels_last).expand(1, 3, 4, 6)
    torch.testing.assert_close(avg_pool2(x), x[..., :2, :3])


@pytest.mark.parametrize(("size", "side"), [((1, 1), 5), ((2, 3), 5), ((9, 34), 3), ((16, 33), 13)], ids=str)
def test_blurs_with_what_is_there(size, side, compiled):
    x = torch.rand(2, 3, *size)
    ones, reach = torch.ones(3, 1, side, side).double(), side // 2
    total, count = (F.conv2d(t.double(), ones, padding=reach, groups=3) for t in (x, torch.ones_like(x)))
    for pictures in (x, x.contiguous(memory_format=torch.channels_last)):
        torch.testing.assert_close(box_blur(pictures, side).double(), total / count, atol=1e-6, rtol=0)
