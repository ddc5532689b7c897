"""Metrics: the error of a frame against the truth, as one number. :mod:`.catalogue` has them by name.

All look at 8-bit pictures: RGB in [0, 1] is clipped, scaled by 255 and rounded first, whatever the network's
dtype. Metrics by trained networks, and those that also need the frames on both sides, have their own files.

    output, truth -> eight_bit -+-> mean squared error over all values -----> psnr (dB)
                                +-> means, variances and covariance under
                                |   a Gaussian of rows x columns -----------> ssim
                                |              ... x channels --------------> ssim_3d
                                +-> the same at five scales (torchmetrics) -> ms_ssim
                                +-> luma -> ffmpeg's libvmaf ---------------> vmaf
                                +-> a model of perception (flip_evaluator) -> flip
                                +-> features of a trained network ----------> lpips.py, features.py
                    neighbours -`-> detail, divergence of the motion -------> between.py

``psnr``, ``ssim`` and ``ssim_3d`` need nothing but torch and take batches, (..., 3, H, W) -> (...). The
others take pictures (3, H, W). Packages of the extra ``evaluate`` are imported when first used.
"""

from __future__ import annotations

import re
import subprocess

import torch
from torch import Tensor
from torch.nn import functional as F

from tweenlet.runtime.extras import import_extra

_REACH = 5  # the window spans 2 * 5 + 1 elements each way
_SIGMA = 1.5
_C1 = (0.01 * 255) ** 2
_C2 = (0.03 * 255) ** 2

MS_SSIM_LEAST = 176
"""Smallest side for five scales, in pixels: the coarsest, a sixteenth, must hold a window of 11."""

VMAF_MODEL = "vmaf_v0.6.1"
VMAF_LEAST = 33
"""Smallest side, in pixels. From 17 to 32 libvmaf scores even equal pictures low, and at 16 it crashes."""

FLIP_PIXELS_PER_DEGREE = 0.7 * (3840 / 0.7) * torch.pi / 180
"""FLIP's own default, 67.02: a screen 0.7 m wide, with 3840 pixels to the line, seen from 0.7 m."""


def psnr(output: Tensor, truth: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB over all three channels; equal pictures score 80.

    ``-10 log10(mse / 255^2 + 1e-8)``: the constant is that of the official evaluation, and caps the scale.
    The usual PSNR has none and is higher, by 0.0002 dB at 37 dB, less below, 0.004 dB at 50, 0.4 dB at 70.
    """
    difference = (eight_bit(output) - eight_bit(truth)).double()
    error = difference.square().mean(dim=(-3, -2, -1)) / 255**2
    return -10 * torch.log10(error + 1e-8)


def ssim(output: Tensor, truth: Tensor) -> Tensor:
    """Structural similarity of each channel, averaged; at most 1 (Wang et al., 2004).

    The usual definition: a Gaussian window of 11 x 11 pixels, sigma 1.5, population variances, and only
    windows within the picture. scikit-image agrees to 1e-6 (``gaussian_weights``, ``sigma=1.5``,
    ``use_sample_covariance=False``); torchmetrics also counts windows across the border, on a mirrored
    picture, which changes frames of 480 lines by up to 0.008. ValueError for a side under 11 pixels.
    """
    moments = _moments(output, truth)
    _refuse_small(moments, "ssim", 2 * _REACH + 1)
    return _similarity(_window_means(moments))


def ssim_3d(output: Tensor, truth: Tensor) -> Tensor:
    """The SSIM of the official evaluation, with a three-dimensional window; at most 1.

    It treats a colour picture as a volume: the Gaussian window (11 taps, sigma 1.5) runs over channels as
    well as rows and columns, values are repeated beyond every border, and no border is cropped from the mean.
    Its numbers are not comparable with those of :func:`ssim`.
    """
    moments = _moments(output, truth)
    channels = torch.arange(3, device=moments.device)
    reached = (channels[:, None] + _offsets(moments)).clamp(0, 2)  # from each channel, by each tap
    mixing = (F.one_hot(reached, 3) * _taps(moments)[:, None]).sum(1)
    mixed = torch.einsum("ij,...jhw->...ihw", mixing, moments)
    padded = F.pad(mixed.flatten(0, -4), [_REACH] * 4, mode="replicate")
    return _similarity(_window_means(padded.view(*mixed.shape[:-2], *padded.shape[-2:])))


def ms_ssim(output: Tensor, truth: Tensor) -> float:
    """Multi-scale SSIM of two pictures (3, H, W), from 0 to 1 (Wang et al., 2003), by torchmetrics.

    Contrast and structure at five scales, each half as large, and luminance at the coarsest, to the powers of
    the paper; at each scale the mean over pixels and channels, negative ones cut to 0. At the coarsest scale
    torchmetrics also counts windows that reach over the border, into a mirrored picture; the paper, and
    programs that follow it, count none of these, which moves frames of 480 lines by up to 0.02. ValueError
    for a side under 176 pixels; OSError without torchmetrics.
    """
    x, y = pair(output, truth, "ms_ssim", MS_SSIM_LEAST)
    judge = import_extra("torchmetrics.functional.image")
    score = judge.multiscale_structural_similarity_index_measure(x[None], y[None], data_range=255.0)
    return float(score)


def vmaf(output: Tensor, truth: Tensor) -> float:
    """VMAF of two pictures (3, H, W), from 0 to 100: the model vmaf_v0.6.1 in ffmpeg's libvmaf.

    VMAF is designed for video: for a single picture its motion feature is 0, and equal pictures score 97.43.
    Scores of whole videos differ, and a picture sharper than the truth may score more than the truth itself.
    Only luma counts: BT.709, limited range, rounded; it is computed here so that ffmpeg converts nothing.
    Raises ValueError for a side under 33 pixels, and OSError if imageio-ffmpeg is missing or ffmpeg fails.
    """
    luma = torch.cat([_luma(picture) for picture in pair(output, truth, "vmaf", VMAF_LEAST)])
    height, width = luma.shape[0] // 2, luma.shape[1]
    halves = ";".join(f"[{i}]crop={width}:{height}:0:{i * height}[half{i}]" for i in range(2))
    judge = f"split[0][1];{halves};[half0][half1]libvmaf=model=version={VMAF_MODEL}"
    source = f"-f rawvideo -pix_fmt yuv444p -s {width}x{2 * height} -i -"
    command = [ffmpeg(), "-hide_banner", "-nostats", *source.split(), "-lavfi", judge, "-f", "null", "-"]
    planes = torch.cat((luma, torch.full((4 * height, width), 128, dtype=torch.uint8)))
    run = subprocess.run(command, input=planes.numpy().tobytes(), capture_output=True, check=False)
    log = run.stderr.decode(errors="replace").strip()
    score = re.search(r"VMAF score: (\S+)", log)
    if run.returncode or score is None:
        reason = log or f"it ended with {run.returncode}"
        raise OSError(f"ffmpeg's libvmaf failed on two pictures of {width}x{height}: {reason}")
    return float(score[1])


def flip(output: Tensor, truth: Tensor) -> float:
    """Mean FLIP error of two pictures (3, H, W), from 0 for equal ones to 1 (Andersson et al., 2020).

    The difference that a viewer notices when flipping between the two: LDR, sRGB, 67 pixels per degree.
    OSError without flip-evaluator.
    """
    prediction, target = (
        (picture / 255).permute(1, 2, 0).contiguous().numpy() for picture in pair(output, truth, "flip")
    )
    settings = {"ppd": FLIP_PIXELS_PER_DEGREE}
    judge = import_extra("flip_evaluator")
    errors, *_ = judge.evaluate(
        target, prediction, "LDR", applyMagma=False, computeMeanError=False, parameters=settings
    )
    return float(errors.mean(dtype="float64"))


def eight_bit(picture: Tensor) -> Tensor:
    """Round [0, 1] to integers from 0 to 255, float32; ValueError for a shape other than (..., 3, H, W)."""
    if picture.ndim < 3 or picture.shape[-3] != 3:
        raise ValueError(f"expected pictures of shape (..., 3, H, W), got {tuple(picture.shape)}")
    return picture.float().clamp(0, 1).mul(255).round()


def pair(output: Tensor, truth: Tensor, metric: str, least: int = 1) -> tuple[Tensor, Tensor]:
    """Convert two pictures (3, H, W) to 8 bits, on the CPU; ValueError if they do not fit the metric."""
    check_same_shape(output, truth)
    _refuse_small(output, metric, least)
    return eight_bit(output.detach().cpu()), eight_bit(truth.detach().cpu())


def check_same_shape(output: Tensor, truth: Tensor) -> None:
    """ValueError unless both are pictures of one shape (3, H, W)."""
    if output.ndim != 3 or output.shape != truth.shape:
        got = f"{tuple(output.shape)} and {tuple(truth.shape)}"
        raise ValueError(f"expected two pictures of one shape (3, H, W), got {got}")


def _refuse_small(picture: Tensor, metric: str, least: int) -> None:
    height, width = picture.shape[-2:]
    if min(height, width) < least:
        raise ValueError(f"{metric} needs pictures of at least {least}x{least}, got {width}x{height}")


def _moments(output: Tensor, truth: Tensor) -> Tensor:
    """Moments for SSIM to average: (4, ..., 3, H, W)."""
    x, y = eight_bit(output), eight_bit(truth)
    squares = x * x + y * y
    return torch.stack((x.expand_as(squares), y.expand_as(squares), squares, x * y))


def _similarity(means: Tensor) -> Tensor:
    """The mean SSIM of each picture, from the window means of its moments (4, ..., 3, H, W)."""
    mean_x, mean_y, mean_squares, mean_product = means
    squares, product = mean_x.square() + mean_y.square(), mean_x * mean_y
    luminance = (2 * product + _C1) / (squares + _C1)
    structure = (2 * (mean_product - product) + _C2) / (mean_squares - squares + _C2)
    similarity: Tensor = luminance * structure
    return similarity.mean(dim=(-3, -2, -1), dtype=torch.float64)


def _offsets(values: Tensor) -> Tensor:
    return torch.arange(-_REACH, _REACH + 1, device=values.device)


def _taps(values: Tensor) -> Tensor:
    """The Gaussian window along one axis: 11 weights that sum to 1."""
    taps = torch.exp(-_offsets(values).square() / (2 * _SIGMA**2))
    return taps / taps.sum()


def _window_means(values: Tensor) -> Tensor:
    """Gaussian means of all windows within (..., H, W): (..., H - 10, W - 10)."""
    planes = values.reshape(1, -1, *values.shape[-2:])
    count = planes.shape[1]
    for shape in ((1, 1, -1, 1), (1, 1, 1, -1)):
        planes = F.conv2d(planes, _taps(values).view(shape).repeat(count, 1, 1, 1), groups=count)
    return planes.view(*values.shape[:-2], *planes.shape[-2:])


def _luma(picture: Tensor) -> Tensor:
    """R'G'B' from 0 to 255, (3, H, W) -> Y' of BT.709 from 16 to 235, bytes (H, W)."""
    shares = torch.tensor((0.2126, 0.7152, 0.0722), dtype=torch.float64)
    luma = torch.einsum("c,chw->hw", shares, picture.double())
    return (16 + luma * 219 / 255).round().byte()


def ffmpeg() -> str:
    """Path of the ffmpeg in imageio-ffmpeg; OSError without that package."""
    path: str = import_extra("imageio_ffmpeg").get_ffmpeg_exe()
    return path
