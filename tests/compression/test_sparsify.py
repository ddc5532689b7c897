from __future__ import annotations

import json

import pytest
import torch

from tweenlet.compression.densities import densities
from tweenlet.compression.sparsify import sparsify
from tweenlet.network.checkpoint import load
from tweenlet.network.config import TINY
from tweenlet.network.stmfnet import STMFNet
from tweenlet.training.data.batches import BatchSampler
from tweenlet.training.options import SparsifyOptions

OPTIONS = SparsifyOptions(steps=60, warmup=1, log_every=10, save_every=20)


@pytest.mark.long
def test_a_network_learns_on_and_reaches_the_density(samples, tmp_path):
    torch.manual_seed(0)
    model = STMFNet(TINY)
    biases = [p.detach().clone() for p in model.parameters() if p.dim() == 1 and p.requires_grad]
    done = sparsify(model, BatchSampler(samples, 2, 32), samples, OPTIONS, tmp_path, density=0.3)
    found = densities(done.model)
    assert found.of().share == pytest.approx(0.3, abs=0.001)
    assert densities(load(tmp_path / "model.safetensors")) == found  # the zeros are what is kept
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    told = [line["density all"] for line in lines if "density all" in line]
    assert told == sorted(told, reverse=True)
    assert told[0] > 0.6 > 0.35 > told[-1]
    assert all(
        0 < lines[-2][f"density {part}"] < 1 for part in ("features", "multi_flow", "fusion", "texture")
    )
    with pytest.raises(ValueError, match=r"density was 0\.3, now 0\.5"):
        sparsify(STMFNet(TINY), BatchSampler(samples, 2, 32), None, OPTIONS, tmp_path, density=0.5)
    after = [p for p in model.parameters() if p.dim() == 1 and p.requires_grad]
    assert sum(int((a == 0).sum()) - int((b == 0).sum()) for a, b in zip(after, biases, strict=True)) <= 0


def test_a_density_without_meaning(samples, tmp_path):
    with pytest.raises(ValueError, match=r"density in \(0, 1\].*got 0"):
        sparsify(STMFNet(TINY), BatchSampler(samples, 2, 32), None, OPTIONS, tmp_path, density=0)
