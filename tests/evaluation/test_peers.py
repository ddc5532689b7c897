from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tweenlet import weights
from tweenlet.evaluation import PEERS, Network, methods, psnr

WIDTH, HEIGHT, STEP = 160, 128, 8  # pixels; a step between two frames that lie two times apart


def scenery() -> Tensor:
    """A smooth, colourful, wide picture (3, HEIGHT, W) to look at through a moving window."""
    noise = np.random.default_rng(0).uniform(0, 1, (HEIGHT, 400, 3)).astype(np.float32)
    picture = cv2.GaussianBlur(noise, (0, 0), 4)
    picture = (picture - picture.min()) / (picture.max() - picture.min())
    return torch.from_numpy((picture * 255).round() / 255).permute(2, 0, 1)


def at(time: int) -> Tensor:
    """The window at one time: it moves half a STEP to the right for each."""
    left = 100 + time * STEP // 2
    return scenery()[:, :, left : left + WIDTH]


@pytest.fixture(scope="module")
def moving() -> Tensor:
    return torch.stack([at(time) for time in (0, 2, 4, 6)])


@pytest.mark.parametrize("name", ["dis", "minterpolate"])
def test_motion_is_followed_to_the_very_middle(name: str, moving: Tensor) -> None:
    made = PEERS[name](moving)
    assert made.shape == (3, HEIGHT, WIDTH)
    inner = (..., slice(16, -16), slice(24, -24))
    quality = {time: psnr(made[inner], at(time)[inner]).item() for time in range(7)}
    assert max(quality, key=quality.__getitem__) == 3
    assert quality[3] > 50
    assert quality[3] > psnr(PEERS["blend"](moving)[inner], at(3)[inner]).item() + 15


@pytest.mark.parametrize("name", PEERS)
def test_a_still_picture_keeps_its_colours_exactly(name: str) -> None:
    still = at(0).expand(4, -1, -1, -1)
    torch.testing.assert_close(PEERS[name](still), at(0), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["blend", "dis"])
def test_the_outer_frames_do_not_matter(name: str, moving: Tensor) -> None:
    others = moving.clone()
    others[[0, 3]] = 0
    torch.testing.assert_close(PEERS[name](others), PEERS[name](moving))


def test_a_hole_shows_the_blend(monkeypatch: pytest.MonkeyPatch, moving: Tensor) -> None:
    """All motion leads out of the frame, so that nothing lands in it."""
    outwards = torch.full((2, HEIGHT, WIDTH), 4000.0)
    monkeypatch.setattr("tweenlet.evaluation.peers.dis_flow", lambda *_: outwards)
    torch.testing.assert_close(PEERS["dis"](moving), PEERS["blend"](moving))


def test_minterpolate_says_what_went_wrong(monkeypatch: pytest.MonkeyPatch, moving: Tensor) -> None:
    monkeypatch.setattr("tweenlet.evaluation.peers.MINTERPOLATE", "no_such_filter")
    with pytest.raises(OSError, match="minterpolate failed on four frames of 160x128: "):
        PEERS["minterpolate"](moving)
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(OSError, match="needs an ffmpeg: pip install imageio-ffmpeg"):
        PEERS["minterpolate"](moving)


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


def test_methods_come_by_name_or_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "load", lambda name: Second())
    checkpoint = tmp_path / "mine.safetensors"
    checkpoint.touch()
    found = methods(["dis", str(checkpoint)])
    assert list(found) == ["dis", str(checkpoint)]
    assert found["dis"] is PEERS["dis"]
    assert isinstance(found[str(checkpoint)], Network)
    with pytest.raises(
        ValueError, match=r"expected a checkpoint file or one of .*blend.*; got miniterpolate"
    ):
        methods(["miniterpolate"])
