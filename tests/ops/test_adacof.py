from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from tweenlet.ops import dispatch
from tweenlet.ops.adacof import CACHED_ROWS, adacof, adacof_pixels, surface_table


def by_hand(frame, weight, rows, columns, dilation):
    """The definition, one pixel at a time: offsets truncated toward zero, four taps clamped one by one."""
    batch, _, height, width = frame.shape
    side = int(weight.shape[1] ** 0.5)
    reach = (side - 1) * dilation // 2
    out = torch.zeros_like(frame)
    for b in range(batch):
        for i in range(height):
            for j in range(width):
                for t in range(side * side):
                    alpha, beta = float(rows[b, t, i, j]), float(columns[b, t, i, j])
                    a, c = int(alpha), int(beta)
                    for row, by_row in ((0, 1 - (alpha - a)), (1, alpha - a)):
                        for column, by_column in ((0, 1 - (beta - c)), (1, beta - c)):
                            y = min(max(i + t // side * dilation - reach + a + row, 0), height - 1)
                            x = min(max(j + t % side * dilation - reach + c + column, 0), width - 1)
                            out[b, :, i, j] += weight[b, t, i, j] * by_row * by_column * frame[b, :, y, x]
    return out


def example(side=3, height=5, width=7, batch=2, spread=3.0, channels=3):
    generator = torch.Generator().manual_seed(side * 100 + height)
    shape = (batch, side * side, height, width)
    frame = torch.rand(batch, channels, height, width, generator=generator, dtype=torch.float64)
    weight, rows, columns = (torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(3))
    rows, columns = rows * spread, columns * spread
    special = torch.tensor([0.0, -0.0, 1.0, -1.0, -2.0, 60.0, -60.0, -0.5], dtype=torch.float64)
    rows.view(-1)[:8], columns.view(-1)[-8:] = special, special.flip(0)
    return frame, weight, rows, columns


@pytest.mark.parametrize(
    ("side", "dilation", "height", "width"),
    [(3, 1, 5, 7), (5, 1, 4, 6), (3, 2, 6, 5), (1, 1, 3, 4), (2, 1, 4, 5)],
)
def test_is_what_the_definition_says(side, dilation, height, width):
    inputs = example(side, height, width)
    torch.testing.assert_close(adacof(*inputs, dilation), by_hand(*inputs, dilation))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("side", "dilation"), [(3, 1), (5, 1), (3, 2), (1, 1), (2, 1)])
def test_rows_of_pixels_are_the_same(side, dilation, dtype):
    frame, *taps = (x.to(dtype) for x in example(side, 2 * CACHED_ROWS + 3, 9, batch=1))
    expected = adacof(frame, *taps, dilation)[0].permute(1, 2, 0)
    table, top = surface_table(frame[0]), 2
    rows = [x[0, :, top:].permute(1, 2, 0).contiguous() for x in taps]
    torch.testing.assert_close(adacof_pixels(table, top, *rows, dilation), expected[top:])


@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_meets_the_official_kernel(expected, gradients, dilation, dtype):
    golden = expected(f"adacof_k5_d{dilation}")
    reach = 2 * dilation  # the golden frame comes with a border that has no outputs

    def op(frame, *taps):
        return adacof(frame, *(F.pad(t, (reach,) * 4) for t in taps), dilation)[
            ..., reach:-reach, reach:-reach
        ]

    names = ("input_padded", "weight", "offset_i", "offset_j")
    out, grads = gradients(op, [golden[name] for name in names], golden["grad_out"], dtype)
    torch.testing.assert_close(out.float(), golden["out"], atol=2e-6, rtol=1e-5)
    wanted = ("grad_input_true", "grad_weight", "grad_offset_i", "grad_offset_j")
    for grad, name in zip(grads, wanted, strict=True):
        torch.testing.assert_close(grad.float(), golden[name], atol=5e-6, rtol=1e-5)


def test_gradient_is_true_for_all_four_inputs():
    frame, weight, rows, columns = example(2, spread=1.7, height=2, width=3, batch=1, channels=1)
    rows, columns = (
        (t.abs() % 1 * 0.8 + 0.1) * t.sign() + t.trunc() % 4 for t in (rows + 0.3, columns + 0.3)
    )
    inputs = [t.requires_grad_() for t in (frame, weight, rows, columns)]
    assert torch.autograd.gradcheck(adacof, inputs, fast_mode=True)


def of_taps(adacof_of, frame, taps, dilation, gradient):
    """The picture, and the gradients of the taps alone."""
    taps = [t.detach().requires_grad_() for t in taps]
    out = adacof_of(frame, *taps, dilation)
    return out.detach(), torch.autograd.grad(out, taps, gradient)


def by_learnt_frame(frame, weight, rows, columns, dilation):
    """By the plain path, tap by tap, that a gradient of the frame asks for."""
    return adacof(frame.detach().requires_grad_(), weight, rows, columns, dilation)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("channels", [1, 3, 5])
@pytest.mark.parametrize(("side", "dilation"), [(3, 1), (5, 1), (3, 2), (1, 1), (2, 1)])
def test_learns_taps_alone_as_it_learns_all(side, dilation, channels, dtype):
    """What they see is the same to the last bit, in native code too."""
    frame, *taps = (x.to(dtype) for x in example(side, 2 * CACHED_ROWS + 3, 9, channels=channels))
    taps[0] = taps[0].contiguous(memory_format=torch.channels_last)
    gradient = torch.randn(frame.shape, dtype=dtype, generator=torch.Generator().manual_seed(1))
    expected, wanted_grads = of_taps(by_learnt_frame, frame, taps, dilation, gradient)
    out, grads = of_taps(adacof, frame, taps, dilation, gradient)
    assert torch.equal(out, expected)
    assert out.stride() == expected.stride()
    for grad, wanted_grad in zip(grads, wanted_grads, strict=True):
        assert grad.abs().max() > 0
        torch.testing.assert_close(grad, wanted_grad)


def test_taps_that_look_nowhere_are_seen_in_their_pixels_alone():
    frame, weight, rows, columns = (x.float() for x in example(5, 20, 30))
    rows[0, 3, 4, 5], columns[1, 7, 19, 0], rows[1, 0, 0, 0] = torch.nan, torch.inf, -torch.inf
    out, grads = of_taps(adacof, frame, (weight, rows, columns), 1, torch.ones_like(frame))
    wrong = out.isnan().all(1).nonzero().tolist()
    assert wrong == [[0, 4, 5], [1, 0, 0], [1, 19, 0]]
    assert out.isnan().sum() == 3 * len(wrong)
    assert grads[0].isnan().sum() == len(wrong)


@pytest.mark.slow
def test_gradient_is_true_for_taps_alone():
    frame, weight, rows, columns = example(3, spread=1.7, height=2, width=3, batch=2, channels=2)
    rows, columns = (
        (t.abs() % 1 * 0.8 + 0.1) * t.sign() + t.trunc() % 4 for t in (rows + 0.3, columns + 0.3)
    )
    taps = [t.requires_grad_() for t in (weight, rows, columns)]
    assert torch.autograd.gradcheck(lambda *t: adacof(frame, *t), taps)


def test_taps_in_half_precision_learn_in_float32():
    frame, *taps = (x.float() for x in example(5, 20, 30))
    halves = [t.bfloat16() for t in taps]
    gradient = torch.ones_like(frame)
    out, grads = of_taps(adacof, frame, halves, 1, gradient)
    wanted, wanted_grads = of_taps(adacof, frame, [t.float() for t in halves], 1, gradient)
    assert torch.equal(out, wanted)
    for grad, wanted_grad in zip(grads, wanted_grads, strict=True):
        assert torch.equal(grad, wanted_grad.bfloat16())


def test_half_precision_places_taps_in_float32(device):
    frame, weight, rows, columns = (t.to(device, torch.bfloat16) for t in example(5, 20, 300, batch=1))
    out = adacof(frame, weight, rows, columns)
    assert out.dtype == torch.bfloat16
    precise = adacof(frame.float(), weight.float(), rows.float(), columns.float())
    torch.testing.assert_close(out.float(), precise, atol=0.02, rtol=0.01)


@pytest.mark.parametrize("learnt", ["all", "taps"])
def test_keeps_nothing_per_tap_for_the_gradient(learnt):
    saved_bytes = {}

    def keep(t):
        saved_bytes[t.untyped_storage().data_ptr()] = t.untyped_storage().nbytes()
        return t

    inputs = [t.float().requires_grad_() for t in example(5, 32, 32)]
    inputs[0].requires_grad_(learnt == "all")
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        adacof(*inputs)
    assert sum(saved_bytes.values()) < 2 * sum(t.nbytes for t in inputs)


def test_refuses_shapes_that_do_not_match():
    frame, weight, rows, columns = example()
    with pytest.raises(ValueError, match="one shape"):
        adacof(frame, weight, rows[:1], columns)
    with pytest.raises(ValueError, match="weights of shape"):
        adacof(frame, weight[:, :8], rows, columns)


@pytest.mark.skipif(not dispatch.has_native(), reason="no C compiler")
def test_refuses_taps_of_another_device():
    frame, weight, rows, columns = (x.float() for x in example())
    with pytest.raises(ValueError, match="on the CPU for native code, got one on meta"):
        adacof(frame, weight.requires_grad_(), rows.to("meta"), columns)
