"""The demo, on its own clip, with a blend in place of the network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from tweenlet import video
from tweenlet.interpolation.demo import CLIP, demo, side_by_side


class Blend(nn.Module):
    stride = 16

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        return (frames[:, 1] + frames[:, 2]) / 2


@pytest.mark.long
def test_the_demo_writes_a_video_and_a_picture(tmp_path: Path) -> None:
    done = demo(tmp_path, model=Blend())
    assert sorted(p.name for p in tmp_path.iterdir()) == ["tweenlet-demo.mp4", "tweenlet-demo.png"]
    with video.read(CLIP) as old, video.read(done.video) as new:
        assert sum(1 for _ in new) == 2 * sum(1 for _ in old) - 1 == done.summary.frames_out
        assert done.summary.rate_out == 2 * old.rate
        assert new.duration == done.summary.frames_out / new.rate  # the last frame is as long as the others
    with Image.open(done.picture) as picture:
        assert picture.width > 3 * done.summary.width
    with pytest.raises(FileExistsError, match="--overwrite"):
        demo(tmp_path, model=Blend())


def test_the_part_that_moves_is_enlarged() -> None:
    still, moved = np.zeros((2, 3, 60, 90), np.float32)
    moved[:, 45:, 65:] = 1
    sheet = side_by_side([still, still, moved])
    enlarged = sheet[:, -60 - 8 : -8, -90 - 8 : -8]
    assert (enlarged > 0.8).mean() > 0.6
    assert (sheet[:, -60 - 8 : -8, 8:98] == 0).all()
