"""Metrics that look at the neighbours, against OpenCV and numpy."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from skimage.metrics import peak_signal_noise_ratio
from torch import Tensor
from torch.nn import functional as F

from tweenlet import video
from tweenlet.evaluation.between import NO_DETAIL, detail_kept, psnr_div

ASSETS = Path(__file__).parents[1] / "assets"
CLIPS = ("elf", "pig")


@pytest.fixture(params=CLIPS, scope="module")
def frames(request: pytest.FixtureRequest) -> Tensor:
    with video.read(ASSETS / f"learning-area-{request.param}.mp4") as reader:
        return torch.stack([torch.from_numpy(f.rgb().copy()) for f, _ in zip(reader, range(5), strict=False)])


def levels(picture: Tensor) -> NDArray[np.uint8]:
    """What a PNG would hold, (H, W, 3)."""
    return np.rint(255 * np.clip(picture.numpy(), 0, 1)).astype(np.uint8).transpose(1, 2, 0)


def energy(picture: Tensor) -> float:
    """By OpenCV's Laplacian."""
    grey = levels(picture).astype(np.float64).mean(2)
    return float(np.square(cv2.Laplacian(grey, cv2.CV_64F, ksize=3)).mean())


def test_detail_is_that_of_opencv(frames: Tensor) -> None:
    before, truth, after = frames[1:4]
    around = (energy(before) + energy(after)) / 2
    assert around > 50
    for output in (truth, (before + after) / 2, before.roll(3, -1), 0.5 + 0.4 * torch.randn_like(truth)):
        expected = (energy(output) + NO_DETAIL) / (around + NO_DETAIL)
        assert detail_kept(output, truth, frames[[1, 3]]) == pytest.approx(expected, rel=1e-5)


def test_the_truth_and_a_repeated_frame_keep_detail_and_a_mean_of_two_loses_it(frames: Tensor) -> None:
    before, truth, after = frames[1:4]
    around = frames[[1, 3]]
    assert detail_kept(truth, truth, around) == pytest.approx(1, abs=0.1)
    assert detail_kept(before, truth, around) == pytest.approx(1, abs=0.05)
    assert detail_kept((before + after) / 2, truth, around) < 0.9 * detail_kept(truth, truth, around)
    assert detail_kept(truth + 0.1 * torch.randn_like(truth), truth, around) > 2


def test_flat_pictures_have_a_ratio() -> None:
    black, noise = torch.zeros(3, 20, 20), torch.rand(3, 20, 20)
    assert detail_kept(black, black, torch.zeros(2, 3, 20, 20)) == 1
    assert 0 < detail_kept(black, noise, torch.stack((noise, noise))) < 1e-4


def masked_psnr(output: Tensor, truth: Tensor, after: Tensor) -> float:
    """PSNR-DIV in numpy, with the flow of OpenCV's DIS."""
    shares = (0.2126, 0.7152, 0.0722)
    codes, expected = (levels(picture).astype(np.float64) for picture in (output, truth))
    greys = (np.rint(levels(p) @ (0.299, 0.587, 0.114)).astype(np.uint8) for p in (output, after))
    flow = cv2.DISOpticalFlow.create(cv2.DISOpticalFlow_PRESET_MEDIUM).calc(*greys, None)
    across, down = np.moveaxis(flow.astype(np.float64), -1, 0)
    divergence = np.abs(np.gradient(across, axis=1) + np.gradient(down, axis=0))
    counted = divergence / divergence.max() > 0.01
    assert 0.2 < counted.mean() < 1
    return float(
        peak_signal_noise_ratio((expected @ shares)[counted], (codes @ shares)[counted], data_range=255)
    )


def test_psnr_div_is_the_psnr_of_the_pixels_where_motion_diverges(frames: Tensor) -> None:
    """Luma half-way between two steps may be rounded either way, which moves the flow a little."""
    large = F.interpolate(frames, scale_factor=2, mode="bicubic").clamp(0, 1)
    before, truth, after = large[1:4]
    output = (before + after) / 2
    expected = masked_psnr(output, truth, after)
    assert psnr_div(output, truth, large[[1, 3]]) == pytest.approx(expected, abs=0.01)


def test_an_error_counts_more_where_the_frame_is_torn(frames: Tensor) -> None:
    """The same error, once where nothing moves apart and once where a shift tears the picture."""
    still = F.interpolate(frames[:1], scale_factor=2, mode="bicubic").clamp(0, 1)[0]
    around = torch.stack((still, still))
    torn = still.clone()
    torn[:, 60:110, 60:110] = still[:, 60:110, 66:116]
    dark = (still - (torn - still).square().mean().sqrt()).clamp(0, 1)
    assert psnr_div(torn, still, around) < psnr_div(dark, still, around) - 1


def test_where_nothing_diverges_every_pixel_counts() -> None:
    grey = torch.full((3, 40, 40), 100 / 255)
    lighter = torch.full((3, 40, 40), 110 / 255)
    around = torch.stack((grey, grey))
    assert psnr_div(grey, grey, around) == pytest.approx(80)
    assert psnr_div(lighter, grey, around) == pytest.approx(20 * np.log10(25.5), abs=1e-3)


@pytest.mark.parametrize("metric", [detail_kept, psnr_div])
def test_neighbours_of_another_size_are_refused(metric: object) -> None:
    assert callable(metric)
    with pytest.raises(ValueError, match=r"frames before and after as \(2, 3, H, W\), got \(4, 3, 20, 20\)"):
        metric(torch.rand(3, 20, 20), torch.rand(3, 20, 20), torch.rand(4, 3, 20, 20))
