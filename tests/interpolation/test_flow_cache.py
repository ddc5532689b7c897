"""Flows: frames are told apart by identity, and let go."""

from __future__ import annotations

from weakref import ref

import pytest
import torch
from torch import Tensor

from tweenlet.flow.dis import PAIRS, window_flows
from tweenlet.interpolation.flow_cache import Flows


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


@pytest.mark.parametrize("kept_bytes", [2**29, 1])  # of frames however large, what one window has is kept
def test_each_window_of_a_stream_brings_two_new_flows(
    kept_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def found(first: Tensor, second: Tensor) -> Tensor:
        asked.append(len(first))
        return (second - first)[:, None].expand(-1, 2, -1, -1)

    monkeypatch.setattr("tweenlet.interpolation.flow_cache.KEPT_BYTES", kept_bytes)
    monkeypatch.setattr("tweenlet.interpolation.flow_cache.dis", found)
    flows = Flows()
    frames = [torch.full((3, 16, 16), k * k / 255) for k in range(7)]
    for first in range(4):
        told = flows.four(frames[first : first + 4])
        wanted = [(first + b) ** 2 - (first + a) ** 2 for a, b in PAIRS]
        assert [round(flow.mean().item()) for flow in told] == wanted
    assert asked == [2, 2] + [2] * 3


def test_a_device_finds_flow_by_a_recording(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tensor, "is_cuda", True)
    flows = Flows()
    monkeypatch.setattr(flows, "_recorded", lambda one, other: (other - one)[:, None].expand(-1, 2, -1, -1))
    told = flows.four([torch.full((3, 16, 16), k / 255) for k in (1, 2, 5, 6)])
    assert [round(flow.mean().item()) for flow in told] == [-1, 3, -3, 1]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_a_device_replays_what_the_search_finds() -> None:
    frames = [torch.rand(3, 64, 96, device="cuda") for _ in range(5)]
    flows = Flows()
    for window in (frames[:4], frames[1:]):
        wanted = window_flows(torch.stack(window)[None])
        assert ((flows(window) - wanted).abs() < 1e-2).float().mean() > 0.99
