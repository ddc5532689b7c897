from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor
from torch.nn import functional as F
from torchmetrics.functional.image import structural_similarity_index_measure

from tweenlet import video
from tweenlet.evaluation.catalogue import METRICS
from tweenlet.evaluation.metrics import psnr, ssim, ssim_3d

EXTRACT = Path(__file__).parents[1] / "expected" / "op_metrics.npz"  # two of the fixture's four pictures
ELF = Path(__file__).parents[1] / "assets" / "learning-area-elf.mp4"
ALL_BUT_LPIPS = [name for name in METRICS if not name.startswith("lpips")]


def random_pair(*size: int) -> tuple[Tensor, Tensor]:
    truth = torch.rand(3, *size, generator=torch.Generator().manual_seed(1))
    noise = torch.randn(3, *size, generator=torch.Generator().manual_seed(2))
    return (truth + 0.2 * noise).clamp(0, 1), truth


def measured_by(name: str) -> Callable[[Tensor, Tensor], float]:
    """A metric between neighbours that are the truth itself."""
    return lambda output, truth: METRICS[name].measure(output, truth, torch.stack((truth, truth)))


@pytest.fixture(scope="module")
def blended() -> tuple[Tensor, Tensor]:
    """Two frames of a clip blended, and the frame between them: (3, 96, 144) each."""
    with video.read(ELF) as reader:
        before, truth, after = (
            torch.from_numpy(f.rgb().copy()) for f, _ in zip(reader, range(3), strict=False)
        )
    return (before + after) / 2, truth


def levels(picture: Tensor) -> np.ndarray:
    """What a PNG would hold: whole numbers from 0 to 255."""
    return np.rint(255 * np.clip(picture.numpy(), 0, 1)).astype(np.uint8)


@pytest.mark.parametrize("whole", [False, True], ids=["extract", "fixture"])
def test_the_official_numbers_are_met(whole: bool, golden_file: Callable[[str], Path]) -> None:
    path = golden_file("op_metrics.npz") if whole else EXTRACT
    golden = {name: torch.from_numpy(array) for name, array in np.load(path).items()}
    torch.testing.assert_close(psnr(golden["outs"], golden["gt"]), golden["psnr"], rtol=0, atol=1e-5)
    torch.testing.assert_close(ssim_3d(golden["outs"], golden["gt"]), golden["ssim"], rtol=0, atol=1e-5)


@pytest.mark.parametrize("size", [(40, 23), (5, 7), (1, 1)])
def test_ssim_3d_is_the_mean_under_a_window_in_three_dimensions(size: tuple[int, int]) -> None:
    """The definition, word for word: an 11 x 11 x 11 window, one picture at a time, in float64."""
    output, truth = random_pair(*size)
    taps = torch.exp(-((torch.arange(11, dtype=torch.float64) - 5) ** 2) / (2 * 1.5**2))
    window = torch.einsum("i,j,k->ijk", taps, taps, taps)[None, None]
    window = window / window.sum()

    def mean(values: Tensor) -> Tensor:
        return F.conv3d(F.pad(values[None, None], [5] * 6, mode="replicate"), window)[0, 0]

    x, y = ((picture.double() * 255).round() for picture in (output, truth))
    c1, c2 = 2.55**2, 7.65**2
    covariance = mean(x * y) - mean(x) * mean(y)
    variances = mean(x * x) - mean(x) ** 2 + mean(y * y) - mean(y) ** 2
    expected = (2 * mean(x) * mean(y) + c1) / (mean(x) ** 2 + mean(y) ** 2 + c1)
    expected = (expected * (2 * covariance + c2) / (variances + c2)).mean()
    assert ssim_3d(output, truth).item() == pytest.approx(expected.item(), abs=2e-6)


@pytest.mark.parametrize("size", [(40, 23), (11, 11), (11, 60), None], ids=str)
def test_ssim_is_that_of_scikit_image(size: tuple[int, int] | None, blended: tuple[Tensor, Tensor]) -> None:
    output, truth = blended if size is None else random_pair(*size)
    expected = structural_similarity(
        *(levels(picture) for picture in (output, truth)),
        channel_axis=0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255,
    )  # fmt: skip
    assert ssim(output, truth).item() == pytest.approx(expected, abs=2e-6)


def test_ssim_is_the_map_of_torchmetrics_where_windows_lie_within_the_picture(
    blended: tuple[Tensor, Tensor],
) -> None:
    pictures = [torch.from_numpy(levels(picture))[None].double() for picture in blended]
    with_borders, similarity = structural_similarity_index_measure(
        *pictures, data_range=255.0, return_full_image=True
    )
    assert ssim(*blended).item() == pytest.approx(similarity[..., 5:-5, 5:-5].mean().item(), abs=2e-6)
    assert abs(ssim(*blended).item() - with_borders.item()) > 1e-4


def test_psnr_by_hand() -> None:
    black, grey = torch.zeros(3, 4, 5), torch.full((3, 4, 5), 51 / 255)
    assert psnr(grey, black).item() == pytest.approx(-20 * np.log10(0.2), abs=1e-5)


@pytest.mark.parametrize("noise", [0.3, 0.02, 0.002])
def test_psnr_is_that_of_scikit_image_less_the_official_constant(
    noise: float, blended: tuple[Tensor, Tensor]
) -> None:
    truth = blended[1]
    output = truth + noise * torch.randn(truth.shape, generator=torch.Generator().manual_seed(3))
    usual = peak_signal_noise_ratio(levels(truth), levels(output), data_range=255)
    constant = 10 * np.log10(1 + 1e-8 * 10 ** (usual / 10))
    assert psnr(output, truth).item() == pytest.approx(usual - constant, abs=1e-9)
    assert constant < 0.00022 or usual > 37


def test_a_benchmark_takes_the_mean_of_each_pictures_psnr() -> None:
    """The protocol of published tables: 8 bits, the mean of per-image PSNR, not the PSNR of the mean error.

    One picture is off by ten levels everywhere (10.4 is rounded to 10), the other by one level in one value
    of twelve: errors of 100 and 1/12, 28.13 and 58.92 dB, 43.53 dB on average. The mean error gives 31.14 dB.
    """
    truth = torch.full((3, 2, 2), 100 / 255)
    far, near = truth + 10.4 / 255, truth.clone()
    near[1, 0, 1] += 1 / 255
    measure = measured_by("psnr")
    mean = fmean(measure(output, truth) for output in (far, near))
    by_hand = (10 * np.log10(255**2 / 100) + 10 * np.log10(255**2 * 12)) / 2
    assert by_hand == pytest.approx(43.527, abs=1e-3)
    assert mean == pytest.approx(by_hand, abs=0.02)  # the official constant takes 0.017 dB at this height
    assert psnr(torch.stack((far, near)), truth).mean().item() == pytest.approx(mean, abs=1e-9)
    of_the_mean_error = 10 * np.log10(255**2 / ((100 + 1 / 12) / 2))
    assert abs(mean - of_the_mean_error) > 12


def test_equal_pictures_score_80_and_1() -> None:
    picture = torch.rand(2, 3, 19, 21)
    assert psnr(picture, picture).tolist() == pytest.approx([80, 80])
    assert ssim_3d(picture, picture).tolist() == pytest.approx([1, 1])
    assert ssim(picture, picture).tolist() == pytest.approx([1, 1])


def test_values_are_clipped_and_rounded_to_eight_bits_first() -> None:
    """One pixel size for all: the largest that any metric asks for."""
    truth = torch.tensor([0.0, 1.0, 100 / 255])[:, None, None].expand(3, 176, 176)
    output = torch.tensor([-0.7, 1.3, 100.4 / 255])[:, None, None].expand(3, 176, 176)
    for name in ALL_BUT_LPIPS:
        measure = measured_by(name)
        assert measure(output, truth) == measure(truth, truth), name


def test_every_picture_of_a_batch_has_its_own_score() -> None:
    truth, output = torch.rand(2, 3, 3, 16, 16), torch.rand(2, 3, 3, 16, 16)
    for metric in (psnr, ssim, ssim_3d):
        whole = metric(output, truth)
        single = torch.stack(
            [metric(o, t) for o, t in zip(output.flatten(0, 1), truth.flatten(0, 1), strict=True)]
        )
        torch.testing.assert_close(whole, single.view(2, 3), rtol=0, atol=1e-6)
        against_one = metric(output, truth[0, 0])
        assert against_one.shape == (2, 3)
        torch.testing.assert_close(against_one[1, 2], metric(output[1, 2], truth[0, 0]), rtol=0, atol=1e-6)


def test_what_is_no_picture_is_refused() -> None:
    for metric in (psnr, ssim, ssim_3d):
        with pytest.raises(ValueError, match=r"expected pictures of shape \(\.\.\., 3, H, W\), got \(4, 4\)"):
            metric(torch.rand(4, 4), torch.rand(4, 4))


@pytest.mark.parametrize("name", ALL_BUT_LPIPS)
def test_a_metric_measures_two_pictures_of_one_shape(name: str) -> None:
    picture = torch.rand(3, 180, 180)
    for other in (torch.rand(3, 180, 181), torch.rand(2, 3, 180, 180)):
        with pytest.raises(
            ValueError, match=r"expected two pictures of one shape .* got \(3, 180, 180\) and"
        ):
            measured_by(name)(picture, other)
    with pytest.raises(ValueError, match=r"expected pictures of shape .* got \(4, 180, 180\)"):
        measured_by(name)(torch.rand(4, 180, 180), torch.rand(4, 180, 180))


@pytest.mark.parametrize(("name", "least"), [("ssim", 11), ("ms_ssim", 176), ("vmaf", 33)])
def test_a_picture_too_small_is_refused_with_its_size(name: str, least: int) -> None:
    measure = measured_by(name)
    smallest = torch.rand(3, least, least + 1)
    assert measure(smallest, smallest) == pytest.approx({"vmaf": 97.43}.get(name, 1), abs=0.01)
    message = rf"{name} needs pictures of at least {least}x{least}, got {least - 1}x{least + 4}"
    with pytest.raises(ValueError, match=message):
        measure(torch.rand(3, least + 4, least - 1), torch.rand(3, least + 4, least - 1))


def test_scores_are_the_same_again_and_from_many_threads() -> None:
    pairs = [random_pair(180, 190), random_pair(190, 180)]
    tasks = [(measured_by(name), pair) for name in ALL_BUT_LPIPS for pair in pairs]
    alone = [measure(*pair) for measure, pair in tasks]
    assert all(type(score) is float for score in alone)
    with ThreadPoolExecutor(4) as pool:
        for _ in range(2):
            assert list(pool.map(lambda task: task[0](*task[1]), tasks)) == alone


def test_a_training_step_may_hand_over_its_tensors() -> None:
    output, truth = random_pair(180, 180)
    for name in ALL_BUT_LPIPS:
        learning = output.clone().requires_grad_()
        assert measured_by(name)(learning, truth) == measured_by(name)(output, truth), name
