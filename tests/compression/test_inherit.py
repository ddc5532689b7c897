"""Inherit: what the narrow network computes is what the wide one computes without the dropped channels."""

from __future__ import annotations

import copy
import math
import re
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tweenlet.compression.inherit import four_frames, inherit
from tweenlet.network.config import MINI, STMFNET, TINY, FlowLevel, IntermediateFlowConfig, ModelConfig
from tweenlet.network.stmfnet import STMFNet

WIDE = ModelConfig(
    features=(64, 96), kernel_hidden=8, kernel_size=3, flow=(8, 12, 16),
    grid=(8, 14, 16), texture=(8, 8, 12, 12), texture_out=6,
)  # fmt: skip
NARROW = replace(
    WIDE, features=(32, 64), kernel_hidden=5, flow=(5, 6, 8),
    grid=(5, 7, 9), texture=(5, 5, 7, 7), texture_out=4,
)  # fmt: skip
NARROW_WITHOUT_FLOW = replace(NARROW, flow=None)
NARROWED = {
    "every width": (WIDE, NARROW),
    "without flow": (WIDE, NARROW_WITHOUT_FLOW),
    "without texture": (WIDE, replace(NARROW, texture=None)),
    "without multi_flow": (WIDE, replace(NARROW, features=None, scales=(1.0, 0.5), grid=(7, 9))),
    "without scale 2": (WIDE, replace(NARROW, scales=(1.0, 0.5), grid=(7, 9))),
    "without scale 1/2": (WIDE, replace(NARROW, scales=(2.0, 1.0), grid=(5, 7))),
    "without both": (WIDE, replace(NARROW, scales=(1.0,), grid=(7,))),
    "one level": (replace(WIDE, features=(64,)), replace(NARROW, features=(32,))),
    "a shortcut becomes a convolution": (
        replace(WIDE, grid=(6, 12, 6)), replace(NARROW, grid=(5, 7, 4), texture=(5, 4, 7, 6)),
    ),
    "candidates are the row": (replace(WIDE, grid=(8, 12, 6)), replace(NARROW, flow=None, grid=(5, 6, 6))),
}  # fmt: skip
CONSTANTS = ("multi_flow.gaussian", "multi_flow.eight_taps")


def distinct(config: ModelConfig) -> STMFNet:
    """A random network in which no two numbers of a tensor are the same: odd numbers times a power of two."""
    torch.manual_seed(0)
    model = STMFNet(config).eval()
    for name, tensor in model.state_dict().items():
        if name not in CONSTANTS:
            odd = 2.0 * torch.randperm(tensor.numel()).view(tensor.shape) + 1
            value = odd / 2 ** tensor.numel().bit_length()  # between 0 and 1
            if tensor.dim() > 1:
                value *= torch.randn(tensor.shape).sign() / 2 ** round(math.log2(tensor[0].numel()) / 2)
            elif name.endswith("running_var"):
                value += 0.5
            tensor.copy_(value)
    return model


def without_the_dropped(source: STMFNet, heir: STMFNet) -> STMFNet:
    """The source with zeros in all places whose numbers the heir does not have: those channels do nothing.

    What reads a correlation of half as many channels has halves of the odd numbers.
    """
    rows_gone = source.config.scales.index(heir.config.scales[0])
    state = {
        re.sub(r"(fusion\.\w+\.)(\d)(?=_)", lambda m: f"{m[1]}{int(m[2]) + rows_gone}", name): tensor
        for name, tensor in heir.state_dict().items()
    }
    emptied = copy.deepcopy(source)
    for name, tensor in emptied.state_dict().items():
        if name not in CONSTANTS and not name.endswith(("running_var", "num_batches_tracked")):
            there = state.get(name, torch.empty(0))
            tensor *= torch.isin(tensor, torch.stack((there, 2 * there)))
    return emptied


@torch.no_grad()
def run(model: STMFNet, height: int = 16, width: int = 24) -> Tensor:
    """What a network makes of a fixed window, in float64."""
    random = torch.Generator().manual_seed(1)
    frames = torch.rand(1, 4, 3, height, width, generator=random, dtype=torch.float64)
    return copy.deepcopy(model).double()(frames)


def same(one: STMFNet, other: STMFNet) -> bool:
    """Bit for bit."""
    tensors, others = one.state_dict(), other.state_dict()
    return tensors.keys() == others.keys() and all(
        torch.equal(tensors[name], others[name]) for name in tensors
    )


@pytest.mark.slow
@pytest.mark.parametrize(("wide", "narrow"), NARROWED.values(), ids=NARROWED)
def test_the_output_is_that_of_the_source_without_the_dropped_channels(wide, narrow):
    source = distinct(wide)
    heir = inherit(source, narrow)
    assert heir.config == narrow
    assert not heir.training
    emptied = without_the_dropped(source, heir)
    expected = run(emptied)
    assert (run(source) - expected).abs().max() > 1e-2
    torch.testing.assert_close(run(heir), expected, atol=1e-9, rtol=0)
    assert same(inherit(emptied, narrow), heir)


def test_nothing_changes_where_nothing_is_dropped():
    source = distinct(WIDE)
    assert same(inherit(source, WIDE), source)


def test_mini_from_the_teacher():
    torch.manual_seed(0)
    source = STMFNet(STMFNET).eval()
    heir = inherit(source, MINI)
    assert heir.config == MINI
    with torch.no_grad():
        assert heir(torch.rand(1, 4, 3, 128, 128)).isfinite().all()


def test_the_heaviest_channels_are_kept_and_the_first_of_equals():
    wide = replace(WIDE, flow=(4, 8))
    narrow = replace(wide, flow=(2, 8))
    source = distinct(wide)
    with torch.no_grad():
        for parameter in source.flow.parameters():
            parameter.fill_(1)
        leave, enter = source.flow.pyramid[0][-2], source.flow.pyramid[1][0]
        leave.bias.copy_(torch.arange(4))
        leave.weight[1] = 2
        enter.weight[:, 2] = 3
    assert inherit(source, narrow).flow.pyramid[0][-2].bias.tolist() == [1, 2]
    with torch.no_grad():
        enter.weight.fill_(1)
        leave.weight.fill_(1)
    assert inherit(source, narrow).flow.pyramid[0][-2].bias.tolist() == [0, 1]


@pytest.mark.slow
def test_blocks_that_are_never_used_have_no_say():
    source = distinct(WIDE)
    heir = inherit(source, NARROW)
    with torch.no_grad():
        for block in source.fusion.unused_blocks(0):
            for parameter in block.parameters():
                parameter.fill_(torch.nan)
    torch.testing.assert_close(run(inherit(source, NARROW)), run(heir), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("wide", "narrow", "words"),
    [
        (WIDE, replace(WIDE, features=(64, 128)), r"features .* \(64, 96\), .* got \(64, 128\)"),
        (WIDE, replace(WIDE, features=(64,)), r"features .* got \(64,\)"),
        (WIDE, replace(WIDE, kernel_hidden=9), "kernel_hidden .* 8, .* got 9"),
        (WIDE, replace(WIDE, kernel_size=5), "kernel_size 3 .* got 5"),
        (WIDE, replace(WIDE, dilation=2), "dilation 1, got 3 and 2"),
        (WIDE, replace(WIDE, scales=(1.0, 0.5), grid=(14, 17)), r"grid .* \(14, 16\), .* got \(14, 17\)"),
        (replace(WIDE, scales=(1.0,), grid=(9,)), WIDE, r"scales .* \(1.0,\), got \(2.0, 1.0, 0.5\)"),
        (replace(WIDE, texture=None), WIDE, r"texture .* None, .* got \(8, 8, 12, 12\)"),
        (WIDE, replace(WIDE, texture_out=7), "texture_out .* 6, .* got 7"),
        (WIDE, replace(WIDE, grid=(6, 14, 16)), "fusion.lateral.0_0.shortcut is a convolution .* 6 channels"),
        (WIDE, replace(WIDE, grid=(8, 3, 16)), "fusion.final.shortcut is a convolution .* 3 channels"),
    ],
)
def test_refuses_what_is_no_narrowing(wide, narrow, words):
    with pytest.raises(ValueError, match=words):
        inherit(STMFNet(wide), narrow)


def rife_like():
    torch.manual_seed(0)
    branch = IntermediateFlowConfig(
        (FlowLevel(4, 8, 3), FlowLevel(2, 8, 2), FlowLevel(1, 4, 1)), encoder=(4, 2), context=3
    )
    return STMFNet(
        ModelConfig(scales=(1.0,), features=None, flow=None, grid=None, texture=None, intermediate=branch)
    ).eval()


def test_features_at_half_the_size_are_the_mean_of_those_at_full():
    source = rife_like()
    network = four_frames(source)
    assert [level.scale for level in network.config.intermediate.levels] == [4, 2]
    frame = torch.rand(1, 3, 32, 48)
    halved = torch.nn.functional.avg_pool2d(source.intermediate.encode(frame), 2)
    torch.testing.assert_close(network.intermediate.encode(frame), halved)


def test_only_a_network_of_two_frames_can_be_timed():
    for source in (STMFNet(TINY), four_frames(rife_like())):
        with pytest.raises(ValueError, match="intermediate-flow branch of two frames"):
            four_frames(source)
