"""Any network is made small: those of the tests are built like IFRNet and RIFE."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.compression import networks
from tweenlet.compression.api import compress_module
from tweenlet.compression.budget import Budget
from tweenlet.compression.modules import (
    FrameAdapter,
    find_unprunable,
    guess_inputs,
    load_module,
    load_pruned,
    prune_module,
)
from tweenlet.training.data.batches import BatchSampler
from tweenlet.training.losses import build_objective
from tweenlet.training.options import DataOptions, DistillOptions, Plan

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
    print(reasons)
    assert set(reasons) == {"module.encoder.0.0", "module.coarse.1", "module.fine.1"}


@pytest.mark.parametrize(
    ("inputs", "message"),
    [((torch.rand(1, 5, 8, 8),), r"got \(1, 5, 8, 8\)"), (("a",), "got 'a'")],
)
def test_inputs_that_are_no_frames_are_refused(inputs, message):
    with pytest.raises(ValueError, match=message):
        FrameAdapter(nn.Identity(), inputs)
    with pytest.raises(ValueError, match=r"takes none of the inputs tried.*two frames: "):
        guess_inputs(nn.Linear(7, 7))


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


def test_a_file_and_a_class_are_a_network(tmp_path):
    torch.save({"state_dict": networks.IfrnetLike().state_dict()}, tmp_path / "my.pt")
    module = load_module(f"{networks.__file__}:IfrnetLike", tmp_path / "my.pt")
    assert not module.training
    (tmp_path / "broken.py").write_text("import nothing_like_this")
    (tmp_path / "plain.py").write_text(
        "class Plain:\n    pass\nclass Needs:\n    def __init__(self, x): pass"
    )
    for network, weights, message in (
        ("nowhere.py:X", None, "FILE.py:CLASS"), (f"{tmp_path}/broken.py:X", None, "cannot be executed"),
        (f"{tmp_path}/plain.py:X", None, "has no X"),
        (f"{tmp_path}/plain.py:Plain", None, "expected an nn.Mod"),
        (f"{tmp_path}/plain.py:Needs", None, "without arguments"),
        (f"{networks.__file__}:RifeLike", tmp_path / "my.pt", "another network"),
        (f"{networks.__file__}:RifeLike", tmp_path / "plain.py", "holds"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            load_module(network, weights)
    sys.modules.pop("_tweenlet_plain", None)
    assert Path(networks.__file__).exists()
