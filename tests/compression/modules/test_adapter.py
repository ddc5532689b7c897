"""Any interpolation network is called as those of the family are; what is none is refused in words."""

from __future__ import annotations

import sys

import pytest
import torch
from torch import nn

from tests.compression.modules import networks
from tweenlet.compression.modules.adapter import FrameAdapter, guess_inputs, load_module


@pytest.mark.parametrize(
    ("inputs", "message"),
    [((torch.rand(1, 5, 8, 8),), r"got \(1, 5, 8, 8\)"), (("a",), "got 'a'")],
)
def test_inputs_that_are_no_frames_are_refused(inputs, message):
    with pytest.raises(ValueError, match=message):
        FrameAdapter(nn.Identity(), inputs)
    with pytest.raises(ValueError, match=r"takes none of the inputs tried.*two frames: "):
        guess_inputs(nn.Linear(7, 7))


class TwoStacked(nn.Module):
    def forward(self, frames: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        before, after = frames.unbind(1)
        return (1 - time) * before + time * after


class FourStacked(nn.Module):
    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        _, before, after, _ = frames.unbind(1)
        return (before + after) / 2


class TwoAndTime(nn.Module):
    def forward(self, before: torch.Tensor, after: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        return (1 - time) * before + time * after


class SixChannels(nn.Module):
    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        return frames.unflatten(1, (2, 3)).mean(1)


@pytest.mark.parametrize("kind", [TwoStacked, FourStacked, TwoAndTime, SixChannels])
def test_inputs_are_guessed_however_frames_are_stacked(kind):
    frames = torch.rand(2, 4, 3, 32, 48)
    adapter = FrameAdapter(kind(), guess_inputs(kind()))
    torch.testing.assert_close(adapter(frames), (frames[:, 1] + frames[:, 2]) / 2)


def test_a_file_and_a_class_are_a_network(tmp_path):
    torch.save({"state_dict": networks.IfrnetLike().state_dict()}, tmp_path / "my.pt")
    module = load_module(f"{networks.__file__}:IfrnetLike", tmp_path / "my.pt")
    assert not module.training
    (tmp_path / "broken.py").write_text("import nothing_like_this")
    (tmp_path / "plain.py").write_text(
        "class Plain:\n    pass\nclass Needs:\n    def __init__(self, x): pass"
    )
    for network, weights, message in (
        ("nowhere.py:X", None, "FILE.py:CLASS"), (f"{tmp_path}/broken.py:X", None, "cannot be executed"),
        (f"{tmp_path}/plain.py:X", None, "has no X"),
        (f"{tmp_path}/plain.py:Plain", None, "expected an nn.Mod"),
        (f"{tmp_path}/plain.py:Needs", None, "without arguments"),
        (f"{networks.__file__}:RifeLike", tmp_path / "my.pt", "another network"),
        (f"{networks.__file__}:RifeLike", tmp_path / "plain.py", "holds"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            load_module(network, weights)
    sys.modules.pop("_tweenlet_plain", None)
