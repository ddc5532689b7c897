"""A module is pruned, distilled and scored; its weights fit its own class again."""

from __future__ import annotations

import copy

import pytest
import torch

from tests.compression.modules import networks
from tweenlet.compression.budget import Budget
from tweenlet.compression.modules.compress import compress_module
from tweenlet.compression.modules.weights import load_pruned
from tweenlet.training.options import DataOptions, DistillOptions, Plan

pytestmark = pytest.mark.optional
pytest.importorskip("torch_pruning")


@pytest.mark.slow
def test_a_module_is_pruned_taught_saved_loaded_and_exported(samples, tmp_path):
    plan = Plan(passes=1, distill=DistillOptions(steps=2, warmup=1, save_every=1))
    module, budget = networks.IfrnetLike(), Budget.parse("params", "60%")
    heard: list[str] = []
    report = compress_module(
        module, samples, samples, tmp_path, budget, plan, DataOptions(batch=2, crop=64), notify=heard.append,
    )  # fmt: skip
    assert report is not None
    assert report.parameters[1] <= 0.6 * report.parameters[0]
    assert "coarse.1 keeps its channels" in (tmp_path / "report.md").read_text()
    assert heard[0].startswith("pruned to")
    pair = torch.rand(1, 3, 64, 64), torch.rand(1, 3, 64, 64)
    again = load_pruned(networks.IfrnetLike(), tmp_path / "student.safetensors").eval()
    with torch.no_grad():
        torch.testing.assert_close(again(*pair), report.module(*pair), atol=1e-5, rtol=0)
    assert torch.export.export(again, pair).module()(*pair)["imgt_pred"].shape == (1, 3, 64, 64)
    with pytest.raises(ValueError, match="another network"):
        load_pruned(networks.RifeLike(), tmp_path / "student.safetensors")


@pytest.mark.slow
def test_another_compression_does_not_take_over_the_folder(samples, tmp_path):
    plan = Plan(passes=1, distill=DistillOptions(steps=1, warmup=1, save_every=1))
    data = DataOptions(batch=2, crop=64)
    module = networks.IfrnetLike()
    compress_module(module, samples, samples, tmp_path, Budget.parse("params", "60%"), plan, data)
    trained_further = copy.deepcopy(module)
    with torch.no_grad():
        next(trained_further.parameters()).add_(0.1)
    for budget, other in (("70%", module), ("60%", trained_further)):
        with pytest.raises(ValueError, match="holds another run"):
            compress_module(other, samples, samples, tmp_path, Budget.parse("params", budget), plan, data)
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "report.md").write_text("not ours")
    with pytest.raises(FileExistsError, match="not written by tweenlet"):
        compress_module(
            module, samples, samples, tmp_path / "theirs", Budget.parse("params", "60%"), plan, data
        )
