"""Softmax splatting (forward warp): move every pixel along the flow, more important ones in front.

    frame (B, C, H, W), flow (B, 2, H, W) in pixels (dx, dy), metric (B, 1, H, W)  ->  (B, C, H, W)

Niklaus and Liu, "Softmax Splatting for Video Frame Interpolation", 2020. A pixel p lands on the four pixels
around p + flow(p) with bilinear weights; where several land, they are averaged with the weights exp(metric).
"""

from __future__ import annotations

import torch
from torch import Tensor

from tweenlet.ops.dispatch import kernel_for


def splat(frame: Tensor, flow: Tensor, metric: Tensor) -> Tensor:
    """Softmax-splat ``frame`` (B, C, H, W) along ``flow`` (B, 2, H, W; pixels, x then y) by exp(``metric``).

    Pixels without a source are zero. As in the published code, the normaliser has no epsilon: exact zeros are
    replaced by one. Sums and positions are float32 at least. Differentiable in all three. ValueError for
    shapes that do not match.
    """
    batch, _, height, width = frame.shape
    if flow.shape != (batch, 2, height, width) or metric.shape != (batch, 1, height, width):
        raise ValueError(
            f"expected a flow {(batch, 2, height, width)} and a metric {(batch, 1, height, width)}, "
            f"got {tuple(flow.shape)} and {tuple(metric.shape)}"
        )
    if (run := kernel_for(splat, frame, flow, metric)) is not None:
        return run(frame, flow, metric)
    precise = torch.promote_types(frame.dtype, torch.float32)
    importance = metric.to(precise).exp()
    weighted = torch.cat((frame.to(precise) * importance, importance), 1)
    total = splat_sum(weighted, flow.to(precise))
    normaliser = total[:, -1:]
    return (total[:, :-1] / torch.where(normaliser == 0, 1.0, normaliser)).to(frame.dtype)


def splat_sum(values: Tensor, flow: Tensor) -> Tensor:
    """Add every pixel of ``values`` (B, C, H, W) to the four around its target p + ``flow`` (B, 2, H, W).

    Both are of one dtype. Returns the sums, (B, C, H, W). Differentiable in both.
    """
    if (run := kernel_for(splat_sum, values, flow)) is not None:
        return run(values, flow)
    batch, channels, height, width = values.shape
    x = torch.arange(width, device=flow.device, dtype=flow.dtype) + flow[:, 0]
    y = torch.arange(height, device=flow.device, dtype=flow.dtype)[:, None] + flow[:, 1]
    left, top = x.detach().floor(), y.detach().floor()
    share_x, share_y = x - left, y - top  # of the right and of the lower pixel
    first = torch.arange(batch, device=flow.device).view(-1, 1, 1) * (height * width)
    rows = values.permute(0, 2, 3, 1).reshape(-1, channels)
    total = torch.zeros_like(rows)
    for column, by_x in ((left, 1 - share_x), (left + 1, share_x)):
        for row, by_y in ((top, 1 - share_y), (top + 1, share_y)):
            inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
            share = torch.where(inside, by_x * by_y, 0.0)
            index = row.clamp(0, height - 1).long() * width + column.clamp(0, width - 1).long() + first
            total = total.index_add(0, index.flatten(), rows * share.reshape(-1, 1))
    return total.view(batch, height, width, channels).permute(0, 3, 1, 2)
