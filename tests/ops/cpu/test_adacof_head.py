"""The native heads against the plain path: interpolate, convolve, softmax, AdaCoF."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import nn

from tests.reference.official import clear_of_jumps
from tweenlet.network.adacof_heads import SCALE_NAMES, MultiFlow
from tweenlet.network.blocks import AlignedUpsample, Tile, aligned_positions
from tweenlet.ops import dispatch
from tweenlet.ops.adacof import adacof
from tweenlet.ops.cpu import adacof_head as heads

needs_native = pytest.mark.skipif(not dispatch.has_native(), reason="no C compiler")


def small_taps(side, height, width):
    return [torch.randn(height, width, side * side).relu() for _ in heads.KINDS]


def convolutions(side, lively):
    layers = [nn.Conv2d(side * side, side * side, 3, padding=1).requires_grad_(False) for _ in heads.KINDS]
    for layer in layers:
        layer.weight *= lively
    return layers, heads.pack_layers([layer.weight for layer in layers], [layer.bias for layer in layers])


def precisely(layers, enlarge, small):
    """Large taps as the plain path makes them, (H, W, k*k), in float64."""
    return [
        layer.double()(enlarge(x.double().permute(2, 0, 1)[None]))[0].permute(1, 2, 0)
        for layer, x in zip(layers, small, strict=True)
    ]


def synthesised(frame, taps, dilation):
    weight, rows, columns = (x.double().permute(2, 0, 1)[None] for x in taps)
    return adacof(frame.double()[None], weight.softmax(1), rows, columns, dilation)[0].permute(1, 2, 0)


def assert_the_same(output, expected, taps, atol=1e-5):
    clear = clear_of_jumps(torch.cat(taps[1:], -1), dim=-1)
    assert clear.float().mean() > 0.8
    torch.testing.assert_close(output.double()[clear], expected[clear], atol=atol, rtol=0)


@needs_native
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (2, 3), (9, 1), (13, 7), (21, 75)], ids=str)
@pytest.mark.parametrize("factor", [2, 4])
@pytest.mark.parametrize(
    ("side", "dilation", "lively"),
    [(1, 1, 3), (2, 3, 9), (3, 1, 3), (3, 2, 30), (5, 1, 1), (5, 2, 9), (7, 1, 9)],
)
def test_taps_are_enlarged_convolved_and_used(side, dilation, lively, factor, size):
    height, width = size
    frame, small = torch.rand(3, factor * height, factor * width), small_taps(side, height, width)
    layers, prepared = convolutions(side, lively)
    enlarge = AlignedUpsample(factor)
    places = aligned_positions(0, height, factor * height), aligned_positions(1, width, factor * width)
    made = heads.upsample_and_synthesize(frame, *small, prepared, places, dilation)
    taps = precisely(layers, enlarge, small)
    assert_the_same(made, synthesised(frame, taps, dilation), taps, atol=max(1e-5, 2e-6 * lively))


@needs_native
@pytest.mark.parametrize("size", [(1, 1), (3, 2), (17, 40), (5, 301)], ids=str)
@pytest.mark.parametrize(("side", "dilation"), [(1, 1), (2, 1), (3, 2), (5, 1), (6, 1)])
def test_taps_are_given(side, dilation, size):
    frame = torch.rand(3, *size)
    taps = [3 * torch.randn(*size, side * side) for _ in heads.KINDS]
    made = heads.synthesize(frame, *taps, dilation, softmax=True)
    assert_the_same(made, synthesised(frame, taps, dilation), taps)
    planes = [x.permute(2, 0, 1)[None] for x in taps]
    wanted = adacof(frame[None], *planes, dilation)[0].permute(1, 2, 0)
    torch.testing.assert_close(heads.synthesize(frame, *taps, dilation), wanted, atol=1e-4, rtol=1e-5)


@needs_native
@torch.no_grad()
@pytest.mark.parametrize("side", [3, 5])
def test_whole_heads_are_the_plain_ones(side):
    branch = MultiFlow(6, 8, side, 1, (2.0, 1.0, 0.5))
    features, before, after = torch.randn(2, 6, 16, 22), torch.rand(2, 3, 32, 44), torch.rand(2, 3, 32, 44)
    for scale, expected in branch(features, before, after).items():
        output = torch.empty(expected.shape).permute(0, 2, 3, 1).contiguous()
        for start, (name, frames) in zip((0, 3), (("before", before), ("after", after)), strict=True):
            head, resized = branch.heads[f"{SCALE_NAMES[scale]}_{name}"], branch.resize(frames, scale)
            stacks = [getattr(head, kind) for kind in heads.KINDS]
            small = [stack[:6](features).permute(0, 2, 3, 1) for stack in stacks]
            for number, frame in enumerate(resized):
                taps, into = [x[number] for x in small], output[number, ..., start : start + 3]
                if scale == 0.5:
                    heads.synthesize(frame, *taps, softmax=True, out=into)
                    continue
                last = [stack[7] for stack in stacks]
                of = heads.pack_layers([layer.weight for layer in last], [layer.bias for layer in last])
                places = [aligned_positions(n, size, frame.shape[n + 1]) for n, size in enumerate((16, 22))]
                heads.upsample_and_synthesize(frame, *taps, of, places, out=into)
        torch.testing.assert_close(output.permute(0, 3, 1, 2), expected, atol=1e-5, rtol=0)


@needs_native
def test_a_piece_is_enlarged_as_a_part_of_the_whole():
    frame, small = torch.rand(3, 24, 40), small_taps(3, 12, 20)
    layers, prepared = convolutions(3, 3)
    enlarge = AlignedUpsample(2)
    tile = Tile((6, 18, 30), (10, 30, 44), lambda gate, x: x)
    places = aligned_positions(0, 12, 24, tile), aligned_positions(1, 20, 40, tile)
    taps = precisely(layers, partial(enlarge, tile=tile), small)
    assert_the_same(
        heads.upsample_and_synthesize(frame, *small, prepared, places), synthesised(frame, taps, 1), taps
    )


@needs_native
def test_offsets_may_be_anything():
    frame = torch.rand(3, 6, 8)
    weight, rows, columns = torch.rand(6, 8, 9), torch.randn(6, 8, 9), torch.randn(6, 8, 9)
    rows[..., 3] = torch.tensor([1e9, -1e9, 3e30, -3e30, 70, -70, 2**31, -(2**31)])
    columns[..., 5] = rows[..., 3].flip(0)
    planes = [x.permute(2, 0, 1)[None] for x in (weight, rows, columns)]
    wanted = adacof(frame[None], *planes)[0].permute(1, 2, 0)
    output = heads.synthesize(frame, weight, rows, columns)
    torch.testing.assert_close(output, wanted, atol=1e-5, rtol=0)
    for offsets in (rows, columns):
        offsets[2, 3, 4], offsets[4, 7, 8] = torch.nan, torch.inf
    weight[0, 0, 0] = torch.nan
    touched = torch.zeros(6, 8, dtype=torch.bool)
    touched[2, 3] = touched[4, 7] = touched[0, 0] = True
    spoilt = heads.synthesize(frame, weight, rows, columns)
    assert spoilt[touched].isnan().all()
    torch.testing.assert_close(spoilt[~touched], output[~touched], atol=0, rtol=0)


@needs_native
def test_logits_may_be_large():
    frame, still = torch.rand(3, 4, 5), torch.zeros(4, 5, 9)
    logits = 1000 * torch.randn(4, 5, 9)
    logits[0, 0, 1:] = -torch.inf
    made = heads.synthesize(frame, logits, still, still, softmax=True)
    torch.testing.assert_close(
        made.double(), synthesised(frame, (logits, still, still), 1), atol=1e-6, rtol=0
    )
    logits[1, 1, 5] = torch.nan
    spoilt = heads.synthesize(frame, logits, still, still, softmax=True)
    assert spoilt.isnan().any(-1).nonzero().tolist() == [[1, 1]]


@needs_native
def test_threads_and_strides_do_not_matter():
    small, (_, prepared) = small_taps(5, 40, 50), convolutions(5, 3)
    frame = torch.rand(3, 160, 200)
    places = aligned_positions(0, 40, 160), aligned_positions(1, 50, 200)
    output = heads.upsample_and_synthesize(frame, *small, prepared, places)
    both = torch.zeros(160, 200, 6)
    before, threads = torch.get_num_threads(), 3
    try:
        torch.set_num_threads(threads)
        last = frame.permute(1, 2, 0).contiguous().permute(2, 0, 1)
        planes = [x.permute(2, 0, 1).contiguous().permute(1, 2, 0) for x in small]
        heads.upsample_and_synthesize(last, *planes, prepared, places, out=both[..., 3:])
    finally:
        torch.set_num_threads(before)
    assert torch.equal(both[..., 3:], output)
    assert not both[..., :3].any()


@needs_native
def test_says_what_is_wrong():
    frame, taps = torch.rand(3, 8, 8), [torch.rand(4, 4, 9) for _ in heads.KINDS]
    _, of = convolutions(3, 1)
    places = aligned_positions(0, 4, 8), aligned_positions(1, 4, 8)
    with pytest.raises(ValueError, match=r"three weights of shape .* got \[\(9, 9, 3, 3\)\]"):
        heads.pack_layers([torch.zeros(9, 9, 3, 3)], [None])
    with pytest.raises(ValueError, match=r"expected frame of shape .*float64"):
        heads.upsample_and_synthesize(frame.double(), *taps, of, places)
    with pytest.raises(ValueError, match="expected rows of shape"):
        heads.upsample_and_synthesize(frame, taps[0], taps[1][:3], taps[2], of, places)
    with pytest.raises(ValueError, match="positions of 8 rows and 8 columns"):
        heads.upsample_and_synthesize(frame, *taps, of, (places[0], places[1][1:]))
    with pytest.raises(ValueError, match="ascending order"):
        heads.upsample_and_synthesize(frame, *taps, of, (places[0], places[1].flip(0)))
    with pytest.raises(ValueError, match="at least two large rows"):
        heads.upsample_and_synthesize(torch.rand(3, 4, 8), *taps, of, (torch.arange(4).double(), places[1]))
    with pytest.raises(ValueError, match="follow on each other"):
        heads.upsample_and_synthesize(frame, *taps, of, places, out=torch.zeros(3, 8, 8).permute(1, 2, 0))
    with pytest.raises(ValueError, match=r"k\*k taps"):
        heads.synthesize(frame, *[torch.rand(8, 8, 10) for _ in heads.KINDS])


@needs_native
def test_new_tensors_may_lie_elsewhere_by_default():
    frame, small = torch.rand(3, 8, 8), small_taps(3, 4, 4)
    layers, of = convolutions(3, 1)
    places = [aligned_positions(axis, 4, 8) for axis in (0, 1)]
    output = heads.upsample_and_synthesize(frame, *small, of, places)
    with torch.device("meta"):
        of = heads.pack_layers([layer.weight for layer in layers], [layer.bias for layer in layers])
        assert torch.equal(heads.upsample_and_synthesize(frame, *small, of, places), output)


@needs_native
def test_refuses_what_is_empty():
    _, of = convolutions(3, 1)
    places = [aligned_positions(axis, 4, 8) for axis in (0, 1)]
    for size in (0, 4, 9), (4, 0, 9):
        with pytest.raises(ValueError, match=r"not empty, got \({}, {}, {}\) and \(8, 8\)".format(*size)):
            heads.upsample_and_synthesize(torch.rand(3, 8, 8), *torch.rand(3, *size), of, places)
    for size in (0, 8, 9), (8, 0, 9), (8, 8, 0):
        with pytest.raises(ValueError, match="not empty"):
            heads.synthesize(torch.rand(3, *size[:2]), *torch.rand(3, *size))


@dispatch.override("reference")
def test_nothing_without_a_compiler():
    taps = [torch.rand(8, 8, 9) for _ in heads.KINDS]
    assert heads.synthesize(torch.rand(3, 8, 8), *taps) is None
