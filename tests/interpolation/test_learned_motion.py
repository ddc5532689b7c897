"""Networks that learned their motion: in a stream, by tiles, and padded as they want it."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest
import torch

from tweenlet.bench.targets import moving_picture
from tweenlet.interpolation.interpolator import Interpolator
from tweenlet.network.config import RIFE, FlowLevel, IntermediateFlowConfig
from tweenlet.network.stmfnet import STMFNet


@pytest.fixture
def network():
    def build(four_frames: bool) -> STMFNet:
        torch.manual_seed(0)
        levels = (FlowLevel(4, 8, 1), FlowLevel(2, 8, 1))
        branch = IntermediateFlowConfig(levels, encoder=(8, 2), context=3, four_frames=four_frames)
        return STMFNet(replace(RIFE, intermediate=branch)).eval()

    return build


def test_a_stream_measures_each_pair_once(network, monkeypatch):
    model, frames = network(four_frames=True), moving_picture((50, 38), 7)
    interpolator = Interpolator(model)
    branch, measured = interpolator.model.intermediate, []
    velocity = branch.velocity
    monkeypatch.setattr(branch, "velocity", lambda *pair: measured.append(pair) or velocity(*pair))
    cache = interpolator.flow_cache()
    for start in range(4):
        window = frames[start : start + 4]
        motion = cache.window(window, range(start, start + 4))
        for time in (Fraction(1, 3), Fraction(2, 3)):
            frame = interpolator.between(window, time, motion)
            torch.testing.assert_close(frame, interpolator.between(window, time))
    in_stream = [pair for pair in measured if pair[0].shape == (1, 3, 48, 64)]
    assert len(in_stream) == 6 + 2 * 2 * 4  # six pairs once; and where nothing is remembered, two each time


def test_frames_of_two_are_padded_with_zeros_to_what_the_published_programs_pad_to(network):
    model, (before, after) = network(four_frames=False), moving_picture((50, 38), 2)
    assert (model.stride, model.padding) == (32, "zeros")
    frames = torch.zeros(4, 3, 64, 64)
    frames[1, :, :38, :50], frames[2, :, :38, :50] = before, after
    with torch.inference_mode():
        expected = model(frames[None], time=0.25)[0, :, :38, :50]
    found = Interpolator(model).between([before, before, after, after], Fraction(1, 4))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("four_frames", [True, False])
def test_tiles_meet(network, four_frames):
    model, frames = network(four_frames), moving_picture((700, 300), 4)
    whole, tiles = (Interpolator(model, tile=tile).between(frames, Fraction(1, 4)) for tile in (None, 256))
    assert (tiles - whole).square().mean() < 1e-6
