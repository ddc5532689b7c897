"""Optical flow by OpenCV's DIS, for the baseline ``dis`` and the metric ``psnr_div``. No gradient.

Kroeger et al., "Fast Optical Flow using Dense Inverse Search", 2016.
"""

from __future__ import annotations

import threading
from typing import Any

import torch
from torch import Tensor

FINEST = 1
"""Finest pyramid level of the search: half the frame's size, as in the medium preset."""
SMALLEST = 16
"""Smallest side, in pixels: OpenCV refuses smaller frames, which cannot hold a patch."""
_own = threading.local()  # an estimator holds buffers: one for each thread


def luma(frame: Tensor) -> Tensor:
    """Luma of a frame (3, H, W) in [0, 1]: (H, W) float32, integers from 0 to 255, on the CPU.

    NaN becomes 0; it would spread over the whole flow.
    """
    red, green, blue = frame.detach().cpu().float()
    weighted: Tensor = (255 * 0.299 * red).add_(green, alpha=255 * 0.587).add_(blue, alpha=255 * 0.114)
    return weighted.round_().clamp_(0, 255).nan_to_num_(0)


def dis_flow(first: Tensor, second: Tensor) -> Tensor:
    """Optical flow by OpenCV's DIS, medium preset.

    Args:
        first: luma (B, H, W), integers from 0 to 255, on the CPU.
        second: luma of the second frame, of the same shape.

    Returns:
        (B, 2, H, W) float32 in pixels (dx, dy): the pixel of first at p is that of second at p + flow(p). All
        zero if a side is under SMALLEST.

    """
    if min(first.shape[-2:]) < SMALLEST:
        return torch.zeros(first.shape[0], 2, *first.shape[-2:])
    if not hasattr(_own, "estimator"):
        import cv2  # 16 MB that only this needs

        _own.estimator = cv2.DISOpticalFlow.create(cv2.DISOpticalFlow_PRESET_MEDIUM)
    estimator: Any = _own.estimator
    flows = []
    for pair in zip(first, second, strict=True):
        estimator.setFinestScale(FINEST)  # which a frame too small for it changes, for those after it as well
        flow = estimator.calc(*(luma.to(torch.uint8).contiguous().numpy() for luma in pair), None)
        flows.append(torch.from_numpy(flow).permute(2, 0, 1))
    return torch.stack(flows)
