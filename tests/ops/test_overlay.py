"""Overlays: what is one and what is none, and that native code does as PyTorch."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tweenlet.ops.overlay import keeping, overlay

pytestmark = pytest.mark.usefixtures("compiled")
LETTERS = torch.zeros(96, 160, dtype=torch.bool)
LETTERS[40:56, 40:120:8] = LETTERS[40:56, 41:120:8] = LETTERS[47:49, 40:120] = True


def panning(step: float) -> Tensor:
    """Four frames (1, 4, 3, 96, 160) of a random texture that moves right by ``step``."""
    wide = F.interpolate(torch.rand(1, 3, 28, 60), (112, 240), mode="bicubic").clamp(0, 1)[0]
    return torch.stack([wide[:, 8:104, round(40 - step * k) :][..., :160] for k in range(4)])[None]


def with_letters(frames: Tensor) -> Tensor:
    return torch.where(LETTERS, torch.tensor(1.0), frames)


@pytest.mark.parametrize("step", [3, 8, -12])
def test_letters_that_stand_over_what_moves_are_found(step):
    found = overlay(with_letters(panning(step)))[0, 0]
    assert found[LETTERS].mean() > 0.9
    near = F.max_pool2d(LETTERS[None].float(), 9, 1, 4)[0] > 0
    assert found[~near].max() < 0.1
    assert found[~near].mean() < 0.01


@pytest.mark.parametrize("step", [0, 8])
def test_where_all_moves_or_nothing_does_there_is_none(step):
    assert overlay(panning(step)).mean() < 0.005
    assert not overlay(with_letters(panning(0))).any()


def test_what_a_ball_flies_past_is_none():
    frames = panning(0).clone()
    for k in range(4):
        frames[:, k, :, 40:52, 20 + 30 * k : 32 + 30 * k] = torch.rand(3, 12, 12)
    assert overlay(frames).max() < 0.01


@pytest.mark.parametrize("window", [(1, 1, 2, 2), (1, 1, 2, 3), (0, 1, 2, 2)], ids=str)
def test_outer_frames_that_repeat_their_neighbours_are_taken_to_change_on(window):
    frames = panning(3)
    found = overlay(with_letters(frames)[:, window])[0, 0]
    assert found[LETTERS].mean() > 0.6
    assert found[~LETTERS].mean() < 0.02
    assert overlay(frames[:, window]).mean() < 0.005
    assert not overlay(with_letters(frames)[:, [0, 1, 1, 2]]).any()  # nothing moves between the middle two


def test_what_is_no_number_is_none():
    frames = with_letters(panning(8))
    frames[:, 2, 1, 5, 5] = torch.nan
    found = overlay(frames)
    assert found.isfinite().all()
    assert found[..., 5, 5] == 0


@pytest.mark.parametrize("size", [(1, 1), (3, 70), (8, 16), (65, 37)], ids=str)
def test_is_that_in_double_precision(size, monkeypatch):
    """Which is PyTorch's alone; whatever the threads, the bits are the same."""
    scene = torch.rand(2, 1, 3, *size)
    frames = scene + torch.linspace(0, 1.5, size[1]) * torch.rand(2, 4, 3, *size)
    frames[0, 0], frames[1, 3] = frames[0, 1], frames[1, 2]
    wanted = keeping(frames.double())
    if min(size) > 8:
        assert 0.1 < wanted[0].mean() < 0.9
    by_threads = []
    for threads in (1, 3, 4):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        by_threads.append(keeping(frames))
        for one, other in zip(by_threads[-1], wanted, strict=True):
            torch.testing.assert_close(one.double(), other, atol=1e-4, rtol=0)
    for others in by_threads[1:]:
        assert all(torch.equal(one, other) for one, other in zip(by_threads[0], others, strict=True))
