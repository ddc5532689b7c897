"""Winograd against PyTorch's own convolutions."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from tweenlet.ops import dispatch
from tweenlet.ops.cpu import winograd

pytestmark = pytest.mark.skipif(not dispatch.has_native(), reason="no C compiler")

CLOSE = {"atol": 2e-5, "rtol": 0}
LAST = {4: torch.channels_last, 5: torch.channels_last_3d}


def wanted(x, weight, bias, before=None, after=None, residual=None, stride=1):
    x = x.double() if before is None else F.prelu(x.double(), before.double())
    bias = None if bias is None else bias.double()
    if x.dim() == 4:
        y = F.conv2d(x, weight.double(), bias, stride, padding=1)
    else:
        y = F.conv3d(x, weight.double(), bias, (1, stride, stride), padding=1)
    y = y if after is None else F.prelu(y, after.double())
    return y if residual is None else y + residual


def weights(outputs, inputs, *size):
    """Of a layer whose outputs are about as large as its inputs."""
    kernel = torch.randn(outputs, inputs, *size)
    return kernel / kernel[0].numel() ** 0.5


def random(*shape):
    return torch.randn(shape).contiguous(memory_format=LAST[len(shape)])


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (4, 4), (5, 9), (16, 16), (33, 131)], ids=str)
@pytest.mark.parametrize(
    "channels", [(1, 1), (16, 16), (17, 31), (3, 48), (30, 25), (46, 64), (5, 100)], ids=str
)
def test_any_size_and_any_channels(size, channels):
    inputs, outputs = channels
    x, weight, bias = random(2, inputs, *size), weights(outputs, inputs, 3, 3), torch.randn(outputs)
    made = winograd.convolve(x, winograd.pack_convolution(weight, bias))
    assert made.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(made.double(), wanted(x, weight, bias), **CLOSE)


def test_large_results_go_past_the_caches():
    x, weight, bias = random(1, 16, 260, 261), weights(64, 16, 3, 3), torch.randn(64)
    added = random(1, 64, 260, 261)
    assert added.numel() * 4 > 16 << 20
    made = winograd.convolve(x, winograd.pack_convolution(weight, bias), added)
    torch.testing.assert_close(made.double(), wanted(x, weight, bias, residual=added), **CLOSE)


@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("channels", [16, 31])
def test_residual_blocks_follow_each_other(channels, count):
    x, slope = random(2, channels, 9, 14), torch.full((channels,), 0.2)
    kernels, biases = weights(count * channels, channels, 3, 3).chunk(count), torch.randn(count, channels)
    layers = [winograd.pack_convolution(k, b, slope_sum=slope) for k, b in zip(kernels, biases, strict=True)]
    expected, before = x.double(), x.clone()
    for kernel, bias in zip(kernels, biases, strict=True):
        expected = F.prelu(wanted(expected, kernel, bias, residual=expected), slope.double())
    torch.testing.assert_close(winograd.residual_blocks(x, layers).double(), expected, **CLOSE)
    assert torch.equal(x, before)


def test_residual_blocks_refuse_another_width():
    layer = winograd.pack_convolution(weights(16, 16, 3, 3), torch.randn(16))
    with pytest.raises(ValueError, match=r"expected x of shape \(1, 16, 4, 4\).*got \(1, 17, 4, 4\)"):
        winograd.residual_blocks(random(1, 17, 4, 4), [layer])


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (10, 12), (33, 40)], ids=str)
@pytest.mark.parametrize("channels", [(16, 16), (17, 31), (5, 40), (46, 64)], ids=str)
def test_stride_of_two(size, channels):
    inputs, outputs = channels
    x, weight, bias = random(2, inputs, *size), weights(outputs, inputs, 3, 3), torch.randn(outputs)
    before = torch.rand(inputs)
    output = winograd.convolve(x, winograd.pack_convolution(weight, bias, before, stride=2))
    torch.testing.assert_close(output.double(), wanted(x, weight, bias, before, stride=2), **CLOSE)
    x, weight = random(1, inputs, 3, *size), weights(outputs, inputs, 3, 3, 3)
    output = winograd.convolve(x, winograd.pack_convolution(weight, None, stride=2))
    # sums of up to 552 products
    torch.testing.assert_close(output.double(), wanted(x, weight, None, stride=2), atol=4e-5, rtol=0)


@pytest.mark.parametrize("slices", [1, 2, 5])
@pytest.mark.parametrize("channels", [(16, 16), (5, 33)], ids=str)
def test_slices_in_time(slices, channels):
    inputs, outputs = channels
    x, weight = random(1, inputs, slices, 18, 23), weights(outputs, inputs, 3, 3, 3)
    made = winograd.convolve(x, winograd.pack_convolution(weight, None))
    torch.testing.assert_close(made.double(), wanted(x, weight, None), **CLOSE)


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (8, 8), (9, 14)], ids=str)
@pytest.mark.parametrize("channels", [(16, 16), (7, 24), (30, 40)], ids=str)
def test_transposed(size, channels):
    inputs, outputs = channels
    x, weight, bias = random(2, inputs, *size), weights(inputs, outputs, 4, 4), torch.randn(outputs)
    output = winograd.convolve(x, winograd.pack_transposed(weight, bias))
    truth = F.conv_transpose2d(x.double(), weight.double(), bias.double(), 2, 1)
    torch.testing.assert_close(output.double(), truth, **CLOSE)
    x, weight = random(1, inputs, 3, *size), weights(inputs, outputs, 3, 4, 4)
    output = winograd.convolve(x, winograd.pack_transposed(weight, None))
    truth = F.conv_transpose3d(x.double(), weight.double(), None, (1, 2, 2), 1)
    torch.testing.assert_close(output.double(), truth, **CLOSE)


@pytest.mark.parametrize("channels", [(16, 16), (1, 20), (20, 1), (10, 22), (33, 7)], ids=str)
@pytest.mark.parametrize("kind", ["3x3", "stride 2", "transposed", "slices"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_channels_of_two_tensors(kind, channels, dtype):
    """As if they were joined."""
    if not dispatch.has_native(dtype):
        pytest.skip("a processor without bfloat16")
    x = random(*((1, sum(channels), 3) if kind == "slices" else (2, sum(channels))), 15, 18).to(dtype)
    weight, before = weights(24, sum(channels), *[3] * (x.dim() - 2)), torch.rand(sum(channels))
    if kind == "transposed":
        weight = weights(24, sum(channels), 4, 4).transpose(0, 1)
        kernels = winograd.pack_transposed(weight, None, before, dtype=dtype)
    else:
        kernels = winograd.pack_convolution(
            weight, None, before, dtype=dtype, stride=2 if kind == "stride 2" else 1
        )
    first, beside = (part.contiguous(memory_format=LAST[x.dim()]) for part in x.split(channels, 1))
    assert torch.equal(winograd.convolve(first, kernels, concat_with=beside), winograd.convolve(x, kernels))


@pytest.mark.parametrize("cut", [(True, False), (False, True), (True, True)], ids=str)
@pytest.mark.parametrize("rows", [4, 6, 17])
@pytest.mark.parametrize("kind", ["3x3", "stride 2", "transposed", "slices"])
def test_rows_cut_out_of_a_picture(kind, rows, cut):
    """They come out as in the whole, but for the outermost, which are only looked at."""
    x, bias = random(*((1, 20, 3) if kind == "slices" else (2, 20)), 24, 18), torch.randn(33)
    if kind == "transposed":
        kernels, scale = winograd.pack_transposed(weights(33, 20, 4, 4).transpose(0, 1), bias), (2, 1)
    elif kind == "stride 2":
        kernels, scale = winograd.pack_convolution(weights(33, 20, 3, 3), bias, stride=2), (1, 2)
    else:
        kernels, scale = winograd.pack_convolution(weights(33, 20, *[3] * (x.dim() - 2)), bias), (1, 1)
    above, below = (int(there) for there in cut)
    start = 4 if above else 0
    end = start + scale[1] * rows if below else 24
    whole = winograd.convolve(x, kernels)
    seen = x[..., start - scale[1] * above : end + below * (scale[1] == 1), :]
    made = winograd.convolve(seen, kernels, crop_halo=cut)
    wanted = whole[..., start * scale[0] // scale[1] : end * scale[0] // scale[1], :]
    torch.testing.assert_close(made, wanted, **CLOSE)


@pytest.mark.skipif(not dispatch.has_native(torch.bfloat16), reason="a processor without bfloat16")
@pytest.mark.parametrize("channels", [(16, 16), (17, 31), (30, 48), (5, 100)], ids=str)
def test_products_of_bfloat16(channels):
    inputs, outputs = channels
    x, weight, bias = random(2, inputs, 19, 30), weights(outputs, inputs, 3, 3), torch.randn(outputs)
    output = winograd.convolve(x, winograd.pack_convolution(weight, bias, dtype=torch.bfloat16))
    apart = output.double() - wanted(x, weight, bias)
    assert 1e-3 < apart.std() < 2e-2
    x, weight = random(1, inputs, 3, 11, 12), weights(inputs, outputs, 3, 4, 4)
    output = winograd.convolve(x, winograd.pack_transposed(weight, None, dtype=torch.bfloat16))
    apart = output.double() - F.conv_transpose3d(x.double(), weight.double(), None, (1, 2, 2), 1)
    assert apart.std() < 2e-2


@pytest.mark.skipif(not dispatch.has_native(torch.bfloat16), reason="a processor without bfloat16")
@pytest.mark.parametrize("channels", [(16, 16), (17, 31), (30, 48)], ids=str)
def test_bfloat16_in_and_out(channels):
    """What comes out is what float32 would have given, rounded once more."""
    inputs, outputs = channels
    x, added = random(1, inputs, 19, 30).bfloat16(), random(1, outputs, 19, 30).bfloat16()
    layer = winograd.pack_convolution(
        weights(outputs, inputs, 3, 3), torch.randn(outputs), dtype=torch.bfloat16
    )
    exact = winograd.convolve(x.float(), layer, added.float())
    assert torch.equal(winograd.convolve(x, layer, dtype=torch.float32) + added, exact)
    made = winograd.convolve(x, layer, added)
    assert made.dtype == torch.bfloat16
    assert torch.equal(made, exact.bfloat16())
    strided = winograd.pack_convolution(weights(outputs, inputs, 3, 3), None, dtype=torch.bfloat16, stride=2)
    assert torch.equal(winograd.convolve(x, strided), winograd.convolve(x.float(), strided).bfloat16())


@pytest.mark.parametrize("slopes", [1, 20], ids=["one slope", "a slope for each channel"])
def test_what_is_around_it(slopes):
    x, weight, bias = random(1, 20, 14, 19), weights(20, 20, 3, 3), torch.randn(20)
    before, after, added = torch.randn(slopes), torch.randn(slopes), random(1, 20, 14, 19)
    output = winograd.convolve(x, winograd.pack_convolution(weight, bias, before, after), added)
    exact = wanted(x, weight, bias, before, after, added)
    torch.testing.assert_close(output.double(), exact, **CLOSE)
    of_sum = torch.randn(slopes)
    output = winograd.convolve(x, winograd.pack_convolution(weight, bias, before, after, of_sum), added)
    torch.testing.assert_close(output.double(), F.prelu(exact, of_sum.double()), **CLOSE)


def test_it_reads_nothing_beyond_its_input():
    """What lies behind the tensor in memory is NaN, and never reaches the output."""
    for height, width in ((9, 9), (12, 13), (10, 20)):
        memory = torch.full((height * width * 5 + 64,), torch.nan)
        x = (
            memory[: height * width * 5]
            .view(1, height, width, 5)
            .permute(0, 3, 1, 2)
            .copy_(torch.randn(5, height, width))
        )
        weight = weights(16, 5, 3, 3)
        made = winograd.convolve(x, winograd.pack_convolution(weight, None))
        torch.testing.assert_close(made.double(), wanted(x, weight, None), **CLOSE)


def test_views_of_some_channels_and_of_every_so_many_pixels():
    wide = random(1, 40, 33, 29)
    x, weight = wide[:, 7:24, 1::2, ::3], weights(20, 17, 3, 3)
    into = random(1, 50, 2 * x.shape[2], 3 * x.shape[3])
    before = into.clone()
    output = winograd.convolve(x, winograd.pack_convolution(weight, None), out=into[:, 5:25, ::2, ::3])
    assert output.data_ptr() == into[:, 5:].data_ptr()
    torch.testing.assert_close(output.double(), wanted(x, weight, None), **CLOSE)
    before[:, 5:25, ::2, ::3] = output
    assert torch.equal(into, before)  # nothing else was touched


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_lies_between_pixels_does_not_matter(dtype):
    if not dispatch.has_native(dtype):
        pytest.skip("a processor without bfloat16")
    wide = torch.full((1, 20, 22, 40), torch.nan).permute(0, 3, 1, 2)
    wide[:, 3:20] = torch.randn(1, 17, 20, 22)
    output = winograd.convolve(
        wide[:, 3:20], winograd.pack_convolution(weights(16, 17, 3, 3), None, dtype=dtype)
    )
    assert output.isfinite().all()


def test_several_threads_agree():
    x, layer = random(1, 24, 70, 90), winograd.pack_convolution(weights(24, 24, 3, 3), None)
    one = winograd.convolve(x, layer)
    try:
        torch.set_num_threads(3)
        assert torch.equal(winograd.convolve(x, layer), one)
    finally:
        torch.set_num_threads(1)


def test_says_what_it_does_not_take():
    layer = winograd.pack_convolution(weights(16, 16, 3, 3), None)
    for x, message in (
        (random(1, 15, 8, 8), "expected x of shape"),
        (random(1, 16, 8, 8).double(), "float64"),
        (torch.randn(1, 16, 8, 8), "channels_last"),
        (random(1, 16, 8, 8).bfloat16(), "expected x of shape .* torch.float32, .* torch.bfloat16"),
        (random(1, 16, 2, 8, 8), "expected weights over 3"),
    ):
        with pytest.raises(ValueError, match=message):
            winograd.convolve(x, layer)
    with pytest.raises(ValueError, match="expected residual of shape"):
        winograd.convolve(random(1, 16, 8, 8), layer, random(1, 16, 8, 4))


@dispatch.override("reference")
def test_without_a_compiler_there_is_none():
    assert (
        winograd.convolve(random(1, 16, 8, 8), winograd.pack_convolution(weights(16, 16, 3, 3), None)) is None
    )


@pytest.mark.parametrize("channels", [(16, 1), (7, 5), (30, 13), (64, 17)], ids=str)
def test_a_pixel_shuffle_after_it(channels):
    inputs, outputs = channels
    x, weight, bias = random(2, inputs, 9, 14), weights(inputs, 4 * outputs, 4, 4), torch.randn(4 * outputs)
    slopes = torch.rand(4 * outputs)
    order = torch.arange(4 * outputs).view(-1, 4).T.flatten()  # pixels of a cell, then channels
    packed = winograd.pack_transposed(weight[:, order], bias[order], slope_after=slopes[order], shuffle=2)
    truth = F.prelu(F.conv_transpose2d(x.double(), weight.double(), bias.double(), 2, 1), slopes.double())
    truth = F.pixel_shuffle(truth, 2)
    output = winograd.convolve(x, packed)
    assert output.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(output.double(), truth, **CLOSE)
    with pytest.raises(ValueError, match="no gap"):
        winograd.convolve(x, packed, out=random(2, outputs + 3, 36, 56)[:, 3:])
