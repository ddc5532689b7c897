from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from tweenlet.evaluation import psnr, ssim

EXTRACT = Path(__file__).parents[1] / "expected" / "op_metrics.npz"  # two of the fixture's four pictures


@pytest.mark.parametrize("whole", [False, True], ids=["extract", "fixture"])
def test_the_official_numbers_are_met(whole: bool, golden_file: Callable[[str], Path]) -> None:
    path = golden_file("op_metrics.npz") if whole else EXTRACT
    golden = {name: torch.from_numpy(array) for name, array in np.load(path).items()}
    torch.testing.assert_close(psnr(golden["outs"], golden["gt"]), golden["psnr"], rtol=0, atol=1e-5)
    torch.testing.assert_close(ssim(golden["outs"], golden["gt"]), golden["ssim"], rtol=0, atol=1e-5)


@pytest.mark.parametrize("size", [(40, 23), (5, 7), (1, 1)])
def test_ssim_is_the_mean_under_a_window_in_three_dimensions(size: tuple[int, int]) -> None:
    """The definition, word for word: an 11 x 11 x 11 window, one picture at a time, in float64."""
    truth = torch.rand(3, *size, generator=torch.Generator().manual_seed(1))
    output = (truth + 0.2 * torch.randn(3, *size, generator=torch.Generator().manual_seed(2))).clamp(0, 1)
    taps = torch.exp(-((torch.arange(11, dtype=torch.float64) - 5) ** 2) / (2 * 1.5**2))
    window = torch.einsum("i,j,k->ijk", taps, taps, taps)[None, None]
    window = window / window.sum()

    def mean(values: torch.Tensor) -> torch.Tensor:
        return F.conv3d(F.pad(values[None, None], [5] * 6, mode="replicate"), window)[0, 0]

    x, y = ((picture.double() * 255).round() for picture in (output, truth))
    c1, c2 = 2.55**2, 7.65**2
    covariance = mean(x * y) - mean(x) * mean(y)
    variances = mean(x * x) - mean(x) ** 2 + mean(y * y) - mean(y) ** 2
    expected = (2 * mean(x) * mean(y) + c1) / (mean(x) ** 2 + mean(y) ** 2 + c1)
    expected = (expected * (2 * covariance + c2) / (variances + c2)).mean()
    assert ssim(output, truth).item() == pytest.approx(expected.item(), abs=2e-6)


def test_psnr_by_hand() -> None:
    black, grey = torch.zeros(3, 4, 5), torch.full((3, 4, 5), 51 / 255)
    assert psnr(grey, black).item() == pytest.approx(-20 * np.log10(0.2), abs=1e-5)


def test_equal_pictures_score_80_and_1() -> None:
    picture = torch.rand(2, 3, 9, 11)
    assert psnr(picture, picture).tolist() == pytest.approx([80, 80])
    assert ssim(picture, picture).tolist() == pytest.approx([1, 1])


def test_values_are_clipped_and_rounded_to_eight_bits_first() -> None:
    truth = torch.tensor([0.0, 1.0, 100 / 255]).expand(3, 4, 3)
    output = torch.tensor([-0.7, 1.3, 100.4 / 255]).expand(3, 4, 3)
    assert psnr(output, truth).item() == pytest.approx(80)
    assert ssim(output, truth).item() == pytest.approx(1)


def test_every_picture_of_a_batch_has_its_own_score() -> None:
    truth, output = torch.rand(2, 3, 3, 16, 16), torch.rand(2, 3, 3, 16, 16)
    for metric in (psnr, ssim):
        whole = metric(output, truth)
        single = torch.stack(
            [metric(o, t) for o, t in zip(output.flatten(0, 1), truth.flatten(0, 1), strict=True)]
        )
        torch.testing.assert_close(whole, single.view(2, 3), rtol=0, atol=1e-6)


def test_what_is_no_picture_is_refused() -> None:
    with pytest.raises(ValueError, match=r"expected pictures of shape \(\.\.\., 3, H, W\), got \(4, 4\)"):
        psnr(torch.rand(4, 4), torch.rand(4, 4))
