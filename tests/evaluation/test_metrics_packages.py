"""Metrics that a package computes, against another way to the same number: mostly the paper, in numpy."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import flip_evaluator
import numpy as np
import pytest
import torch
from imageio_ffmpeg import get_ffmpeg_exe
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import convolve, gaussian_filter
from scipy.signal import convolve2d
from torch import Tensor
from torch.nn import functional as F

from tweenlet import video
from tweenlet.evaluation import metrics
from tweenlet.evaluation.metrics import flip, ms_ssim, vmaf

ASSETS = Path(__file__).parents[1] / "assets"
Array = NDArray[np.float64]
Pair = tuple[Tensor, Tensor]


def blended(name: str, step: int) -> Pair:
    """Two frames of a clip blended, and the frame between them, at twice their size: (3, 192, 288) each."""
    with video.read(ASSETS / f"learning-area-{name}.mp4") as reader:
        frames = torch.stack(
            [torch.from_numpy(f.rgb().copy()) for f, _ in zip(reader, range(5), strict=False)]
        )
    before, truth, after = F.interpolate(frames[::step], scale_factor=2, mode="bicubic").clamp(0, 1)[:3]
    return (before + after) / 2, truth


def noisy() -> Pair:
    """Odd sides, saturated colours, heavy noise."""
    generator = torch.Generator().manual_seed(4)
    truth = F.interpolate(torch.rand(1, 3, 12, 14, generator=generator), (193, 229), mode="bicubic")[0]
    return truth + 0.3 * torch.randn(truth.shape, generator=generator), truth


PAIRS: dict[str, Callable[[], Pair]] = {
    "elf": lambda: blended("elf", 1),
    "pig": lambda: blended("pig", 2),
    "noisy": noisy,
}


@pytest.fixture(params=PAIRS, scope="module")
def pair(request: pytest.FixtureRequest) -> Pair:
    return PAIRS[request.param]()


def levels(picture: Tensor) -> NDArray[np.uint8]:
    """What a PNG would hold, (H, W, 3)."""
    return np.rint(255 * np.clip(picture.numpy(), 0, 1)).astype(np.uint8).transpose(1, 2, 0)


def test_ms_ssim_is_that_of_the_paper_but_for_the_border_of_the_coarsest_scale(pair: Pair) -> None:
    written_out = multi_scale(*map(levels, pair), beyond_the_border=True)
    assert ms_ssim(*pair) == pytest.approx(written_out, abs=5e-5)
    as_in_the_paper = multi_scale(*map(levels, pair), beyond_the_border=False)
    assert 1e-5 < abs(ms_ssim(*pair) - as_in_the_paper) < 0.02


def multi_scale(output: Array, truth: Array, beyond_the_border: bool) -> float:
    """Wang, Simoncelli and Bovik, 2003, with two choices of torchmetrics: the mean of a scale runs over all
    channels, and the windows of the coarsest scale may reach ``beyond_the_border``."""
    powers = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
    x, y = (picture.astype(np.float64) for picture in (output, truth))
    score = 1.0
    for scale, power in enumerate(powers, 1):
        coarsest = scale == len(powers)
        contrast, luminance = similarity(x, y, mirrored=coarsest and beyond_the_border)
        score *= max(0, (contrast * luminance if coarsest else contrast).mean()) ** power
        x, y = halved(x), halved(y)
    return score


def similarity(x: Array, y: Array, mirrored: bool) -> tuple[Array, Array]:
    """The maps of contrast with structure, and of luminance."""
    if mirrored:
        x, y = (np.pad(picture, ((5, 5), (5, 5), (0, 0)), mode="reflect") for picture in (x, y))
    rows, columns = np.mgrid[-5:6, -5:6]
    window = np.exp(-(rows**2 + columns**2) / (2 * 1.5**2))

    window /= window.sum()

    def mean(values: Array) -> Array:
        return np.stack([convolve2d(channel, window, mode="valid") for channel in np.moveaxis(values, -1, 0)])

    c1, c2 = 2.55**2, 7.65**2
    covariance = mean(x * y) - mean(x) * mean(y)
    variances = mean(x * x) - mean(x) ** 2 + mean(y * y) - mean(y) ** 2
    contrast = (2 * covariance + c2) / (variances + c2)
    return contrast, (2 * mean(x) * mean(y) + c1) / (mean(x) ** 2 + mean(y) ** 2 + c1)


def halved(picture: Array) -> Array:
    """Means of 2 x 2 pixels; an odd last row or column is left out."""
    height, width = (side // 2 * 2 for side in picture.shape[:2])
    even = picture[:height, :width]
    return (even[::2, ::2] + even[1::2, ::2] + even[::2, 1::2] + even[1::2, 1::2]) / 4


def test_vmaf_is_what_ffmpeg_says_of_two_png_files(pair: Pair, tmp_path: Path) -> None:
    """ffmpeg reads them itself, and zimg, which does not save on rounding, converts them."""
    for name, picture in zip(("output", "truth"), pair, strict=True):
        Image.fromarray(levels(picture)).save(tmp_path / f"{name}.png")
    convert = "zscale=matrix=709:range=limited:dither=none,format=yuv444p"
    log = tmp_path / "log.json"
    judge = f"[0:v]{convert}[a];[1:v]{convert}[b];[a][b]libvmaf=log_fmt=json:log_path={log}"
    files = ["-i", tmp_path / "output.png", "-i", tmp_path / "truth.png"]
    command = [get_ffmpeg_exe(), "-v", "error", *files, "-lavfi", judge, "-f", "null", "-"]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    (frame,) = json.loads(log.read_text())["frames"]
    assert frame["metrics"]["integer_motion2"] == 0
    assert 20 < vmaf(*pair) < 80
    assert vmaf(*pair) == pytest.approx(frame["metrics"]["vmaf"], abs=1e-4)


def test_vmaf_gives_equal_pictures_its_most_and_blur_and_noise_less() -> None:
    _, truth = PAIRS["elf"]()
    blur = torch.from_numpy(gaussian_filter(truth.numpy(), (0, 1.5, 1.5)))
    noise = truth + 0.05 * torch.randn(truth.shape, generator=torch.Generator().manual_seed(5))
    assert vmaf(truth, truth) == pytest.approx(97.43, abs=0.01)
    assert vmaf(blur, truth) < 90
    assert vmaf(noise, truth) < 90
    assert vmaf(truth, blur) > vmaf(blur, truth) + 5  # the truth stands second


def test_vmaf_sees_luma_alone_in_the_limited_range_of_bt709() -> None:
    primaries = torch.eye(3)[:, :, None, None].expand(3, 3, 2, 2) * 255
    luma = [metrics._luma(colour)[0, 0].item() for colour in primaries]
    assert luma == [63, 173, 32]  # BT.709, 8 bits
    assert [metrics._luma(torch.full((3, 1, 1), v)).item() for v in (0.0, 255.0)] == [16, 235]


def test_ffmpegs_own_words_come_with_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "VMAF_MODEL", "vmaf_of_tomorrow")
    with pytest.raises(OSError, match=r"(?s)libvmaf failed on two pictures of 50x40: .*vmaf_of_tomorrow"):
        vmaf(torch.rand(3, 40, 50), torch.rand(3, 40, 50))


def test_flip_is_that_of_the_paper(pair: Pair) -> None:
    assert flip(*pair) == pytest.approx(flip_of_the_paper(*map(levels, pair)), abs=1e-5)


def test_flip_takes_the_default_distance_of_its_authors() -> None:
    output, truth = (levels(picture).astype(np.float32) / 255 for picture in PAIRS["elf"]())
    _, mean, _ = flip_evaluator.evaluate(truth, output, "LDR", applyMagma=False)
    assert flip(*PAIRS["elf"]()) == pytest.approx(mean, abs=1e-6)


@pytest.mark.parametrize("size", [(1, 1), (2, 40)])
def test_flip_of_small_pictures(size: tuple[int, int]) -> None:
    black, white = torch.zeros(3, *size), torch.ones(3, *size)
    assert flip(white, white) == 0
    assert 0.9 < flip(black, white) <= 1


def flip_of_the_paper(output: Array, truth: Array) -> float:
    """The mean of LDR-FLIP (Andersson et al., 2020), step by step as in its sections 4.1 and 4.2."""
    x, y = (to_opponent(to_linear(picture / 255)) for picture in (output, truth))
    colour = colour_difference(seen(x), seen(y))
    feature = feature_difference((x[..., 0] + 16) / 116, (y[..., 0] + 16) / 116)
    return float((colour ** (1 - feature)).mean())


PIXELS_PER_DEGREE = 0.7 * 3840 / 0.7 * np.pi / 180


def from_primaries() -> Array:
    """Linear sRGB to XYZ, from the chromaticities of its primaries and of D65."""
    corners = np.array([(0.64, 0.33), (0.30, 0.60), (0.15, 0.06), (0.3127, 0.3290)])
    xyz = np.stack([corners[:, 0], corners[:, 1], 1 - corners.sum(1)]) / corners[:, 1]
    return xyz[:, :3] * np.linalg.solve(xyz[:, :3], xyz[:, 3])


TO_XYZ = from_primaries()
WHITE = TO_XYZ.sum(1)


def to_linear(srgb: Array) -> Array:
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def to_opponent(linear: Array) -> Array:
    """Linear RGB to YyCxCz."""
    x, y, z = np.moveaxis(linear @ TO_XYZ.T / WHITE, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], -1)


def from_opponent(opponent: Array) -> Array:
    y = (opponent[..., 0] + 16) / 116
    x, z = opponent[..., 1] / 500 + y, y - opponent[..., 2] / 200
    return np.stack([x, y, z], -1) * WHITE @ np.linalg.inv(TO_XYZ).T


def seen(opponent: Array) -> Array:
    """Each channel through the contrast sensitivity of an eye, then Hunt-adjusted L*a*b*."""
    radius = int(np.ceil(3 * np.sqrt(0.04 / (2 * np.pi**2)) * PIXELS_PER_DEGREE))
    rows, columns = np.mgrid[-radius : radius + 1, -radius : radius + 1] / PIXELS_PER_DEGREE
    blurred = []
    for channel, terms in enumerate(
        ([(1, 0.0047), (0, 1e-5)], [(1, 0.0053), (0, 1e-5)], [(34.1, 0.04), (13.5, 0.025)])
    ):
        kernel = sum(
            a * np.sqrt(np.pi / b) * np.exp(-(np.pi**2) * (rows**2 + columns**2) / b) for a, b in terms
        )
        blurred.append(convolve(opponent[..., channel], kernel / kernel.sum(), mode="nearest"))
    return to_hunt(from_opponent(np.stack(blurred, -1)).clip(0, 1))


def to_hunt(linear: Array) -> Array:
    xyz, step = linear @ TO_XYZ.T / WHITE, 6 / 29
    x, y, z = np.moveaxis(np.where(xyz > step**3, np.cbrt(xyz), xyz / (3 * step**2) + 4 / 29), -1, 0)
    lightness = 116 * y - 16
    return np.stack([lightness, 0.01 * lightness * 500 * (x - y), 0.01 * lightness * 200 * (y - z)], -1)


def hyab(x: Array, y: Array) -> Array:
    return np.abs(x - y)[..., 0] + np.linalg.norm((x - y)[..., 1:], axis=-1)


def colour_difference(x: Array, y: Array) -> Array:
    power, knee, height = 0.7, 0.4, 0.95
    green, blue = to_hunt(np.eye(3)[1:])
    most = hyab(green, blue) ** power
    difference = hyab(x, y) ** power
    above = height + (difference - knee * most) / (most - knee * most) * (1 - height)
    return np.where(difference < knee * most, height / (knee * most) * difference, above)


def feature_difference(x: Array, y: Array) -> Array:
    deviation = 0.5 * 0.082 * PIXELS_PER_DEGREE
    radius = int(np.ceil(3 * deviation))
    rows, columns = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    gaussian = np.exp(-(rows**2 + columns**2) / (2 * deviation**2))
    edge, point = -columns * gaussian, (columns**2 / deviation**2 - 1) * gaussian

    def strength(grey: Array, kernel: Array) -> Array:
        weights = np.where(kernel < 0, kernel / -kernel[kernel < 0].sum(), kernel / kernel[kernel > 0].sum())
        return np.hypot(*(convolve(grey, w, mode="nearest") for w in (weights, weights.T)))

    differences = [np.abs(strength(x, kernel) - strength(y, kernel)) for kernel in (edge, point)]
    return (np.maximum(*differences) / np.sqrt(2)) ** 0.5
