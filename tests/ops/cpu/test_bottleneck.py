"""The bottleneck in one pass against PyTorch's own layers."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tweenlet.inference.fused.fuse import fold_norms
from tweenlet.network.features import Branch
from tweenlet.ops import dispatch
from tweenlet.ops.cpu.bottleneck import bottleneck, pack_bottleneck

pytestmark = pytest.mark.skipif(not dispatch.has_native(), reason="no C compiler")

DOWN, UP = [(3, 1), (5, 1), (3, 2), (5, 2), (7, 2)], [(4, 2), (6, 2), (8, 2)]
GROUPS = [16, 32, 48, 80, 128, 144, 256]
"""Outputs of a branch whose groups have 1, 2, 3, 5, 8, 9 and 16 channels."""


def branch(inputs, outputs, kernel, stride, up=False):
    """One with norms that do something, folded into its layers."""
    module = Branch(inputs, outputs, kernel, stride, up).double().eval()
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.normal_(0, 0.3)
            part.running_var.uniform_(0.5, 2)
            nn.init.normal_(part.weight)
            nn.init.normal_(part.bias)
    for stack in module.children():
        fold_norms(stack)
    return module.requires_grad_(False)


def kernels(of, dtype):
    of.to(dtype)
    return pack_bottleneck(of.reduce[0], of.grouped[0], of.expand[0], of.shortcut[0])


def check(of, size, dtype=torch.float32, within=1e-6, batch=2):
    of.to(dtype)  # both have the same weights
    inputs = of.reduce[0].in_channels
    x = torch.randn(batch, inputs, *size).to(dtype).contiguous(memory_format=torch.channels_last)
    output = bottleneck(x, kernels(of, dtype))
    expected = of.double()(x.double())
    assert output.dtype == dtype
    assert output.shape == expected.shape
    assert output.is_contiguous(memory_format=torch.channels_last)
    assert (output.double() - expected).norm() <= within * expected.norm()


@pytest.mark.parametrize("outputs", GROUPS)
@pytest.mark.parametrize(("kernel", "stride"), DOWN)
def test_groups_of_any_size(outputs, kernel, stride):
    check(branch(20, outputs, kernel, stride), (23, 37))


@pytest.mark.parametrize("outputs", GROUPS)
@pytest.mark.parametrize(("kernel", "stride"), UP)
def test_groups_of_any_size_transposed(outputs, kernel, stride):
    check(branch(20, outputs, kernel, stride, up=True), (11, 21))


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (2, 3), (8, 8), (7, 135), (150, 33)], ids=str)
@pytest.mark.parametrize(("kernel", "stride", "up"), [(3, 1, False), (7, 2, False), (8, 2, True)])
def test_any_size(size, kernel, stride, up):
    check(branch(7, 32, kernel, stride, up), size)


@pytest.mark.skipif(not dispatch.has_native(torch.bfloat16), reason="a processor without bfloat16")
@pytest.mark.parametrize("outputs", GROUPS)
@pytest.mark.parametrize(("kernel", "stride", "up"), [(3, 1, False), (5, 2, False), (8, 2, True)])
def test_products_of_bfloat16(outputs, kernel, stride, up):
    check(branch(20, outputs, kernel, stride, up), (23, 37), torch.bfloat16, within=5e-3)


def test_the_same_with_any_number_of_threads():
    of = branch(8, 32, 5, 2)
    x = torch.randn(1, 8, 400, 400).contiguous(
        memory_format=torch.channels_last
    )  # enough for each to get a share
    before, outputs = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            outputs.append(bottleneck(x, kernels(of, torch.float32)))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(outputs[0], other) for other in outputs)


def test_from_a_view_into_a_view():
    packed = kernels(branch(8, 19, 3, 2), torch.float32)  # 19: not in whole vectors
    wide = torch.randn(1, 12, 20, 40).contiguous(memory_format=torch.channels_last)
    into = torch.full((1, 10, 20, 24), 7.0).permute(0, 3, 1, 2)
    made = bottleneck(wide[:, 2:10], packed, into[:, 3:22])
    assert made.data_ptr() == into[:, 3:22].data_ptr()
    torch.testing.assert_close(made, bottleneck(wide[:, 2:10].clone(), packed))
    assert (into[:, :3] == 7).all()
    assert (into[:, 22:] == 7).all()


def test_what_is_not_a_number_spoils_only_what_sees_it():
    of = branch(8, 16, 3, 1)
    x = torch.randn(1, 8, 9, 9).contiguous(memory_format=torch.channels_last)
    x[0, 3, 4, 4] = torch.nan
    made = bottleneck(x, kernels(of, torch.float32))
    spoilt = made.isnan().any(1)[0]
    assert spoilt[3:6, 3:6].all()
    assert spoilt.sum() == 9


@pytest.mark.parametrize("up", [False, True])
@pytest.mark.parametrize(
    ("layer", "changes"),
    [
        ("reduce", {"padding": (1, 1)}),
        ("reduce", {"out_channels": 64}),
        ("grouped", {"kernel_size": (9, 9)}),
        ("grouped", {"stride": (1, 2)}),
        ("grouped", {"padding": (0, 0)}),
        ("grouped", {"dilation": (2, 2)}),
        ("grouped", {"padding_mode": "circular"}),
        ("grouped", {"out_channels": 64}),
        ("grouped", {"groups": 1}),  # of 32 channels
        ("expand", {"stride": (2, 2)}),
        ("expand", {"groups": 2}),
        ("shortcut", {"kernel_size": (3, 3)}),
        ("shortcut", {"in_channels": 10}),
        ("shortcut", {"out_channels": 8}),
    ],
)
def test_none_for_other_layers(layer, changes, up):
    of = branch(8, 16, 4 if up else 3, 2, up)
    assert kernels(of, torch.float32) is not None
    for name, value in changes.items():
        setattr(getattr(of, layer)[0], name, value)
    assert kernels(of, torch.float32) is None


def test_none_of_other_types():
    assert kernels(branch(8, 16, 3, 1), torch.float64) is None
    assert kernels(branch(7, 16, 3, 1), torch.bfloat16) is None


@pytest.mark.parametrize(
    ("x", "into", "what"),
    [
        (torch.zeros(1, 8, 4, 6), None, "channels_last"),
        (torch.zeros(1, 4, 6, 7).permute(0, 3, 1, 2), None, r"\(1, 8, 4, 6\)"),
        (torch.zeros(1, 4, 6, 8).double().permute(0, 3, 1, 2), None, "torch.float64"),
        (torch.zeros(1, 4, 6, 8).permute(0, 3, 1, 2), torch.zeros(1, 4, 6, 16).permute(0, 3, 1, 2), "result"),
    ],
)
def test_other_tensors_are_refused(x, into, what):
    with pytest.raises(ValueError, match=what):
        bottleneck(x, kernels(branch(8, 16, 3, 2), torch.float32), into)
