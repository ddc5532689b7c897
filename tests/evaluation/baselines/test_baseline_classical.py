"""Classical methods: they follow motion to the very middle, and leave what is still alone."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from tweenlet.evaluation.baselines.classical import BASELINES
from tweenlet.evaluation.metrics import psnr


@pytest.mark.parametrize("name", ["dis", "minterpolate"])
@pytest.mark.parametrize("order", [[0, 1, 2, 3], [1, 1, 2, 2]], ids=["four frames", "two frames"])
def test_motion_is_followed_to_the_very_middle(
    name: str, order: list[int], moving: Tensor, at: Callable[[int], Tensor]
) -> None:
    output = BASELINES[name](moving[order])
    assert output.shape == moving.shape[1:]
    inner = (..., slice(16, -16), slice(24, -24))
    quality = {time: psnr(output[inner], at(time)[inner]) for time in range(7)}
    assert max(quality, key=quality.__getitem__) == 3
    assert quality[3] > 50
    assert quality[3] > psnr(BASELINES["blend"](moving)[inner], at(3)[inner]) + 15


@pytest.mark.parametrize("name", BASELINES)
def test_a_still_picture_keeps_its_colours_exactly(name: str, at: Callable[[int], Tensor]) -> None:
    still = at(0).expand(4, -1, -1, -1)
    torch.testing.assert_close(BASELINES[name](still), at(0), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["blend", "dis"])
def test_the_outer_frames_do_not_matter(name: str, moving: Tensor) -> None:
    others = moving.clone()
    others[[0, 3]] = 0
    torch.testing.assert_close(BASELINES[name](others), BASELINES[name](moving))


def test_a_hole_shows_the_blend(monkeypatch: pytest.MonkeyPatch, moving: Tensor) -> None:
    """All motion leads out of the frame, so that nothing lands in it."""
    outwards = torch.full((2, 2, *moving.shape[-2:]), 4000.0)
    monkeypatch.setattr("tweenlet.evaluation.baselines.classical.dis_flow", lambda *_: outwards)
    torch.testing.assert_close(BASELINES["dis"](moving), BASELINES["blend"](moving))


def test_minterpolate_says_what_went_wrong(monkeypatch: pytest.MonkeyPatch, moving: Tensor) -> None:
    monkeypatch.setattr("tweenlet.evaluation.baselines.classical.MINTERPOLATE", "no_such_filter")
    with pytest.raises(OSError, match="minterpolate failed on four frames of 160x128: "):
        BASELINES["minterpolate"](moving)
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(OSError, match=r"imageio-ffmpeg is not installed: pip install 'tweenlet\[evaluate\]'"):
        BASELINES["minterpolate"](moving)
