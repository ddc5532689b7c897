"""Overlays: what is one and what is none, and that native code does as PyTorch."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tweenlet.ops.overlay import BLOCK, BLOCKS, measure_persistence, overlay

pytestmark = pytest.mark.usefixtures("compiled")
LETTERS = torch.zeros(96, 160, dtype=torch.bool)
LETTERS[40:56, 40:120:8] = LETTERS[40:56, 41:120:8] = LETTERS[47:49, 40:120] = True


def panning(step: int) -> Tensor:
    """Four frames (1, 4, 3, 96, 160) of a random texture that moves right by a step."""
    wide = F.interpolate(torch.rand(1, 3, 24, 60), (96, 240), mode="bicubic").clamp(0, 1)[0]
    return torch.stack([wide[..., 40 - step * k :][..., :160] for k in range(4)])[None]


def with_letters(frames: Tensor) -> Tensor:
    return torch.where(LETTERS, 1.0, frames)


def found_in(frames: Tensor, repeats: Sequence[bool] = (False, False)) -> Tensor:
    """The overlay of one window (1, 4, 3, H, W), as (H, W)."""
    return overlay(frames, torch.tensor([repeats]))[0, 0]


@pytest.mark.parametrize("step", [3, 8, -12])
def test_letters_that_stand_over_what_moves_are_found(step):
    result = found_in(with_letters(panning(step)))
    assert result[LETTERS].mean() > 0.9
    near = F.max_pool2d(LETTERS[None].float(), 9, 1, 4)[0] > 0
    assert result[~near].max() < 0.1
    assert result[~near].mean() < 0.01


def test_where_all_moves_or_nothing_does_there_is_none():
    assert found_in(panning(8)).mean() < 0.005
    noise = 0.01 * torch.randn(1, 4, 3, 96, 160)
    assert not found_in(with_letters(panning(0)) + noise).any()


def test_what_bars_pass_between_two_frames_is_none():
    """It is the same in all four frames, beside what differs from it, and hidden in the middle."""
    bars = (torch.arange(240) % 8 < 2).float().expand(3, 96, 240)
    frames = torch.stack([bars[..., 40 - 3 * k :][..., :160] for k in range(4)])[None]
    assert not frames.amax((0, 1, 2)).all()  # such pixels there are
    assert found_in(frames).max() < 0.1


def test_what_a_ball_flies_past_is_none():
    frames = panning(0).clone()
    for k in range(4):
        frames[:, k, :, 40:52, 20 + 30 * k : 32 + 30 * k] = torch.rand(3, 12, 12)
    assert found_in(frames).max() < 0.01


def test_it_lies_near_what_moves():
    """Of a picture of which the left moves, the right is one as far as the surroundings of a pixel reach."""
    frames = torch.cat((panning(8), panning(0)), -1)
    across = found_in(frames)[:, 160:].mean(0)
    reach = BLOCK * (BLOCKS // 2)
    assert across[8 : reach // 2].min() > 0.5
    assert across[reach - BLOCK : reach].min() < 0.5
    assert not across[reach + BLOCK :].any()
    assert across[: reach + BLOCK].diff().abs().max() < 0.3  # it fades out


@pytest.mark.parametrize("window", [(1, 1, 2, 2), (1, 1, 2, 3), (0, 1, 2, 2)], ids=str)
def test_outer_frames_that_repeat_their_neighbours_are_taken_to_change_on(window):
    frames, repeats = panning(3)[:, window], (window[0] == 1, window[3] == 2)
    found = found_in(with_letters(frames), repeats)
    assert found[LETTERS].mean() > 0.6
    assert found[~LETTERS].mean() < 0.02
    assert found_in(frames, repeats).mean() < 0.005
    assert not found_in(with_letters(frames)).any()  # not told of them


@pytest.mark.parametrize("where", [(5, 5), (48, 80)], ids=["beside", "in a letter"])
def test_what_is_no_number_is_none(where):
    frames = with_letters(panning(8))
    frames[:, 2, 1, where[0], where[1]] = torch.nan
    result = found_in(frames)
    assert result.isfinite().all()
    assert result[where] == 0
    assert result[LETTERS].mean() > 0.8


@pytest.mark.parametrize("size", [(8, 8), (8, 72), (64, 40)], ids=str)
def test_is_that_in_double_precision(size, monkeypatch):
    """Which is PyTorch's alone; whatever the threads, the bits are the same."""
    scene = torch.rand(2, 1, 3, *size)
    frames = scene + torch.linspace(0, 1.5, size[1]) * torch.rand(2, 4, 3, *size)
    repeats = torch.tensor([[True, False], [False, True]])
    expected = measure_persistence(frames.double(), repeats)
    if min(size) > 8:
        assert 0.1 < expected[0].mean() < 0.9
    by_threads = []
    for threads in (1, 3, 4):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        by_threads.append(measure_persistence(frames, repeats))
        for one, other in zip(by_threads[-1], expected, strict=True):
            torch.testing.assert_close(one.double(), other, atol=1e-4, rtol=0)
    for others in by_threads[1:]:
        assert all(torch.equal(one, other) for one, other in zip(by_threads[0], others, strict=True))
