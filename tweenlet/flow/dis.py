"""DIS: classical dense optical flow. No parameters, and no gradient.

    frames (3, H, W) in [0, 1] --> luma, 0 to 255 --> dis: by `ops.search`,
                                                      or on a CPU that has no native code by OpenCV

A flow (2, H, W) from first to second is in pixels (dx, dy): first's p is second's p + flow(p). Kroeger et
al., "Fast Optical Flow using Dense Inverse Search", 2016. One between frames of 854x480 takes 0.04 CPU
seconds.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from tweenlet.flow.patch_search import FINEST, SMALLEST, search
from tweenlet.ops.dispatch import compiled

Pair = tuple[int, int]

PAIRS: tuple[Pair, ...] = ((1, 0), (1, 2), (2, 1), (2, 3))
"""Of a window of four frames, the pairs between which four-frame motion wants flow."""
_own = threading.local()  # an estimator holds buffers: one for each thread


def luma(frame: Tensor) -> Tensor:
    """The luma of a frame (3, H, W) in [0, 1] as (H, W) float32 of whole numbers to 255.

    On a CUDA device where the frame is there, on the CPU otherwise.
    """
    frame = frame if frame.is_cuda else frame.cpu()
    red, green, blue = frame.detach().float()
    whole: Tensor = (255 * 0.299 * red).add_(green, alpha=255 * 0.587).add_(blue, alpha=255 * 0.114)
    return whole.round_().clamp_(0, 255).nan_to_num_(0)  # one that is none would spread over all of the flow


def dis(first: Tensor, second: Tensor) -> Tensor:
    """Flow (B, 2, H, W) float32 in pixels from ``first`` to ``second``, both (B, H, W) of luma.

    By OpenCV where `ops.search` would be slow: on a CPU without native code. Frames with a side under
    SMALLEST are held not to move.
    """
    if first.device.type == "cpu" and not compiled():
        return opencv(first, second)
    return search(first, second)


def opencv(first: Tensor, second: Tensor) -> Tensor:
    """The same by OpenCV's estimator, medium preset."""
    if min(first.shape[-2:]) < SMALLEST:  # which OpenCV refuses
        return torch.zeros(first.shape[0], 2, *first.shape[-2:])
    if not hasattr(_own, "estimator"):
        import cv2  # 16 MB that only this needs

        _own.estimator = cv2.DISOpticalFlow.create(cv2.DISOpticalFlow_PRESET_MEDIUM)
    estimator: Any = _own.estimator
    found = []
    for pair in zip(first, second, strict=True):
        estimator.setFinestScale(FINEST)  # which a frame too small for it changes, for those after it as well
        flow = estimator.calc(*(luma.to(torch.uint8).contiguous().numpy() for luma in pair), None)
        found.append(torch.from_numpy(flow).permute(2, 0, 1))
    return torch.stack(found)


def window_flows(frames: Tensor) -> Tensor:
    """Frames (B, 4, 3, H, W) in [0, 1] -> flows (B, 4, 2, H, W) in pixels, of 1->0, 1->2, 2->1 and 2->3.

    An outer frame that repeats its neighbour, as at the ends of a clip, tells nothing of the motion there: it
    is taken to be steady.
    """
    flows = [torch.stack(fill_in(flows_for(window, needed_pairs(window)))) for window in frames]
    return torch.stack(flows).to(frames.device)


def flows_for(
    window: Sequence[Tensor] | Tensor,
    pairs: Sequence[Pair],
    find: Callable[[Tensor, Tensor], Tensor] = dis,
) -> dict[Pair, Tensor]:
    """Flow (2, H, W) between pairs of frames (3, H, W), by their places in a window."""
    lumas = {k: luma(window[k]) for k in {k for pair in pairs for k in pair}}
    first, second = (torch.stack([lumas[pair[k]] for pair in pairs]) for k in (0, 1))
    return dict(zip(pairs, find(first, second), strict=True))


def needed_pairs(window: Sequence[Tensor] | Tensor) -> list[Pair]:
    """Of PAIRS those between which flow is to be found: not from frames to ones that only repeat them."""
    return [
        pair for pair in PAIRS if pair in PAIRS[1:3] or not is_duplicate(window[pair[0]], window[pair[1]])
    ]


def fill_in(flows: Mapping[Pair, Tensor]) -> list[Tensor]:
    """The flows of PAIRS, of which those were found that `needed_pairs` names."""
    across, back = flows[1, 2], flows[2, 1]
    return [flows.get((1, 0), -across), across, back, flows.get((2, 3), -back)]


def find_duplicates(flows: Tensor) -> Tensor:
    """Whether the first frame and the last only repeat their neighbours, (B, 2), by flows (B, 4, 2, H, W).

    By `fill_in`, the flow to them is exactly that which goes the other way, turned round; so it is where
    there is no flow at all. Of a tile it is what it is of the whole frame.
    """
    back, across, other, on = flows.unbind(1)
    return torch.stack([(a == -b).flatten(1).all(1) for a, b in ((back, across), (on, other))], 1)


def is_duplicate(a: Tensor, b: Tensor) -> bool:
    """Whether two frames are equal."""
    return a is b or torch.equal(a, b)
