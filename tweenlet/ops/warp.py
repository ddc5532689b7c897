"""Backward warp: sample where the flow points.

    source (B, C, H, W) + flow (B, 2, H, W) in pixels, (dx, dy)  ->  (B, C, H, W)

In ``backwarp``, each output pixel p is the bilinear sample of ``source`` at p + flow(p). PWC-Net's published
weights were trained with a warp that stretches the flow by W / (W - 1) and zeroes samples outside the frame;
``backwarp_pwc`` does both.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from tweenlet.ops.dispatch import kernel_for

INSIDE = 0.999
"""Weight of the taps inside the frame from which on a sample counts."""


def backwarp_pwc(source: Tensor, flow: Tensor) -> Tensor:
    """Sample ``source`` (B, C, H, W) at the positions that ``flow`` (B, 2, H, W; pixels, x then y) points to.

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


def backwarp(source: Tensor, flow: Tensor) -> Tensor:
    """Sample ``source`` bilinearly at p + ``flow``; beyond the frame its border is repeated. Differentiable.

    Args:
        source: (B, C, H, W), of any floating dtype.
        flow: (B, 2, H, W) in pixels, x then y. Positions are float32 at least.

    Returns:
        (B, C, H, W), in the dtype of the source.

    """
    if (run := kernel_for(backwarp, source, flow)) is not None:
        return run(source, flow)
    height, width = source.shape[-2:]
    precise = torch.promote_types(source.dtype, torch.float32)
    flow = flow.to(precise)
    x = torch.arange(width, dtype=precise, device=source.device) + flow[:, 0]
    y = torch.arange(height, dtype=precise, device=source.device)[:, None] + flow[:, 1]
    grid = torch.stack(((2 * x + 1) / width - 1, (2 * y + 1) / height - 1), -1)
    warped = F.grid_sample(source.to(precise), grid, padding_mode="border", align_corners=False)
    return warped.to(source.dtype)
