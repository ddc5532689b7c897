"""The default network on a CPU by the flow that it has on a CUDA device, as a peer of the one by OpenCV's.

tweenlet evaluate default --peer "searched=scripts/device_flow.py:default" --on clips:../shared/data/eval --out scores
"""  # noqa: E501

from __future__ import annotations

import torch
from torch import Tensor

import tweenlet
from tweenlet.flows import Flows
from tweenlet.ops.dis import searched_flows

interpolator = tweenlet.Interpolator(tweenlet.load("default", device="cpu"))
interpolator.flows = Flows()
interpolator.flows.four = searched_flows  # type: ignore[method-assign]


def default(frames: Tensor) -> Tensor:
    """Four frames (4, 3, H, W) in [0, 1] -> the one in their middle (3, H, W)."""
    return interpolator.middle(list(torch.as_tensor(frames)))
