"""Networks of ours as methods: of any size, in half precision, and knowing nothing of earlier calls."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from tweenlet.evaluation.baselines.names import methods
from tweenlet.evaluation.baselines.network import Network
from tweenlet.evaluation.metrics import psnr
from tweenlet.network.config import SMALL
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
    return STMFNet(SMALL).eval()


def test_a_network_runs_in_half_precision(moving: Tensor) -> None:
    found = methods(["default", "half=default:bfloat16"])
    assert found["half"].description == "the bundled weights default, in bfloat16"
    apart = (found["half"](moving) - found["default"](moving)).abs()
    assert 0 < apart.max() < 0.05
    with pytest.raises(ValueError, match="expected a checkpoint"):
        methods(["default:int8"])


def test_repeated_outer_frames_are_steady_motion_to_a_network(
    moving: Tensor, at: Callable[[int], Tensor]
) -> None:
    """As good as with the steady outer frames, and better than with stills that are not equal to the bit."""
    network, inner = Network(small()), (..., slice(16, -16), slice(24, -24))
    pair = moving[[1, 1, 2, 2]]
    nearly = pair.clone()
    nearly[[0, 3], 0, 0, 0] += 1e-4
    quality = [psnr(network(frames)[inner], at(3)[inner]) for frames in (moving, pair, nearly)]
    assert quality[1] > quality[0] - 0.5
    assert quality[1] > quality[2] + 3
    assert torch.equal(
        network(pair), network.interpolator.middle([moving[1], moving[1], moving[2], moving[2]])
    )


def test_a_network_does_not_take_new_frames_for_old_ones() -> None:
    """Views of tensors that come and go: the memory of one must not be that of another, nor grow."""
    network = Network(model := small())
    for seed in range(8):
        torch.manual_seed(seed)
        frames = torch.rand(4, 3, 32, 48)
        assert torch.equal(network(frames), Network(model)(frames))
        del frames
