"""Intermediate flow: RIFE 4.25 against the published module, any time, any size, gradients; four frames."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tweenlet.network.config import RIFE, FlowLevel, IntermediateFlowConfig, ModelConfig
from tweenlet.network.four_frames import acceleration
from tweenlet.network.motion import PAIR_TIME
from tweenlet.network.stmfnet import STMFNet

SMALL_LEVELS = (FlowLevel(4, 8, 1), FlowLevel(2, 8, 1))


def config_of(levels=SMALL_LEVELS, **options):
    branch = IntermediateFlowConfig(levels, encoder=(4, 2), context=3, **options)
    return ModelConfig(scales=(1.0,), features=None, flow=None, grid=None, texture=None, intermediate=branch)


@pytest.fixture(scope="module")
def four():
    torch.manual_seed(0)
    return STMFNet(config_of(four_frames=True)).eval()


@pytest.mark.parametrize("time", [0.5, 0.25])
@pytest.mark.parametrize("size", [(128, 192), (192, 320)], ids=str)
def test_rife_is_the_published_network(size, time, golden_weights, film, official_output, golden_file):
    model, (frames,) = golden_weights("rife"), film((1, 2), *size)
    assert sum(p.numel() for p in model.parameters()) == 5_664_776
    with torch.inference_mode():
        result = model.intermediate(frames[:1], frames[1:], time)
    if size == (128, 192):
        expected = official_output[f"rife_t{time}"]
        torch.testing.assert_close(result.frame[0, :, ::4, ::4], expected, atol=5e-5, rtol=0)
    with np.load(golden_file("rife_base.npz")) as file:
        golden = {
            name: torch.from_numpy(file[f"{size[0]}x{size[1]}_t{time}_{name}"]).squeeze()
            for name in ("output", "mask__s2", *(f"flow{level}__s4" for level in range(5)))
        }
    torch.testing.assert_close(result.frame[0], golden["output"], atol=5e-5, rtol=0)
    torch.testing.assert_close(result.mask[0, 0, ::2, ::2], golden["mask__s2"], atol=5e-5, rtol=0)
    for level, flow in enumerate(result.flows):
        torch.testing.assert_close(flow[0, :, ::4, ::4], golden[f"flow{level}__s4"], atol=2e-4, rtol=0)


def test_any_size_and_a_time_for_each_sample():
    model = STMFNet(config_of()).eval()
    frames = torch.rand(2, 4, 3, 37, 50)
    with torch.inference_mode():
        both = model(frames, time=torch.tensor([0.2, 0.7]))
        alone = [model(frames[k : k + 1], time=time) for k, time in enumerate((0.2, 0.7))]
    assert both.shape == (2, 3, 37, 50)
    torch.testing.assert_close(both, torch.cat(alone))


@pytest.mark.parametrize("four_frames", [False, True])
def test_every_weight_learns(four_frames):
    model = STMFNet(config_of(four_frames=four_frames))
    model(torch.rand(1, 4, 3, 32, 48), time=0.4).square().mean().backward()
    idle = {name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()}
    assert idle <= {"intermediate.levels.1.up.0.bias"}  # of its context, which no level reads
    assert not idle or four_frames is not None


@pytest.mark.parametrize("time", [0.0, 1.0, -0.5, float("nan")])
def test_a_time_beyond_the_two_frames_is_refused(time, four):
    for model in (four, STMFNet(config_of())):
        with pytest.raises(ValueError, match="expected a time between 0 and 1, got"):
            model(torch.rand(1, 4, 3, 32, 32), time=time)


def test_a_network_of_the_halfway_kind_refuses_other_times():
    from tweenlet.network.config import TINY

    model = STMFNet(TINY)
    assert not model.takes_time
    with pytest.raises(ValueError, match=r"midpoint \(time 0\.5\), got time 0\.25"):
        model(torch.rand(1, 4, 3, 32, 32), time=0.25)


@pytest.mark.parametrize(
    ("levels", "options", "words"),
    [
        ((), {}, "one or more"),
        ((FlowLevel(2, 8, 1), FlowLevel(4, 8, 1)), {}, "from coarse to fine"),
        ((FlowLevel(4, 8, 1), FlowLevel(1, 8, 1)), {"four_frames": True}, "down to 2"),
        (SMALL_LEVELS, {"head": 8}, "with four frames"),
    ],
)
def test_what_cannot_be_built_is_refused(levels, options, words):
    with pytest.raises(ValueError, match=words):
        IntermediateFlowConfig(levels, **options)
    with pytest.raises(ValueError, match="power of two"):
        FlowLevel(3, 8, 1)
    with pytest.raises(ValueError, match="even width"):
        FlowLevel(2, 7, 1)


def test_other_branches_do_not_go_with_it():
    with pytest.raises(ValueError, match="stands alone"):
        ModelConfig(intermediate=RIFE.intermediate)


def test_a_config_survives_json():
    for config in (RIFE, config_of(four_frames=True)):
        assert ModelConfig.from_json(config.to_json()) == config


@pytest.mark.parametrize("times", [PAIR_TIME, 0.2])
@pytest.mark.parametrize(
    ("observed", "expected"),
    [((True, True), 1.5), ((True, False), 1.0), ((False, True), 2.0), ((False, False), 0.0)],
)
def test_acceleration_is_the_change_of_velocity(observed, expected, times):
    """From 1 to 2 to 4 pixels a frame: 1, then 2 pixels a frame faster."""
    before, own, after = 1.0, 2.0, 4.0  # of the pairs, everywhere
    flows = torch.tensor([-own * times, 0.0, own * (1 - times), 0.0]).view(1, 4, 1, 1).repeat(1, 1, 8, 8)
    velocities = torch.tensor([before, 0.0, after, 0.0]).view(1, 4, 1, 1).repeat(1, 1, 8, 8)
    at = torch.full((1, 1, 1, 1), times)
    bend = acceleration(flows, velocities, torch.tensor([observed]), at, 32)
    torch.testing.assert_close(bend[:, 0], torch.full((1, 8, 8), expected))
    assert not bend[:, 1].any()


def test_a_frame_that_repeats_its_neighbour_says_nothing_of_time(four):
    frames = torch.rand(1, 4, 3, 32, 32)
    frames[:, 0], frames[:, 3] = frames[:, 1], frames[:, 2]
    with torch.inference_mode():
        motion = four.intermediate.motion(frames, torch.full((1, 1, 1, 1), 0.5))
        out = four(frames)
    assert motion.repeats.all()
    assert not motion.acceleration.any()
    assert out.isfinite().all()


def test_a_fresh_head_changes_nothing(four):
    with_head = STMFNet(config_of(four_frames=True, head=8)).eval()
    fresh = with_head.load_state_dict(four.state_dict(), strict=False).missing_keys
    assert {name.split(".")[1] for name in fresh} == {"head"}
    frames = torch.rand(1, 4, 3, 32, 48)
    with torch.inference_mode():
        assert torch.equal(with_head(frames), four(frames))


def test_motion_found_before_gives_the_same_frame(four):
    frames = torch.rand(2, 4, 3, 32, 48)
    with torch.inference_mode():
        motion = four.intermediate.motion(frames, torch.full((2, 1, 1, 1), 0.3))
        torch.testing.assert_close(four(frames, motion, time=0.3), four(frames, time=0.3))
