"""The default network on a CPU by the flow that it has on a CUDA device, as a peer of the one by OpenCV's.

tweenlet evaluate default --peer "searched=scripts/device_flow.py:default" --on clips:../shared/data/eval --out scores
"""  # noqa: E501

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

import tweenlet
from tweenlet.flows import Flows
from tweenlet.ops.dis import four_flows, luma
from tweenlet.ops.search import search


class Searched(Flows):
    """Flows of windows by `tweenlet.ops.search`, wherever the frames are."""

    def four(self, frames: Sequence[Tensor]) -> list[Tensor]:
        """As those of `tweenlet.flows`, each time anew."""
        lumas = [luma(frame)[None] for frame in frames]
        return four_flows(frames, lambda a, b: search(lumas[a], lumas[b])[0])


interpolator = tweenlet.Interpolator(tweenlet.load("default", device="cpu"))
interpolator.flows = Searched()


def default(frames: Tensor) -> Tensor:
    """Four frames (4, 3, H, W) in [0, 1] -> the one in their middle (3, H, W)."""
    return interpolator.middle(list(torch.as_tensor(frames)))
