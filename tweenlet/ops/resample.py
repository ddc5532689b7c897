"""Resampling and pyramids: downsampling and upsampling by 2, and Laplacian pyramids.

    downsample      (B, C, H, W) -> (B, C, H/2, W/2)   5x5 Gaussian, then the mean of every 2x2
    avg_pool2       (B, C, H, W) -> (B, C, H/2, W/2)   the mean of every 2x2 alone
    box_blur        (B, C, H, W) -> (B, C, H, W)       the mean of a square around each pixel
    upsample_8tap   (B, C, H, W) -> (B, C, 2H, 2W)     8-tap filter between pixels, which are kept
    upsample_rows   (B, C, H, W) -> some rows of (B, C, 2H, 2W)    bilinear
    laplacian_pyramid  (B, C, H, W) -> [(B, C, H, W), (B, C, H/2, W/2), ..., (B, C, H/16, W/16)], finest first

Borders are reflected (repeated where a side is too short to reflect).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from tweenlet.ops.dispatch import FLOAT32_OR_BF16, kernel_for

EIGHT_TAPS = (-1 / 64, 4 / 64, -11 / 64, 40 / 64, 40 / 64, -11 / 64, 4 / 64, -1 / 64)
BINOMIAL = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)
GAUSSIAN_SIGMA = 0.5


def gaussian_kernel() -> Tensor:
    """The 5x5 Gaussian of sigma 0.5 before downsampling; float32, sums to 1."""
    line = torch.exp(-((torch.arange(5.0) - 2) ** 2) / (2 * GAUSSIAN_SIGMA**2))
    square = torch.outer(line, line)
    return square / square.sum()


def blur(frame: Tensor, kernel: Tensor) -> Tensor:
    """Convolve each channel of ``frame`` (B, C, H, W) with ``kernel`` (5, 5), or its own of (C, 1, 5, 5)."""
    return _each_channel(_reflect(frame, 2, 2, 2, 2), kernel)


def box_blur(x: Tensor, side: int) -> Tensor:
    """Mean over the square around each pixel of ``x`` (B, C, H, W), what is inside; ``side`` is odd."""
    if (run := kernel_for(box_blur, x)) is not None:
        return run(x, side)
    rows = F.avg_pool2d(x.contiguous(), (side, 1), 1, (side // 2, 0), count_include_pad=False)
    return F.avg_pool2d(rows, (1, side), 1, (0, side // 2), count_include_pad=False)


def downsample(frame: Tensor, kernel: Tensor | None = None) -> Tensor:
    """Blur and downsample ``frame`` (B, C, H, W) by 2; ``kernel`` as in :func:`blur`, default the Gaussian.

    An odd side loses its last row or column. ValueError for sides under two pixels.
    """
    kernel = (gaussian_kernel() if kernel is None else kernel).to(frame)
    if (run := kernel_for(downsample, frame, kernel)) is not None:
        return run(frame, kernel)
    frame = frame.contiguous(memory_format=torch.channels_last)  # half the time, a fifth of the memory
    return F.avg_pool2d(blur(frame, kernel), 2)


def upsample_8tap(frame: Tensor, taps: Tensor | None = None) -> Tensor:
    """Upsample ``frame`` (B, C, H, W) by 2 with an 8-tap filter; ``taps`` (8,) or (C, 1, 1, 8) replace it.

    Output pixel (2i, 2j) is input pixel (i, j); the ones between are filtered along x, then along y.
    """
    taps = (torch.tensor(EIGHT_TAPS) if taps is None else taps).to(frame)
    if (run := kernel_for(upsample_8tap, frame, taps)) is not None:
        return run(frame, taps)
    batch, channels, height, width = frame.shape
    by_tap = taps.reshape(-1, 8, 1, 1).unbind(1)
    wide = torch.stack((frame, _between(frame, by_tap, -1)), -1).view(batch, channels, height, 2 * width)
    tall = torch.stack((wide, _between(wide, by_tap, -2)), -2)
    return tall.view(batch, channels, 2 * height, 2 * width)


def avg_pool2(x: Tensor) -> Tensor:
    """Mean of every 2x2 pixels of ``x`` (B, C, H, W); odd sides are rounded up."""
    run = kernel_for(avg_pool2, x) if x.is_contiguous() or _are_whole_pixels(x) else None
    return F.avg_pool2d(x, 2, ceil_mode=True) if run is None else run(x)


def _are_whole_pixels(x: Tensor) -> bool:
    """Whether ``x`` (B, C, H, W) is the first channels of evenly spaced pixels."""
    batch, channel, row, pixel = x.stride()
    evenly = row == x.shape[3] * pixel and (x.shape[0] == 1 or batch == x.shape[2] * row)
    return channel == 1 and evenly and pixel >= x.shape[1] and x.storage_offset() % pixel == 0


def upsample_rows(x: Tensor, start: int, end: int) -> Tensor:
    """Rows ``start`` to ``end`` of ``x`` (B, C, h, w) upsampled by 2: (B, C, end - start, 2w).

    As ``F.interpolate`` without aligned corners; no gradient. ValueError for rows out of range.
    """
    height = x.shape[2]
    if not 0 <= start <= end <= 2 * height:
        raise ValueError(f"expected some of {2 * height} rows, got those from {start} to {end}")
    run = kernel_for(upsample_rows, x, cpu_dtypes=FLOAT32_OR_BF16, channels_last=True)
    if run is not None:
        return run(x, start, end)
    first, last = max(start // 2 - 1, 0), min(end // 2 + 1, height)
    wide = F.interpolate(x[:, :, first:last], scale_factor=2, mode="bilinear", align_corners=False)
    return wide[:, :, start - 2 * first : end - 2 * first]


def laplacian_pyramid(frame: Tensor, levels: int = 5) -> list[Tensor]:
    """Split ``frame`` (B, C, H, W) into ``levels`` bands, finest first; the last one is the residual.

    Any H and W: odd sides are rounded up.
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


def _each_channel(frame: Tensor, kernel: Tensor) -> Tensor:
    channels = frame.shape[1]
    kernel = kernel.to(frame).reshape(-1, 1, *kernel.shape[-2:]).expand(channels, -1, -1, -1)
    return F.conv2d(frame, kernel, groups=channels)


def _between(frame: Tensor, by_tap: Sequence[Tensor], dim: int) -> Tensor:
    """Values between pixels along ``dim``, summed tap by tap in half the time and memory of a convolution."""
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
