"""Flows: frames are told apart by identity, and let go."""

from __future__ import annotations

from weakref import ref

import torch

from tweenlet.flows import Flows
from tweenlet.ops.dis import window_flows


def test_new_frames_in_the_place_of_old_ones_are_new() -> None:
    flows = Flows()
    for _ in range(40):  # each window takes the memory, and so the ids, of one before it
        frames = [torch.rand(3, 16, 16) for _ in range(4)]
        assert torch.equal(flows(frames), window_flows(torch.stack(frames)[None]))


def test_only_the_latest_frames_are_held() -> None:
    flows, seen = Flows(kept=12), []
    for _ in range(6):
        frames = [torch.rand(3, 16, 16) for _ in range(4)]
        flows(frames)
        seen.append(ref(frames[1]))
    del frames
    assert [frame() is not None for frame in seen] == [False] * 3 + [True] * 3  # four flows a window
