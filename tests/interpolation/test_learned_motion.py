"""Networks that learned their motion: in a stream, by tiles, and padded as they want it."""

from __future__ import annotations

from collections import Counter
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


@pytest.mark.parametrize(
    ("times", "estimates"), [((Fraction(1, 2),), 6), ((Fraction(1, 3), Fraction(2, 3)), 6 + 2 * 4)]
)
def test_a_stream_finds_each_thing_once(network, monkeypatch, times, estimates):
    """Four windows of seven frames: each frame is encoded once, of each of six pairs motion is found once.

    For times other than 1/2 it is found for each of them besides.
    """
    model, frames = network(four_frames=True), moving_picture((50, 38), 7)
    interpolator, calls = Interpolator(model), Counter()

    def count(name):
        find = getattr(interpolator, name)
        monkeypatch.setattr(interpolator, name, lambda *arguments: calls.update([name]) or find(*arguments))

    count("features")
    count("estimate")
    cache = interpolator.motion_cache()
    for start in range(4):
        window = frames[start : start + 4]
        for time in times:
            motion = cache.window(window, range(start, start + 4), time)
            frame = interpolator.between(window, time, motion)
            torch.testing.assert_close(frame, interpolator.between(window, time))
    assert calls == {"features": 7, "estimate": estimates}


@pytest.mark.parametrize(("tile", "encoded"), [(None, 3), (256, 0)])
def test_a_stream_encodes_each_frame_once_for_a_network_of_two(network, tile, encoded):
    """For all times; tiles are encoded as they run."""
    interpolator, calls = Interpolator(network(four_frames=False), tile=tile), Counter()
    interpolator.model.intermediate.encode.register_forward_hook(lambda *_: calls.update(["encode"]))
    frames, cache, pairs = moving_picture((300, 290), 5), interpolator.motion_cache(), []
    for start in range(2):
        window = frames[start : start + 4]
        for time in (Fraction(1, 3), Fraction(2, 3)):
            pairs.append((window, time, cache.window(window, range(start, start + 4), time)))
    assert calls["encode"] == encoded
    for window, time, pair in pairs:
        expected = interpolator.between(window, time)
        torch.testing.assert_close(interpolator.between(window, time, pair), expected)


def test_a_stream_that_ends_has_no_acceleration(network):
    interpolator, frames = Interpolator(network(four_frames=True)), moving_picture((50, 38), 3)
    cache = interpolator.motion_cache()
    for places in ((0, 0, 1, 2), (0, 1, 2, 2), (0, 0, 1, 1)):
        window = [frames[k] for k in places]
        motion = cache.window(window, places)
        assert motion.repeats.tolist() == [[places[0] == places[1], places[2] == places[3]]]
        assert bool(motion.acceleration.any()) is (places != (0, 0, 1, 1))
        torch.testing.assert_close(interpolator.between(window, motion=motion), interpolator.between(window))


def test_frames_of_two_are_padded_with_zeros_to_what_the_published_programs_pad_to(network):
    model, (before, after) = network(four_frames=False), moving_picture((50, 38), 2)
    assert (model.stride, model.padding) == (32, "zeros")
    frames = torch.zeros(4, 3, 64, 64)
    frames[1, :, :38, :50], frames[2, :, :38, :50] = before, after
    with torch.inference_mode():
        expected = model(frames[None], time=0.25)[0, :, :38, :50]
    found = Interpolator(model).between([before, before, after, after], Fraction(1, 4))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_tiles_of_two_frames_meet(network):
    model, frames = network(four_frames=False), moving_picture((700, 300), 4)
    whole, tiles = (Interpolator(model, tile=tile).between(frames, Fraction(1, 4)) for tile in (None, 256))
    assert (tiles - whole).square().mean() < 1e-6


@pytest.mark.parametrize("time", [Fraction(1, 2), Fraction(1, 4)])
def test_tiles_of_four_frames_agree(network, time):
    """They are cut from the motion of the whole frame, so that only rounding is left, padding included."""
    model, frames = network(four_frames=True), moving_picture((700, 300), 4)
    whole = Interpolator(model).between(frames, time)
    tiled = Interpolator(model, tile=256)
    motion = tiled.motion_cache().window(frames, range(4), time)
    assert not torch.equal(tiled.between(frames, time), whole)  # it was cut
    for tiles in (tiled.between(frames, time), tiled.between(frames, time, motion)):
        assert (tiles - whole).abs().max() < 1e-5
