"""The flow cache: motion is known by the frames' numbers, found once, and let go."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tweenlet.flow.dis import PAIRS, dis, window_flows
from tweenlet.interpolation import flow_cache
from tweenlet.interpolation.flow_cache import ClassicalFlow, FlowCache


def test_frames_are_told_apart_by_number_though_a_source_reuses_its_memory() -> None:
    cache, buffer = FlowCache(ClassicalFlow()), [torch.empty(3, 16, 16) for _ in range(4)]
    for window in range(8):
        for frame in buffer:
            frame.copy_(torch.rand(3, 16, 16))
        numbers = range(4 * window, 4 * window + 4)
        expected = window_flows(torch.stack(buffer)[None])[0]
        assert torch.equal(torch.stack(cache.window(buffer, numbers)), expected)


def test_only_the_latest_pairs_are_remembered() -> None:
    cache = FlowCache(ClassicalFlow(), capacity=12)
    for window in range(6):
        cache.window([torch.rand(3, 16, 16) for _ in range(4)], range(4 * window, 4 * window + 4))
    assert len(cache) == 12


def test_few_flows_of_large_frames_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow_cache, "MAX_BYTES", 3 * 2 * 32 * 32 * 4)
    cache = FlowCache(ClassicalFlow())
    for window in range(3):
        cache.window([torch.rand(3, 32, 32) for _ in range(4)], range(4 * window, 4 * window + 4))
    assert len(cache) == 4


@pytest.mark.parametrize("max_bytes", [2**29, 1])  # of frames however large, what one window has is kept
def test_each_window_of_a_stream_brings_two_new_flows(
    max_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def find(first: Tensor, second: Tensor) -> Tensor:
        asked.append(len(first))
        return (second - first)[:, None].expand(-1, 2, -1, -1)

    monkeypatch.setattr(flow_cache, "MAX_BYTES", max_bytes)
    monkeypatch.setattr(flow_cache, "dis", find)
    cache = FlowCache(ClassicalFlow())
    frames = [torch.full((3, 16, 16), k * k / 255) for k in range(7)]
    for first in range(4):
        flows = cache.window(frames[first : first + 4], range(first, first + 4))
        expected = [(first + b) ** 2 - (first + a) ** 2 for a, b in PAIRS]
        assert [round(flow.mean().item()) for flow in flows] == expected
    assert asked == [2, 2] + [2] * 3


def test_no_flow_is_looked_for_where_the_outer_frames_repeat(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = []
    monkeypatch.setattr(flow_cache, "dis", lambda a, b: pairs.extend(a) or dis(a, b))
    a, b = torch.rand(3, 32, 48), torch.rand(3, 32, 48)
    flows = FlowCache(ClassicalFlow()).window([a, a, b, b], [0, 0, 1, 1])
    assert len(pairs) == 2
    assert torch.equal(torch.stack(flows), window_flows(torch.stack([a, a, b, b])[None])[0])


class Learned:
    """A motion that a network would learn: one tensor for the middle pair."""

    def __init__(self) -> None:
        self.found = 0

    def pairs(self, window):
        return [(0, 1), (1, 2), (2, 3)]

    def find(self, window, pairs):
        self.found += len(pairs)
        return {(a, b): (window[b] - window[a]).mean()[None] for a, b in pairs}

    def assemble(self, motion):
        return [motion[pair] for pair in self.pairs(None)]


def test_any_motion_of_pairs_may_be_remembered() -> None:
    motion = Learned()
    cache, frames = FlowCache(motion), [torch.full((3, 4, 4), float(k)) for k in range(6)]
    for first in range(3):
        assert [x.item() for x in cache.window(frames[first : first + 4], range(first, first + 4))] == [1] * 3
    assert motion.found == 5


def test_a_device_finds_flow_by_a_recording(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tensor, "is_cuda", True)
    motion = ClassicalFlow()
    monkeypatch.setattr(motion, "_replayed", lambda one, other: (other - one)[:, None].expand(-1, 2, -1, -1))
    flows = FlowCache(motion).window([torch.full((3, 16, 16), k / 255) for k in (1, 2, 5, 6)], range(4))
    assert [round(flow.mean().item()) for flow in flows] == [-1, 3, -3, 1]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_a_device_replays_what_the_search_finds() -> None:
    frames = [torch.rand(3, 64, 96, device="cuda") for _ in range(5)]
    cache = FlowCache(ClassicalFlow())
    for first in range(2):
        window = frames[first : first + 4]
        flows, expected = (
            cache.window(window, range(first, first + 4)),
            window_flows(torch.stack(window)[None])[0],
        )
        assert ((torch.stack(flows).to(expected) - expected).abs() < 1e-2).float().mean() > 0.99
