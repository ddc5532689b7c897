"""DIS: classical dense optical flow. No parameters, and no gradient.

frames (3, H, W) in [0, 1] --> luma, 0 to 255 --+--> grey, in 8 bits --> dis: OpenCV's, on a CPU ----+--> flow
                                                +--> on a CUDA device much the same, by `ops.search` +

A flow (2, H, W) from first to second is in pixels (dx, dy): first's p is second's p + flow(p). Kroeger et
al., "Fast Optical Flow using Dense Inverse Search", 2016. OpenCV's medium preset takes 0.04 CPU seconds for
one between frames of 854x480.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tweenlet.ops.search import FINEST, SMALLEST, search

PAIRS = ((1, 0), (1, 2), (2, 1), (2, 3))
"""Of a window of four frames, the pairs between which four-frame motion wants flow."""
_own = threading.local()  # an estimator holds buffers: one for each thread


def luma(frame: Tensor) -> Tensor:
    """The luma of a frame (3, H, W) in [0, 1], where that is, as (H, W) float32 of whole numbers to 255."""
    red, green, blue = frame.detach().float()
    whole: Tensor = (255 * (0.299 * red + 0.587 * green + 0.114 * blue)).round()
    return whole.clamp(0, 255).nan_to_num(0)  # one that is none would spread over all of the flow


def grey(frame: Tensor) -> NDArray[np.uint8]:
    """The same on the CPU, as (H, W) uint8: what OpenCV's DIS looks at."""
    return np.ascontiguousarray(luma(frame).to(torch.uint8).cpu().numpy())


def dis(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> Tensor:
    """Flow (2, H, W) float32 in pixels from ``first`` to ``second``, both (H, W) uint8 from ``grey``.

    Frames with a side under SMALLEST, which OpenCV refuses, are held not to move.
    """
    if min(first.shape) < SMALLEST:
        return torch.zeros(2, *first.shape)
    if not hasattr(_own, "estimator"):
        import cv2  # 16 MB that only this needs

        _own.estimator = cv2.DISOpticalFlow.create(cv2.DISOpticalFlow_PRESET_MEDIUM)
    estimator: Any = _own.estimator
    estimator.setFinestScale(FINEST)  # which a frame too small for it changes, for those after it as well
    return torch.from_numpy(estimator.calc(first, second, None)).permute(2, 0, 1).contiguous()


def window_flows(frames: Tensor) -> Tensor:
    """Frames (B, 4, 3, H, W) in [0, 1] -> flows (B, 4, 2, H, W) in pixels, of 1->0, 1->2, 2->1 and 2->3.

    An outer frame that repeats its neighbour, as at the ends of a clip, tells nothing of the motion there: it
    is taken to be steady.
    """
    return torch.stack([_flows_of(window) for window in frames]).to(frames.device)


def _flows_of(window: Tensor) -> Tensor:
    if window.is_cuda:
        return torch.stack(searched_flows(window))
    looks = [grey(frame) for frame in window]
    return torch.stack(four_flows(window, lambda a, b: dis(looks[a], looks[b])))


def searched_flows(window: Sequence[Tensor] | Tensor) -> list[Tensor]:
    """Those of a window of frames (3, H, W) by `ops.search`, as on a CUDA device, wherever the frames are."""
    lumas = [luma(frame)[None] for frame in window]
    return four_flows(window, lambda a, b: search(lumas[a], lumas[b])[0])


def four_flows(window: Sequence[Tensor] | Tensor, find: Callable[[int, int], Tensor]) -> list[Tensor]:
    """The flows of PAIRS between four frames (3, H, W), (2, H, W) each, by ``find(first, second)``.

    To an outer frame that repeats none is looked for: motion is taken to be steady.
    """
    across, back = find(1, 2), find(2, 1)
    return [
        -across if same(window[0], window[1]) else find(1, 0),
        across,
        back,
        -back if same(window[2], window[3]) else find(2, 3),
    ]


def same(a: Tensor, b: Tensor) -> bool:
    """Whether two frames are equal."""
    return a is b or torch.equal(a, b)
