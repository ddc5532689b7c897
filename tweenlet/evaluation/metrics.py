"""PSNR and SSIM of a frame against the truth, as the official ST-MFNet evaluation computes them.

Both look at 8-bit pictures: values are clipped to [0, 1], scaled by 255 and rounded first, however the
network counted. Shapes (..., 3, H, W) in RGB, [0, 1]; one score per picture comes back, shape (...).

    output, truth -> eight_bit -+-> mean squared error over all values -------> psnr (dB)
                                +-> means, variances and covariance under a
                                    Gaussian of channels x rows x columns ----> ssim
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

_REACH = 5  # the window spans 2 * 5 + 1 elements each way
_SIGMA = 1.5
_C1 = (0.01 * 255) ** 2
_C2 = (0.03 * 255) ** 2


def psnr(output: Tensor, truth: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB over all three channels; equal pictures score 80.

    ``-10 log10(mse / 255^2 + 1e-8)``: the small constant is the official evaluation's, and caps the scale.
    """
    difference = (eight_bit(output) - eight_bit(truth)).double()
    error = difference.square().mean(dim=(-3, -2, -1)) / 255**2
    return -10 * torch.log10(error + 1e-8)


def ssim(output: Tensor, truth: Tensor) -> Tensor:
    """Structural similarity under a window of three dimensions, at most 1.

    The official evaluation takes a colour picture for a volume: the Gaussian window (11 taps, sigma 1.5)
    runs over channels as well as rows and columns, the outermost values are repeated beyond every border,
    and no border is cropped from the mean. The usual SSIM works channel by channel; its numbers are others
    and must not stand beside these.
    """
    x, y = eight_bit(output), eight_bit(truth)
    x, y = x.expand_as(x + y), y.expand_as(x + y)
    mean_x, mean_y, mean_squares, mean_product = _window_means(torch.stack((x, y, x * x + y * y, x * y)))
    squares, product = mean_x.square() + mean_y.square(), mean_x * mean_y
    luminance = (2 * product + _C1) / (squares + _C1)
    structure = (2 * (mean_product - product) + _C2) / (mean_squares - squares + _C2)
    similarity: Tensor = luminance * structure
    return similarity.mean(dim=(-3, -2, -1), dtype=torch.float64)


def eight_bit(picture: Tensor) -> Tensor:
    """[0, 1] -> the whole numbers 0 to 255, as float32; ValueError for a shape other than (..., 3, H, W)."""
    if picture.ndim < 3 or picture.shape[-3] != 3:
        raise ValueError(f"expected pictures of shape (..., 3, H, W), got {tuple(picture.shape)}")
    return picture.float().clamp(0, 1).mul(255).round()


def _window_means(values: Tensor) -> Tensor:
    """The Gaussian mean around every element of (..., 3, H, W), one axis after the other."""
    offsets = torch.arange(-_REACH, _REACH + 1, device=values.device)
    taps = torch.exp(-offsets.square() / (2 * _SIGMA**2))
    taps = taps / taps.sum()
    channels = torch.arange(3, device=values.device)
    reached = (channels[:, None] + offsets).clamp(0, 2)  # from each channel, by each tap
    mixing = (F.one_hot(reached, 3) * taps[:, None]).sum(1)
    planes = torch.einsum("ij,...jhw->...ihw", mixing, values).reshape(1, -1, *values.shape[-2:])
    count = planes.shape[1]
    for shape, border in (((1, 1, -1, 1), (0, 0, _REACH, _REACH)), ((1, 1, 1, -1), (_REACH, _REACH, 0, 0))):
        window = taps.view(shape).repeat(count, 1, 1, 1)
        planes = F.conv2d(F.pad(planes, border, mode="replicate"), window, groups=count)
    return planes.view(values.shape)
