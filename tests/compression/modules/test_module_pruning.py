"""Layers that cannot lose a channel are found, and the others are pruned to a budget."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.compression.modules import networks
from tweenlet.compression.budget import Budget
from tweenlet.compression.modules.adapter import FrameAdapter, guess_inputs
from tweenlet.compression.modules.pruning import find_unprunable, prune_module
from tweenlet.training.data.batches import BatchSampler
from tweenlet.training.losses import build_objective
from tweenlet.training.options import DistillOptions

pytestmark = pytest.mark.optional
pytest.importorskip("torch_pruning")
OBJECTIVE = build_objective(DistillOptions())
KINDS = [networks.RifeLike, networks.IfrnetLike, networks.FourFrames]


def adapter_of(kind: type[nn.Module]) -> FrameAdapter:
    module = kind().eval()
    return FrameAdapter(module, guess_inputs(module)).eval()


@pytest.mark.parametrize("kind", KINDS)
def test_a_network_of_any_kind_meets_a_budget_and_still_runs(samples, tmp_path, kind):
    adapter = adapter_of(kind)
    before = sum(p.numel() for p in adapter.parameters())
    batches = [BatchSampler(samples, 2, 64).batch_at(step) for step in range(2)]
    pruned = prune_module(adapter, Budget.parse("params", "60%"), batches, OBJECTIVE)
    after = sum(p.numel() for p in pruned.adapter.parameters())
    assert pruned.parameters == (before, after)
    assert 0.3 * before < after <= 0.6 * before
    assert sum(p.numel() for p in adapter.parameters()) == before
    with torch.no_grad():
        output = pruned.adapter(batches[0].frames)
    assert output.shape == batches[0].truth.shape
    assert output.isfinite().all()


def test_what_cannot_be_pruned_is_named_with_its_reason():
    frames = torch.rand(1, 4, 3, 64, 64)
    reasons = find_unprunable(adapter_of(networks.RifeLike), frames)
    assert set(reasons) == {"module.levels.0.leave.0", "module.levels.1.leave.0"}
    assert "does not run without one of its channels" in reasons["module.levels.0.leave.0"]
    reasons = find_unprunable(adapter_of(networks.IfrnetLike), frames)
    assert set(reasons) == {"module.encoder.0.0", "module.coarse.1", "module.fine.1"}
