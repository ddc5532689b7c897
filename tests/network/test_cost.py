from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import cache

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from tweenlet.network import adacof_heads
from tweenlet.network.blocks import PerSliceConv3d
from tweenlet.network.config import DEFAULT, MINI, RIFE, STMFNET, TINY
from tweenlet.network.cost import MOVED, OFFICIAL_STRIDE, cost
from tweenlet.network.stmfnet import STMFNet
from tweenlet.ops.adacof import adacof
from tweenlet.ops.dispatch import override
from tweenlet.ops.splat import splat_sum

count = cache(cost)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("config", "size", "official", "ours"),
    [
        (STMFNET, (256, 256), 200_556_487_488, 176_397_296_448),
        (MINI, (256, 256), 49_445_454_400, 43_405_656_640),
        (STMFNET, (480, 854), 1_403_894_423_232, 1_234_780_085_952),
        (MINI, (480, 854), 346_118_079_040, 303_839_494_720),
    ],
)
def test_multiply_adds(config, size, official, ours):
    counted = count(config, *size, OFFICIAL_STRIDE)
    assert counted.multiply_adds_official == official
    assert counted.multiply_adds == ours


def test_parts_of_the_teacher():
    counted = count(STMFNET, 256, 256, OFFICIAL_STRIDE)
    assert counted.parameters == 21_028_799
    assert {name: part.parameters for name, part in counted.parts.items()} == {
        "features": 3_965_816,
        "multi_flow": 1_656_858 + 99,
        "flow": 9_374_275,
        "fusion": 1_563_844,
        "texture": 4_467_907,
    }
    giga = {name: round(part.multiply_adds / 1e9, 2) for name, part in counted.parts.items()}
    assert giga == {"features": 2.87, "multi_flow": 37.07, "flow": 23.3, "fusion": 59.74, "texture": 53.42}
    assert (counted.unused.parameters, counted.unused.multiply_adds) == (92_424, 24_159_191_040)


def test_parts_of_mini():
    counted = count(MINI, 256, 256, OFFICIAL_STRIDE)
    assert counted.parameters == 1_822_162
    assert {name: part.parameters for name, part in counted.parts.items()} == {
        "features": 393_192,
        "multi_flow": 492_150 + 99,
        "fusion": 378_294,
        "texture": 558_427,
    }
    assert (counted.unused.parameters, counted.unused.multiply_adds) == (23_176, 6_039_797_760)


@pytest.mark.slow
def test_the_default():
    counted = count(DEFAULT, 480, 854)
    assert (counted.parameters, counted.multiply_adds) == (4_804_237, 8_472_292_864)


@pytest.mark.slow
def test_parts_of_a_network_that_takes_a_time():
    counted = count(RIFE, 480, 854)
    assert (counted.height, counted.width, counted.parameters) == (512, 896, 5_664_776)
    assert list(counted.parts) == ["encoder", *(f"level 1/{scale}" for scale in (16, 8, 4, 2, 1))]
    pixels = 512 * 896 // 4
    assert counted.parts["encoder"].multiply_adds == pixels * (27 * 16 + 2 * 144 * 16 + 16 * 16 * 4)
    down, blocks, up = 9 * (28 * 16 + 16 * 32 / 4) / 1, 8 * 9 * 32 * 32 / 4, 32 * 52 * 16 / 4
    assert counted.parts["level 1/1"].multiply_adds == pixels * (down + blocks + up)


@pytest.mark.slow
def test_a_pair_of_a_stream_is_looked_at_once():
    branch = replace(RIFE.intermediate, levels=RIFE.intermediate.levels[:4], four_frames=True)
    counted = count(replace(RIFE, intermediate=branch), 64, 64)
    two = count(replace(RIFE, intermediate=replace(branch, four_frames=False)), 128, 128)
    assert counted.parts["level 1/8"].multiply_adds * 4 == two.parts["level 1/8"].multiply_adds
    assert counted.parts["the rest"].parameters == 1


@pytest.mark.slow
def test_a_frame_is_padded_to_the_least_that_the_network_needs():
    counted = count(MINI, 480, 854)
    assert (counted.height, counted.width, counted.multiply_adds) == (480, 864, 274_676_330_560)
    assert (count(TINY, 1, 9).height, count(TINY, 1, 9).width) == (8, 16)
    with pytest.raises(ValueError, match="at least one pixel"):
        cost(TINY, 0, 16)


def numbers(*tensors):
    return sum(x.numel() for x in tensors if isinstance(x, torch.Tensor))


@pytest.mark.slow
def test_numbers_moved_are_those_that_the_layers_are_given_and_make():
    """Counted again on real tensors."""
    model, seen = STMFNet(TINY).eval(), Counter()

    def look(name):
        def count_layer(layer, inputs, out):
            side_by_side = 3 if isinstance(layer, PerSliceConv3d) and layer.kernel_size[0] == 3 else 1
            seen[name] += side_by_side * numbers(*inputs) + numbers(out, *layer.parameters())

        return count_layer

    for name in ("fusion", "texture"):
        for layer in getattr(model, name).modules():
            if isinstance(layer, nn.Conv2d | nn.Conv3d | nn.ConvTranspose2d | nn.ConvTranspose3d):
                layer.register_forward_hook(look(name))
    with torch.no_grad():
        model(torch.rand(1, 4, 3, 32, 48))
    parts = count(TINY, 32, 48).parts
    assert {name: parts[name].moved for name in seen} == seen
    assert count(TINY, 32, 48).moved == sum(part.moved for part in parts.values())


def test_numbers_moved_by_the_multi_flow_grow_by_what_adacof_is_given(monkeypatch):
    counted, seen = count(TINY, 32, 48), Counter()

    def watched(frame, *taps):
        seen["numbers"] += numbers(frame, *taps, out := adacof(frame, *taps))
        return out

    monkeypatch.setattr(adacof_heads, "adacof", watched)
    plain = override("reference")  # in native code no convolution halves a frame
    with plain, torch.no_grad(), FlopCounterMode(display=False, custom_mapping=MOVED) as counter:
        STMFNet(TINY).eval()(torch.rand(1, 4, 3, 32, 48))
    layers = counter.get_flop_counts()["STMFNet.multi_flow"][torch.ops.aten.convolution]
    assert counted.parts["multi_flow"].moved == seen["numbers"] + layers


def test_a_splat_reads_its_values_and_writes_its_sums_once():
    with FlopCounterMode(display=False, custom_mapping=MOVED) as counter:
        splat_sum(*(torch.empty(1, n, 6, 7, device="meta") for n in (5, 2)))
    assert counter.get_total_flops() == 2 * 5 * 6 * 7
