"""Mix: synthesis from flows at half the frame's size, by bicubic backward warping and blending by a mask.

    before, after, flows --> backward warp, bicubic --------+--> blended by the mask --> frame
                                                            |
    mask, correction, static overlay -----------------------+

Warped frames are kept pixel-unshuffled by 2, at half the frame's size, as a residual head reads them. Flows
and mask are upsampled to the frame's size, bilinearly.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from tweenlet.ops.dispatch import kernel_for


def fetch_both(before: Tensor, after: Tensor, flows: Tensor) -> Tensor:
    """Backward warp both frames, bicubic; the border is repeated beyond the frame.

    Args:
        before: the frame before, (B, 3, H, W).
        after: the frame after, (B, 3, H, W).
        flows: flows to both, (B, 4, H/2, W/2), in pixels of the frame, x then y.

    Returns:
        (B, 24, H/2, W/2): both warped frames, pixel-unshuffled by 2.

    """
    if (run := kernel_for(fetch_both, before, after, flows)) is not None:
        return run(before, after, flows)
    flows = _upsample(flows)
    fetched = torch.cat((fetch(before, flows[:, :2]), fetch(after, flows[:, 2:])), 1)
    return F.pixel_unshuffle(fetched, 2)


def mix(
    before: Tensor, after: Tensor, fetched: Tensor, mask: Tensor, correction: Tensor | None, still: Tensor
) -> Tensor:
    """Blend the warped frames by a mask, correct them, and show the mean of the originals under an overlay.

    Args:
        before: the frame before, (B, 3, H, W).
        after: the frame after, (B, 3, H, W).
        fetched: warped frames (B, 24, H/2, W/2), from :func:`fetch_both`.
        mask: logit of the weight of the frame before, (B, 1, H/2, W/2).
        correction: residual of frame and mask, (B, 16, H/2, W/2), pixel-unshuffled by 2; None = none.
        still: opacity of a static overlay, (B, 1, H, W), 0 to 1.

    Returns:
        (B, 3, H, W).

    """
    given = (before, after, fetched, mask, *(() if correction is None else (correction,)), still)
    if (run := kernel_for(mix, *given)) is not None:
        return run(before, after, fetched, mask, correction, still)
    fetched = F.pixel_shuffle(fetched, 2)
    first, second = fetched[:, :3], fetched[:, 3:]
    mask = _upsample(mask)
    if correction is None:
        frame = second.lerp(first, torch.sigmoid(mask))
    else:
        more = F.pixel_shuffle(correction, 2)
        frame = second.lerp(first, torch.sigmoid(mask + more[:, 3:])) + more[:, :3]
    return frame.lerp((before + after) / 2, still)


def fetch(frame: Tensor, flow: Tensor) -> Tensor:
    """Backward warp a frame (B, C, H, W) by flow (B, 2, H, W) in pixels, bicubic; its border is repeated."""
    height, width = frame.shape[-2:]
    x = torch.arange(width, dtype=flow.dtype, device=flow.device) + flow[:, 0]
    y = torch.arange(height, dtype=flow.dtype, device=flow.device)[:, None] + flow[:, 1]
    grid = torch.stack(((2 * x + 1) / width - 1, (2 * y + 1) / height - 1), -1)
    return F.grid_sample(frame, grid, mode="bicubic", padding_mode="border", align_corners=False)


def _upsample(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
