"""Recordings: one for each of the shapes given, the latest few kept. Device: network/test_fast_cuda.py."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from tweenlet import recordings


def test_the_latest_used_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    def record(run: Callable[..., Tensor], inputs: Sequence[Tensor]) -> Callable[..., Tensor]:
        made.append(len(inputs[0]))
        return run

    monkeypatch.setattr(recordings, "Recording", record)
    replay = recordings.Recordings(torch.neg)
    for size in (1, 2, 3, 4, 1, 5, 1, 4, 2):  # 5 takes the place of 2, and 2 then of 3
        assert torch.equal(replay(torch.ones(size)), -torch.ones(size))
    assert made == [1, 2, 3, 4, 5, 2]
