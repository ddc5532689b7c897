"""CUDA graphs: one for each kind of inputs, the latest few kept. On a device: test_fused_cuda.py."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from tweenlet.inference import cuda_graphs


@pytest.fixture
def lengths(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How long the inputs of the recordings made so far are; these run the function itself."""
    recorded: list[int] = []

    def record(run: Callable[..., Tensor], inputs: Sequence[Tensor]) -> Callable[..., Tensor]:
        recorded.append(len(inputs[0]))
        return run

    monkeypatch.setattr(cuda_graphs, "CapturedGraph", record)
    return recorded


def test_other_types_and_devices_are_recorded_anew(lengths: list[int]) -> None:
    replay = cuda_graphs.CudaGraphCache(torch.neg)
    for x in (torch.ones(2), torch.ones(2).double(), torch.ones(2, device="meta"), torch.ones(2)):
        assert replay(x).dtype == x.dtype
    assert lengths == [2, 2, 2]


def test_the_latest_used_are_kept(lengths: list[int]) -> None:
    replay = cuda_graphs.CudaGraphCache(torch.neg)
    for size in (1, 2, 3, 4, 1, 5, 1, 4, 2):  # 5 takes the place of 2, and 2 then of 3
        assert torch.equal(replay(torch.ones(size)), -torch.ones(size))
    assert lengths == [1, 2, 3, 4, 5, 2]
