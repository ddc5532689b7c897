from __future__ import annotations

import pytest
import torch

from tweenlet.ops.splat import splat, splat_sum


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-3), (torch.float64, 1e-9)])
def test_meets_the_official_kernel(expected, gradients, dtype, tolerance, device):
    golden = {name: tensor.to(device) for name, tensor in expected("softsplat_softmax").items()}
    inputs = [golden[name] for name in ("input", "flow", "metric")]
    out, grads = gradients(splat, inputs, golden["grad_out"], dtype)
    torch.testing.assert_close(out.double(), golden["out_f64"], atol=5e-5, rtol=0)
    for grad, name in zip(grads, ("grad_input_f64", "grad_flow_f64", "grad_metric_f64"), strict=True):
        torch.testing.assert_close(grad.double(), golden[name], atol=tolerance, rtol=tolerance)


def test_no_flow_changes_nothing():
    frame = torch.rand(2, 3, 5, 7)
    torch.testing.assert_close(splat(frame, torch.zeros(2, 2, 5, 7), torch.randn(2, 1, 5, 7)), frame)


def test_moves_right_and_down_and_leaves_holes_empty():
    frame = torch.rand(1, 3, 4, 6)
    flow = torch.stack((torch.full((4, 6), 2.0), torch.full((4, 6), 1.0)))[None]
    out = splat(frame, flow, torch.zeros(1, 1, 4, 6))
    torch.testing.assert_close(out[..., 1:, 2:], frame[..., :-1, :-2])
    assert out[..., 0, :].abs().max() == out[..., :2].abs().max() == 0


def test_the_more_important_pixel_lies_in_front():
    frame = torch.tensor([[[[1.0, 0.0]]]])
    flow = torch.tensor([[[[1.0, 0.0]], [[0.0, 0.0]]]])
    out = splat(frame, flow, torch.tensor([[[[20.0, 0.0]]]]))
    torch.testing.assert_close(out, torch.tensor([[[[0.0, 1.0]]]]))


def test_far_targets_are_dropped():
    frame = torch.rand(1, 3, 4, 4)
    out = splat(frame, torch.full((1, 2, 4, 4), 1e12), torch.zeros(1, 1, 4, 4))
    assert torch.equal(out, torch.zeros_like(frame))


def test_half_precision_sums_in_float32(device):
    frame, flow = torch.rand(1, 3, 6, 300, device=device), torch.randn(1, 2, 6, 300, device=device) * 4
    small = [t.bfloat16() for t in (frame, flow, torch.randn(1, 1, 6, 300, device=device))]
    out = splat(*small)
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out.float(), splat(*(t.float() for t in small)), atol=0.01, rtol=0.01)


def test_refuses_shapes_that_do_not_match():
    frame = torch.rand(1, 3, 4, 4)
    with pytest.raises(ValueError, match="expected a flow"):
        splat(frame, torch.zeros(1, 2, 4, 5), torch.zeros(1, 1, 4, 4))


@pytest.mark.parametrize("size", [(1, 1), (4, 3), (17, 33)], ids=str)
@pytest.mark.parametrize("channels", [1, 3, 5])
def test_sums_are_those_in_double_precision(size, channels, monkeypatch, compiled):
    """Which is PyTorch's alone; whatever the threads, the bits are the same."""
    values, flow = torch.rand(2, channels, *size), 3 * torch.randn(2, 2, *size)
    flow[0, :, 0, 0] = torch.tensor([1e30, -1e30])
    expected = splat_sum(values.double(), flow.double())
    outputs = []
    for threads in (1, 3):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        outputs.append(splat_sum(values, flow.mT.contiguous().mT))
        torch.testing.assert_close(outputs[-1].double(), expected, atol=2e-5, rtol=0)
    assert torch.equal(*outputs)
