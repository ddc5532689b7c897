"""Classical motion in the network: the arithmetic of the readings, and what an untrained network does."""

import dataclasses

import pytest
import torch

from tests.flow.test_dis import moving
from tweenlet.flow.dis import window_flows
from tweenlet.network import motion
from tweenlet.network.config import SMALL, ModelConfig
from tweenlet.network.motion import Motion
from tweenlet.network.stmfnet import STMFNet

LITTLE = dataclasses.replace(SMALL, refine=(8, 8), scales=(1.0, 0.5), grid=(4, 4))


@torch.no_grad()
def test_readings_and_corrections_are_in_pixels_of_their_level():
    motion = Motion((8, 8, 8))
    seen = {}
    for level, refine in enumerate(motion.refine):
        refine.predict.bias[:8:2] = 1.0  # each level moves all places by one of its pixels to the right
        refine.register_forward_pre_hook(lambda _, inputs, level=level: seen.update({level: inputs[2]}))
    slope = torch.arange(128.0).expand(1, 4, 3, 128, 128) / 1000
    flows = torch.tensor([-8.0, 8, -8, 8]).view(1, 4, 1, 1, 1) * torch.tensor([1.0, 0]).view(2, 1, 1)
    made = motion(slope, flows.expand(1, 4, 2, 128, 128)).frame
    to_before, to_after = ([reads[0, dx, 8, 8].item() for reads in seen.values()] for dx in (0, 2))
    assert list(seen) == [2, 1, 0]  # of 8, 4 and 2 pixels of the frame each
    assert to_before == pytest.approx([-4 / 8, -4 / 4 + 2, -4 / 2 + 4 + 2])
    assert to_after == pytest.approx([4 / 8, 4 / 4 + 2, 4 / 2 + 4 + 2])
    inside = (..., slice(32, -32))
    torch.testing.assert_close(made[inside], slope[:, 0][inside] + (8 + 4 + 2) / 1000)


def test_an_untrained_network_interpolates_classically():
    frames = moving([0, 4, 8, 12])
    truth = moving([6])[0, 0]
    made = STMFNet(SMALL).eval()(frames)[0]
    error = (made - truth)[..., 16:-16, 16:-16].abs()
    blended = ((frames[0, 1] + frames[0, 2]) / 2 - truth)[..., 16:-16, 16:-16].abs()
    assert error.mean() < blended.mean() / 10


@torch.no_grad()
def test_what_stands_still_over_what_moves_is_left_where_it_is(monkeypatch):
    frames = moving([-8, 0, 8, 16])
    letters = torch.zeros(frames.shape[-2:], dtype=torch.bool)
    letters[40:56, 40:88:8] = letters[40:56, 41:88:8] = letters[47:49, 40:88] = True
    around = torch.nn.functional.max_pool2d(letters[None].float(), 17, 1, 8)[0].bool() & ~letters
    truth = moving([4])[0, 0]

    def tried() -> tuple[float, float]:
        """How far off the letters are, and what is around them."""
        made = STMFNet(SMALL).eval()(torch.where(letters, 1.0, frames))[0]
        return (1 - made[:, letters]).mean().item(), (made - truth)[:, around].abs().mean().item()

    off, around_off = tried()
    assert off < 0.02
    monkeypatch.setattr(motion, "MISPLACED", 0.0)
    assert around_off < 0.9 * tried()[1]
    monkeypatch.setattr(motion, "overlay", lambda frames, _: torch.zeros_like(frames[:, 0, :1]))
    assert tried()[0] > 0.3


@torch.no_grad()
def test_flows_may_be_given_or_found():
    frames = moving([0, 4, 8, 12])
    network = STMFNet(LITTLE).eval()
    assert torch.equal(network(frames), network(frames, window_flows(frames)))


def test_every_parameter_learns():
    torch.manual_seed(0)
    frames = moving([0, 4, 8, 12])
    network = STMFNet(LITTLE)
    with torch.no_grad():  # a start that is not silent, so that gradients pass everywhere
        for parameter in network.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    network(frames).square().mean().backward()
    still = [
        n for n, p in network.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())
    ]
    assert not still


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_precisions(dtype: torch.dtype):
    frames = moving([0, 4, 8, 12])
    network = STMFNet(LITTLE).eval()
    wanted = network(frames)
    made = network.to(dtype)(frames.to(dtype))
    assert made.dtype == dtype
    torch.testing.assert_close(made.float(), wanted, atol=2e-2 if dtype == torch.bfloat16 else 1e-4, rtol=0)


def test_refine_and_classical_flow_go_together():
    with pytest.raises(ValueError, match="refine holds the widths"):
        ModelConfig(flow=None, refine=(8, 8))
    with pytest.raises(ValueError, match="refine holds the widths"):
        ModelConfig(flow="dis")
    with pytest.raises(ValueError, match="multiples of 4"):
        dataclasses.replace(SMALL, refine=(10, 8))
