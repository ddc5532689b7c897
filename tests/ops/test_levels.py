"""What a level of an intermediate-flow network sees, by every backend."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from tweenlet.ops import dispatch
from tweenlet.ops.cpu.level_entry import level_entry, pack_entry, warped_level_entry
from tweenlet.ops.levels import level_inputs, merge_warped, pooled_level_inputs, resize, warped_inputs

LAYOUTS = (torch.contiguous_format, torch.channels_last)


def levels_of(scales, context, height, width, features=4):
    """A frame with features before and after, and what levels of these scales might estimate."""
    before, after = torch.rand(2, 2, 3 + features, height, width)
    estimates = [
        4 * torch.randn(2, 5 + context, height // scale, width // scale).contiguous(memory_format=layout)
        for scale, layout in zip(scales, (*LAYOUTS, *LAYOUTS), strict=False)
    ]
    estimates[0][0, :4, 0, 0] = torch.tensor([1e6, -1e6, 50.0, -50.0])
    return before, after, torch.tensor([0.25, 0.5]).view(2, 1, 1, 1), estimates


@pytest.mark.skipif(not dispatch.has_native(), reason="no C compiler")
@pytest.mark.parametrize("context", [0, 8, 20])
@pytest.mark.parametrize(("scales", "scale"), [((8,), 4), ((8, 4), 2), ((8, 4, 2), 1), ((4, 1), 1)], ids=str)
def test_pooled_inputs_are_those_in_double_precision(scales, scale, context):
    before, after, times, estimates = levels_of(scales, context, 24, 40)
    with dispatch.override("reference"):
        doubled = [x.double() for x in estimates]
        expected = pooled_level_inputs(before.double(), after.double(), times.double(), scale, doubled)
    with dispatch.override("cpu"):
        found = pooled_level_inputs(before, after, times, scale, estimates)
    torch.testing.assert_close(found.double(), expected, atol=2e-4, rtol=2e-6)


@pytest.mark.skipif(not dispatch.has_native(), reason="no C compiler")
@pytest.mark.parametrize("scales", [(4,), (8, 4, 2, 1), (4, 2)], ids=str)
def test_what_is_merged_is_that_in_double_precision(scales):
    before, after, _, estimates = levels_of(scales, 3, 24, 40)
    with dispatch.override("reference"):
        expected = merge_warped(before.double(), after.double(), [x.double() for x in estimates])
    with dispatch.override("cpu"):
        found = merge_warped(before, after, estimates)
    torch.testing.assert_close(found.double(), expected, atol=2e-4, rtol=2e-6)


@pytest.mark.parametrize("scale", [1, 2, 3, 8])
def test_pooled_inputs_of_the_first_level_are_reduced_bilinearly(scale):
    before, after = torch.rand(2, 1, 7, 24, 48, dtype=torch.float64)
    times = torch.full((1, 1, 1, 1), 0.5).double()
    expected = resize(warped_inputs(before, after, times, None), 1 / scale)
    torch.testing.assert_close(pooled_level_inputs(before, after, times, scale, []), expected)


@pytest.mark.skipif(not dispatch.has_native(), reason="no C compiler")
@pytest.mark.parametrize(("scales", "scale"), [((8,), 4), ((8, 4), 2), ((8, 4, 2), 1)], ids=str)
@pytest.mark.parametrize(("outputs", "context"), [(16, 8), (31, 1), (48, 20)], ids=str)
def test_the_first_layer_of_a_level_is_that_on_its_inputs(outputs, context, scales, scale):
    height, width = (96, 160) if scale == 1 else (72, 232)  # of more than one tile, and odd at the level
    before, after, times, estimates = levels_of(scales, context, height, width)
    estimates[0][0, :4, 0, 0] = 0  # no far point, which float32 tells less exactly
    layer = torch.nn.Conv2d(15 + 5 + context, outputs, 3, 2, 1)
    with dispatch.override("reference"), torch.no_grad():
        doubled = [x.double() for x in estimates]
        inputs = pooled_level_inputs(before.double(), after.double(), times.double(), scale, doubled)
        expected = F.leaky_relu(layer.double()(inputs), 0.1)
    found = level_entry(before, after, times, scale, estimates, pack_entry(layer.float(), 0.1, 4))
    torch.testing.assert_close(found.double(), expected, atol=2e-4, rtol=2e-6)


@pytest.mark.skipif(not dispatch.has_native(), reason="no C compiler")
@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("more", [0, 2], ids="more {}".format)
@pytest.mark.parametrize("factor", [2, 4])
@pytest.mark.parametrize(("features", "context"), [(4, 8), (1, 3), (9, 0)], ids=str)
def test_the_first_layer_of_a_refined_level_is_that_on_its_inputs(features, context, factor, more, layout):
    height, width = 36, 72  # of more than one tile
    before, after, times, (joined,) = levels_of((factor,), context + more, height, width, features)
    joined[0, :4, 0, 0] = 0  # no far point, which float32 tells less exactly
    before, after = (x.contiguous(memory_format=layout) for x in (before, after))
    estimate, beside = joined[:, : 5 + context], [joined[:, 5 + context :]] if more else []
    layer = torch.nn.Conv2d(2 * (3 + features) + 6 + context + more, 20, 3, 2, 1)
    packed = pack_entry(layer, 0.1, features, more, 1 / 4)
    with dispatch.override("reference"), torch.no_grad():
        frames, doubled = (before.double(), after.double(), times.double()), [x.double() for x in beside]
        inputs, expected_flows = level_inputs(*frames, 4, estimate.double(), factor, *doubled)
        expected = F.leaky_relu(layer.double()(inputs), 0.1)
    found, flows = warped_level_entry(before, after, times, 4, estimate, packed, *beside)
    torch.testing.assert_close(found.double(), expected, atol=2e-4, rtol=2e-6)
    torch.testing.assert_close(flows.double(), expected_flows, atol=2e-4, rtol=2e-6)
