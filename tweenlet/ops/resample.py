"""Resampling and pyramids: half a frame, double a frame, and a frame as a sum of bands.

    half    (B, C, H, W) -> (B, C, H/2, W/2)   5x5 Gaussian, then the mean of every 2x2
    double  (B, C, H, W) -> (B, C, 2H, 2W)     8-tap filter between the pixels, the pixels themselves kept
    pool    (B, C, H, W) -> (B, C, H/2, W/2)   the mean of every 2x2 alone
    laplacian_pyramid  (B, C, H, W) -> [(B, C, H, W), (B, C, H/2, W/2), ..., (B, C, H/16, W/16)], finest first

Borders are reflected (repeated where a side is too short to reflect). Where nothing is learnt, frames of
float32 on a CPU are halved, doubled and pooled in native code, and frames on a CUDA device doubled by a
kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from tweenlet.ops.cpu import arena as region
from tweenlet.ops.cpu import library as native
from tweenlet.ops.dispatch import wanted

EIGHT_TAPS = (-1 / 64, 4 / 64, -11 / 64, 40 / 64, 40 / 64, -11 / 64, 4 / 64, -1 / 64)
BINOMIAL = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)
GAUSSIAN_SIGMA = 0.5


def gaussian_kernel() -> Tensor:
    """The 5x5 Gaussian of sigma 0.5 that goes before halving; float32, sums to 1."""
    line = torch.exp(-((torch.arange(5.0) - 2) ** 2) / (2 * GAUSSIAN_SIGMA**2))
    square = torch.outer(line, line)
    return square / square.sum()


def blur(frame: Tensor, kernel: Tensor) -> Tensor:
    """Convolve each channel of ``frame`` (B, C, H, W) with ``kernel`` (5, 5), or its own of (C, 1, 5, 5)."""
    return _each_channel(_reflect(frame, 2, 2, 2, 2), kernel)


def half(frame: Tensor, kernel: Tensor | None = None) -> Tensor:
    """Blur and halve ``frame`` (B, C, H, W); ``kernel`` as in :func:`blur`, by default the Gaussian.

    Sides of two pixels or more; an odd one loses its last row or column.
    """
    kernel = (gaussian_kernel() if kernel is None else kernel).to(frame)
    if (library := native.library_for(frame, kernel)) is not None:
        square = F.pad(kernel.reshape(-1, 1, 5, 5), (1, 1, 1, 1))
        blur_and_mean = F.avg_pool2d(square, 2, 1).flatten(1)  # of 2x2: 6x6 in all
        return _resized(frame, library.downsample, blur_and_mean, [side // 2 for side in frame.shape[2:]])
    frame = frame.contiguous(memory_format=torch.channels_last)  # half the time, a fifth of the memory
    return F.avg_pool2d(blur(frame, kernel), 2)


def double(frame: Tensor, taps: Tensor | None = None) -> Tensor:
    """Double ``frame`` (B, C, H, W) with an 8-tap filter; ``taps`` (8,) or (C, 1, 1, 8) for another.

    Output pixel (2i, 2j) is input pixel (i, j); the ones between are filtered along x, then along y.
    """
    taps = (torch.tensor(EIGHT_TAPS) if taps is None else taps).to(frame)
    if (library := native.library_for(frame, taps)) is not None:
        return _resized(frame, library.upsample_8tap, taps.reshape(-1, 8), [2 * x for x in frame.shape[2:]])
    batch, channels, height, width = frame.shape
    if wanted(frame, taps):
        from tweenlet.ops.cuda import resample as triton_pyramid

        return triton_pyramid.double(frame, taps.reshape(-1, 8).expand(channels, -1))
    by_tap = taps.reshape(-1, 8, 1, 1).unbind(1)
    wide = torch.stack((frame, _between(frame, by_tap, -1)), -1).view(batch, channels, height, 2 * width)
    tall = torch.stack((wide, _between(wide, by_tap, -2)), -2)
    return tall.view(batch, channels, 2 * height, 2 * width)


def pool(x: Tensor) -> Tensor:
    """The mean of every 2x2 pixels of ``x`` (B, C, H, W); an odd side is halved upwards."""
    library = native.library_for(x)
    if library is None or not x.is_contiguous():
        return F.avg_pool2d(x, 2, ceil_mode=True)
    made = x.new_empty(*x.shape[:2], *(-(-side // 2) for side in x.shape[2:]))
    library.avg_pool2(x, made, x.shape[0] * x.shape[1], *x.shape[2:], torch.get_num_threads())
    return made


def laplacian_pyramid(frame: Tensor, levels: int = 5) -> list[Tensor]:
    """Split ``frame`` (B, C, H, W) into ``levels`` bands, finest first; the last one is what remains.

    Any H and W: an odd side is halved upwards.
    """
    line = torch.tensor(BINOMIAL)
    kernel = torch.outer(line, line)
    bands = []
    for _ in range(levels - 1):
        smaller = F.avg_pool2d(blur(frame, kernel), 2, ceil_mode=True)
        spread = torch.zeros_like(frame)
        spread[..., ::2, ::2] = smaller
        bands.append(frame - blur(spread, 4 * kernel))
        frame = smaller
    return [*bands, frame]


def _resized(frame: Tensor, by: Callable[..., None], kernels: Tensor, size: Sequence[int]) -> Tensor:
    """``frame`` (B, C, H, W) at another ``size``, ``by`` native code; its kernel, or one for each channel."""
    batch, channels, height, width = frame.shape
    if not min(size):
        raise ValueError(f"expected frames of at least two pixels a side, got {width}x{height}")
    made = region.empty((batch, channels, *size), frame.dtype, frame.device)
    read = (frame.contiguous(), kernels.expand(channels, -1).contiguous())
    by(*read, made, batch * channels, channels, height, width, torch.get_num_threads())
    return made


def _each_channel(frame: Tensor, kernel: Tensor) -> Tensor:
    channels = frame.shape[1]
    kernel = kernel.to(frame).reshape(-1, 1, *kernel.shape[-2:]).expand(channels, -1, -1, -1)
    return F.conv2d(frame, kernel, groups=channels)


def _between(frame: Tensor, by_tap: Sequence[Tensor], dim: int) -> Tensor:
    """Between its pixels along ``dim``; summed tap by tap, in half the time and memory of a convolution."""
    size = frame.shape[dim]
    around = _reflect(frame, 3, 4, 0, 0) if dim == -1 else _reflect(frame, 0, 0, 3, 4)
    first, *others = (around.narrow(dim, number, size) for number in range(len(by_tap)))
    total = torch.addcmul(torch.zeros_like(by_tap[0]), first, by_tap[0])
    for shifted, tap in zip(others, by_tap[1:], strict=True):
        total.addcmul_(shifted, tap)
    return total


def _reflect(frame: Tensor, left: int, right: int, top: int, bottom: int) -> Tensor:
    fits = max(left, right) < frame.shape[-1] and max(top, bottom) < frame.shape[-2]
    return F.pad(frame, (left, right, top, bottom), mode="reflect" if fits else "replicate")
