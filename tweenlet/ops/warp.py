"""Backward warp: fetch from where the flow points.

    source (B, C, H, W) + flow (B, 2, H, W) in pixels, (dx, dy)  ->  (B, C, H, W)

Each output pixel p takes the bilinear sample of ``source`` at p + flow(p): that is ``sample``. PWC-Net's
published weights were trained with a warp that stretches the flow by W / (W - 1) and blanks whatever reaches
outside the frame; ``backwarp`` keeps both.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from tweenlet.ops.cpu import library as native
from tweenlet.ops.cpu.bindings import Library, for_each_sample
from tweenlet.ops.dispatch import wanted

INSIDE = 0.999
"""Share of a sample's four taps that must lie in the frame for the sample to count."""


def backwarp(source: Tensor, flow: Tensor) -> Tensor:
    """Sample ``source`` (B, C, H, W) at the places that ``flow`` (B, 2, H, W; pixels, x then y) points to.

    Positions are float32 at least. Samples that reach outside the frame are zero. The flow is scaled as
    PWC-Net scales it (see above). Differentiable in both. ValueError for shapes that do not match.
    """
    height, width = source.shape[-2:]
    if flow.shape != (source.shape[0], 2, height, width):
        raise ValueError(
            f"expected a flow of shape {(source.shape[0], 2, height, width)}, got {tuple(flow.shape)}"
        )
    precise = torch.promote_types(source.dtype, torch.float32)
    flow = flow.to(precise)
    x = (2 * torch.arange(width, dtype=precise, device=source.device) + 1) / width - 1
    y = (2 * torch.arange(height, dtype=precise, device=source.device) + 1) / height - 1
    grid_x = x + flow[:, 0] * (2 / max(width - 1, 1))
    grid_y = y[:, None] + flow[:, 1] * (2 / max(height - 1, 1))
    with_ones = F.pad(source.to(precise), (0, 0, 0, 0, 0, 1), value=1.0)
    sampled = F.grid_sample(with_ones, torch.stack((grid_x, grid_y), -1), align_corners=False)
    inside = (sampled[:, -1:] > INSIDE).to(precise)
    return (sampled[:, :-1] * inside).to(source.dtype)


def sample(source: Tensor, flow: Tensor, into: Tensor | None = None) -> Tensor:
    """Sample ``source`` (B, C, H, W) bilinearly at p + ``flow`` (B, 2, H, W; pixels, x then y).

    Beyond the frame its border goes on. Positions are float32 at least. Differentiable in both; without a
    gradient by native code where both are float32 on a CPU, and by a kernel on a CUDA device. The result is
    written ``into`` that, if given.
    """
    if wanted(source, flow):
        from tweenlet.ops.cuda import warp as triton_warp

        made = triton_warp.sample(source, flow)
        return made if into is None else into.copy_(made)
    if (library := native.library_for(source, flow)) is not None:
        return _by_native_code(library, source, flow, into)
    height, width = source.shape[-2:]
    precise = torch.promote_types(source.dtype, torch.float32)
    flow = flow.to(precise)
    x = torch.arange(width, dtype=precise, device=source.device) + flow[:, 0]
    y = torch.arange(height, dtype=precise, device=source.device)[:, None] + flow[:, 1]
    grid = torch.stack(((2 * x + 1) / width - 1, (2 * y + 1) / height - 1), -1)
    made = F.grid_sample(source.to(precise), grid, padding_mode="border", align_corners=False)
    return made.to(source.dtype) if into is None else into.copy_(made)


def _by_native_code(library: Library, source: Tensor, flow: Tensor, into: Tensor | None) -> Tensor:
    channels, height, width = source.shape[1:]
    by_pixel = _by_pixel(source)
    source = source if by_pixel else source.contiguous()
    fits = into is not None and (_by_pixel(into) if by_pixel else into.is_contiguous())
    made = into if into is not None and fits else torch.empty_like(source)
    flow = flow if flow.stride(2) == width * flow.stride(3) else flow.contiguous()
    strides = (source.stride(3), made.stride(3), flow.stride(3), flow.stride(1))
    settings = (by_pixel, *strides, channels, height, width)
    for_each_sample(library.backwarp, (source, flow, made), *settings, torch.get_num_threads())
    return made if into is None or fits else into.copy_(made)


def _by_pixel(x: Tensor) -> bool:
    """Whether the channels of a pixel of (B, C, H, W) lie side by side, and pixels at even distances."""
    return x.shape[1] > 1 and x.stride(1) == 1 and x.stride(2) == x.shape[3] * x.stride(3)
