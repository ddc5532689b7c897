"""Networks of ours as methods: of any size, in half precision, and knowing nothing of earlier calls."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from tests.network.test_stmfnet import FOUR_FRAMES
from tweenlet.evaluation.baselines.names import methods
from tweenlet.evaluation.baselines.network import Network
from tweenlet.network.stmfnet import STMFNet


class Second(nn.Module):
    """Gives back the second frame, dimmed by its one weight; wants sizes that are multiples of 16."""

    stride = 16

    def __init__(self, gain: float = 1.0) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(gain))

    def forward(self, frames: Tensor) -> Tensor:
        assert frames.shape[-1] % 16 == frames.shape[-2] % 16 == 0
        return frames[:, 1] * self.gain


def test_a_network_is_a_method_of_any_size_with_a_digest() -> None:
    frames = torch.rand(4, 3, 21, 35)
    network = Network(Second())
    torch.testing.assert_close(network(frames), frames[1])
    assert network.parameters == 1
    assert network.digest == Network(Second()).digest != Network(Second(0.5)).digest
    assert len(network.digest) == 64


def small() -> STMFNet:
    torch.manual_seed(0)
    return STMFNet(FOUR_FRAMES).eval()


def test_a_network_runs_in_half_precision(moving: Tensor) -> None:
    found = methods(["default", "half=default:bfloat16"])
    assert found["half"].description == "the bundled weights default, in bfloat16"
    apart = (found["half"](moving) - found["default"](moving)).abs()
    assert 0 < apart.max() < 0.05
    with pytest.raises(ValueError, match="expected a checkpoint"):
        methods(["default:int8"])


def test_a_network_does_not_take_new_frames_for_old_ones() -> None:
    """Views of tensors that come and go: the memory of one must not be that of another, nor grow."""
    network = Network(model := small())
    for seed in range(8):
        torch.manual_seed(seed)
        frames = torch.rand(4, 3, 32, 48)
        assert torch.equal(network(frames), Network(model)(frames))
        del frames
