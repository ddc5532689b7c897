from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tweenlet.compression.budget import Budget
from tweenlet.compression.groups import (
    load_masks,
    masks_of,
    save_masks,
    shrinking_optimiser,
)
from tweenlet.compression.inherit import inherit
from tweenlet.compression.prune import search_rounds
from tweenlet.network.config import RIFE, TINY, FlowLevel, IntermediateFlowConfig
from tweenlet.network.stmfnet import STMFNet
from tweenlet.training.data.batches import BatchSampler
from tweenlet.training.loop import train
from tweenlet.training.losses import build_objective
from tweenlet.training.options import TrainOptions

LEVELS = FlowLevel(4, 24, 3), FlowLevel(2, 16, 2), FlowLevel(1, 16, 2)
SMALL_RIFE = replace(RIFE, intermediate=IntermediateFlowConfig(LEVELS, (8, 2), 4))
OPTIONS = TrainOptions(steps=10, learning_rate=1e-3, warmup=1, ema_decay=0.0, freeze_bn_after=0.0)


@pytest.mark.slow
@pytest.mark.parametrize(
    "config", [SMALL_RIFE, pytest.param(TINY, marks=pytest.mark.long)], ids=["levels", "branches"]
)
def test_what_goes_is_zero_at_the_end_and_cutting_it_changes_nothing(samples, tmp_path, config):
    torch.manual_seed(0)
    network = STMFNet(config).eval()
    batches = BatchSampler(samples, 2, 64, 0)
    budget = Budget.parse("params", "50%")
    rounds = search_rounds(network, budget, [batches.batch_at(0)], build_objective(OPTIONS))
    masks, smaller = masks_of(network, rounds), rounds[-1].config
    assert 0.3 < sum(int(m.sum()) for m in masks.values()) / sum(m.numel() for m in masks.values()) < 0.6
    save_masks(tmp_path / "groups.safetensors", masks, smaller)
    masks, smaller = load_masks(tmp_path / "groups.safetensors")

    removed = [(p, ~masks[name]) for name, p in network.named_parameters()]
    before = sum(p.detach()[mask].abs().sum() for p, mask in removed)
    optimiser = shrinking_optimiser(network, masks, OPTIONS)
    shares = list[float]()

    def watch(_info):
        shares.append(float(sum(p.detach()[mask].abs().sum() for p, mask in removed) / before))

    sparse = train(network, batches, None, OPTIONS, tmp_path / "run", watch, optimiser=optimiser).model
    assert 0.7 < shares[0] < 0.9
    assert 0.05 < shares[4] < 0.3
    assert shares[5:] == [0.0] * 5  # the rest is debiasing
    smaller_network = inherit(sparse, smaller)
    frames = batches.batch_at(3).frames
    with torch.no_grad():
        torch.testing.assert_close(smaller_network(frames), sparse.eval()(frames), atol=2e-5, rtol=0)


def test_masks_that_are_damaged_are_named(tmp_path):
    (tmp_path / "groups.safetensors").write_bytes(b"half")
    with pytest.raises(ValueError, match=r"groups\.safetensors is damaged"):
        load_masks(tmp_path / "groups.safetensors")
