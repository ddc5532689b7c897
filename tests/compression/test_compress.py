from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import cv2
import pytest
import torch

from tweenlet.compression import compress as module
from tweenlet.compression.budget import Budget
from tweenlet.compression.compress import compress, compress_to_each, fresh
from tweenlet.compression.latency_table import Timing
from tweenlet.compression.prune import prune
from tweenlet.network import checkpoint as weights
from tweenlet.network.config import RIFE, TINY, FlowLevel, IntermediateFlowConfig, ModelConfig
from tweenlet.network.cost import cost
from tweenlet.network.stmfnet import STMFNet
from tweenlet.training.data.batches import BatchSampler
from tweenlet.training.losses import build_objective
from tweenlet.training.options import DataOptions, DistillOptions, Plan, SparsifyOptions

SPARSIFY = SparsifyOptions(steps=8, warmup=1, log_every=1, save_every=2, validate_every=4)
DISTILL = DistillOptions(steps=8, learning_rate=1e-3, warmup=1, log_every=1, save_every=2, validate_every=4)
PLAN = Plan(prune="obproxsg", passes=2, density=0.3, sparsify=SPARSIFY, distill=DISTILL)
COURSE = DataOptions(batch=2, crop=32)
BUDGET = Budget.parse("params", "90k")


@pytest.fixture
def teacher(monkeypatch) -> STMFNet:
    monkeypatch.setattr(module, "compaction", lambda *a, **_: real(*a, size=(64, 48), timed=True))
    torch.manual_seed(0)
    return STMFNet(TINY)


real = module.compaction


class KilledError(Exception):
    pass


def student_of(folder: Path) -> dict[str, torch.Tensor]:
    return weights.load(folder / "student.safetensors").state_dict()


@pytest.mark.long
def test_one_call_makes_a_network_small_and_goes_on_where_it_was_killed(samples, tmp_path, teacher):
    before = {name: tensor.clone() for name, tensor in teacher.state_dict().items()}
    heard: list[str] = []
    whole = compress(
        teacher,
        samples,
        samples,
        tmp_path / "whole",
        BUDGET,
        PLAN,
        COURSE,
        command="typed",
        notify=heard.append,
    )
    assert whole is not None
    student = weights.load(tmp_path / "whole" / "student.safetensors")
    assert sum(p.numel() for p in student.parameters()) <= 90_000
    assert whole.compaction.after == student.config
    assert [entrant.name for entrant in whole.quality.entrants] == ["teacher", "student", "blend"]
    assert all(torch.equal(tensor, before[name]) for name, tensor in teacher.state_dict().items())
    words = [re.split(r":| of ", line)[0] for line in heard]
    assert words == ["sparsified", "a density", "compacted", "distilled"]
    for name in ("report.md", "report.json", "report.html", "densities.png"):
        assert (tmp_path / "whole" / name).stat().st_size > 500
    report = json.loads((tmp_path / "whole" / "report.json").read_text())
    assert report["compaction"]["after"] == student.config.to_json()

    for where, step in (("sparsifying", 5), ("distilling", 3), ("evaluating", 1)):

        def kill(what, done, _total, where=where, step=step):
            if (what, done) == (where, step):
                raise KilledError

        with pytest.raises(KilledError):
            compress(teacher, samples, samples, tmp_path / "parts", BUDGET, PLAN, COURSE, progress=kill)
    again = compress(teacher, samples, samples, tmp_path / "parts", BUDGET, PLAN, COURSE)
    assert again is not None
    one, two = student_of(tmp_path / "whole"), student_of(tmp_path / "parts")
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert again.quality.mean("psnr", "student") == whole.quality.mean("psnr", "student")

    with pytest.raises(ValueError, match=r"holds another run: density was 0.3, now 0.5"):
        compress(teacher, samples, samples, tmp_path / "parts", None, replace(PLAN, density=0.5), COURSE)


@pytest.mark.long
def test_an_interruption_saves_the_stage(samples, tmp_path, teacher):
    def interrupt(what, done, _total):
        if (what, done) == ("distilling", 3):
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(KeyboardInterrupt):
        compress(teacher, samples, samples, tmp_path, BUDGET, PLAN, COURSE, progress=interrupt)
    assert torch.load(tmp_path / "distill" / "state.pt", weights_only=True)["step"] == 3
    assert not (tmp_path / "report.md").exists()


@pytest.mark.slow
def test_a_share_of_milliseconds_is_that_of_the_first_run(samples, tmp_path, teacher, monkeypatch):
    """Another clock, or another version of the code, measures another time for the whole."""

    class Clock:
        pace = 1e-3

        def __init__(self, *_: object) -> None:
            Clock.pace *= 0.9

        def estimate(self, config: ModelConfig) -> float:
            return self.pace * cost(config, 64, 64).multiply_adds

        def measure(self, config: ModelConfig) -> Timing:
            return Timing({"all": self.estimate(config)}, (self.estimate(config),))

    monkeypatch.setattr("tweenlet.compression.budget.LatencyTable", Clock)
    plan, share = (
        Plan(prune="uniform", passes=1, distill=replace(DISTILL, steps=2)),
        Budget.parse("ms", "60%"),
    )

    def kill(what, _done, _total):
        if what == "evaluating":
            raise KilledError

    with pytest.raises(KilledError):
        compress(teacher, samples, samples, tmp_path, share, plan, COURSE, progress=kill)
    limit = json.loads((tmp_path / "plan.json").read_text())["limit"]
    report = compress(teacher, samples, samples, tmp_path, share, plan, COURSE)
    assert report is not None
    assert report.settings["budget"].startswith(f"at most {limit:,.0f} ms")
    for other in ("50%", "60%@64x64"):
        with pytest.raises(ValueError, match="budget was "):
            compress(teacher, samples, samples, tmp_path, Budget.parse("ms", other), plan, COURSE)
    with pytest.raises(ValueError, match="latency_command was "):
        compress(teacher, samples, samples, tmp_path, replace(share, command="time {onnx}"), plan, COURSE)


def test_a_network_from_scratch_is_one_of_its_seed():
    one, two, other = (fresh(TINY, seed).state_dict()["fusion.final.shortcut.weight"] for seed in (1, 1, 2))
    assert torch.equal(one, two)
    assert not torch.equal(one, other)


@pytest.mark.slow
def test_an_intermediate_flow_network_is_pruned_and_taught_by_its_flows(samples, tmp_path, teacher):
    levels = FlowLevel(4, 24, 3), FlowLevel(2, 16, 2), FlowLevel(1, 16, 2)
    torch.manual_seed(0)
    rife = STMFNet(replace(RIFE, intermediate=IntermediateFlowConfig(levels, (8, 2), 4)))
    plan = Plan(passes=2, distill=replace(DISTILL, steps=2))
    heard: list[str] = []
    with pytest.raises(ValueError, match="needs a budget"):
        compress(rife, samples, samples, tmp_path / "none", None, plan, COURSE)
    budget = Budget.parse("params", "60%")
    report = compress(rife, samples, samples, tmp_path / "out", budget, plan, COURSE, notify=heard.append)
    assert report is not None
    student = weights.load(tmp_path / "out" / "student.safetensors")
    assert sum(p.numel() for p in student.parameters()) <= 0.6 * sum(p.numel() for p in rife.parameters())
    assert "flows" in report.distill_log[-2]
    assert report.densities is None
    (validated,) = [line["psnr"] for line in report.distill_log if "psnr" in line]
    assert report.quality.mean("psnr", "student") == pytest.approx(validated, abs=1e-3)  # chart and table
    text = (tmp_path / "out" / "report.md").read_text()
    assert "| pruned by | taylor |" in re.sub(" +", " ", text)
    assert text.index("sable") < text.index("parameters")  # the verdict comes first
    assert not (tmp_path / "out" / "densities.png").exists()
    with pytest.raises(ValueError, match="multiples of 16, got 24"):
        compress(rife, samples, samples, tmp_path / "crop", budget, plan, replace(COURSE, crop=24))
    assert not (tmp_path / "crop" / "start.safetensors").exists()  # before minutes of pruning


@pytest.mark.slow
@pytest.mark.parametrize("method", ["uniform", "magnitude"])
def test_other_ways_to_the_same_budget(samples, teacher, method):
    batches = [BatchSampler(samples, 1, 64, 0).batch_at(0)]
    found = prune(teacher, method, BUDGET, batches, build_objective(DISTILL))
    assert 70_000 < sum(p.numel() for p in found.parameters()) <= 90_000


def test_several_budgets_are_all_looked_at_before_the_first_is_worked_on(samples, tmp_path, teacher):
    for impossible, message in (
        ("1", "the smallest that this one can become"),
        ("9M", "the budget is met already"),
    ):
        budgets = {name: Budget.parse("params", name) for name in ("70%", impossible)}
        with pytest.raises(ValueError, match=message):
            compress_to_each(teacher, samples, samples, tmp_path / "out", budgets)
    assert not (tmp_path / "out").exists()


@pytest.mark.long
def test_several_budgets_and_the_groups_of_a_penalty(samples, tmp_path, teacher):
    plan = Plan(
        prune="group", passes=1, sparsify=replace(SPARSIFY, steps=4), distill=replace(DISTILL, steps=2)
    )
    budgets = {name: Budget.parse("params", name) for name in ("70%", "50%")}
    reports = compress_to_each(teacher, samples, samples, tmp_path, budgets, plan, COURSE)
    assert reports is not None
    sizes = [report.compaction.rows[-1].parameters for report in reports.values()]
    for (before, after), share in zip(sizes, (0.7, 0.5), strict=True):
        assert after <= share * before
    table = (tmp_path / "tradeoff.md").read_text()
    assert [line.split("|")[1].strip() for line in table.splitlines()[2:6]] == [
        "teacher",
        "70%",
        "50%",
        "blend",
    ]
    assert "| feature distance |" in re.sub(" +", " ", table)
    assert (tmp_path / "tradeoff.png").stat().st_size > 5000
    assert (tmp_path / "50%" / "report.html").exists()
    scores = [path.stat().st_mtime_ns for path in tmp_path.rglob("scores/*.jsonl")]
    assert compress_to_each(teacher, samples, samples, tmp_path, budgets, plan, COURSE) is not None
    assert len(list(tmp_path.rglob("scores/*.jsonl"))) == len(scores)  # known already


@pytest.mark.long
def test_the_command_survives_a_kill(stills, tmp_path):
    """`tweenlet compress`, killed without a warning in the middle, then typed again."""
    for name, still in zip("abc", stills, strict=False):
        (tmp_path / "data" / name).mkdir(parents=True)
        for k in range(8):
            cv2.imwrite(str(tmp_path / "data" / name / f"{k}.png"), still[:48, 3 * k : 3 * k + 64])
    torch.manual_seed(0)
    weights.save(tmp_path / "teacher.safetensors", STMFNet(TINY))
    typed = (
        f"compress {tmp_path}/teacher.safetensors {tmp_path}/data -o {tmp_path}/out --params 90k "
        "--batch 2 --crop 32 --recipe.samples 6 --recipe.validation 2 --recipe.crop 32 --recipe.synthetic 0 "
        "--prune obproxsg --passes 2 --density 0.3 "
        "--sparsify.steps 30 --sparsify.save-every 1 --distill.steps 4 --distill.save-every 1"
    ).split()
    script = "import torch; torch.set_num_threads(1); from tweenlet.cli import main; main()"
    command = [sys.executable, "-c", script]
    first = subprocess.Popen([*command, *typed], stderr=subprocess.DEVNULL)
    state, until = tmp_path / "out" / "sparsify" / "state.pt", time.monotonic() + 120
    while not state.exists() and first.poll() is None and time.monotonic() < until:
        time.sleep(0.02)
    first.kill()
    first.wait()
    assert state.exists()
    assert not (tmp_path / "out" / "report.html").exists()
    done = subprocess.run([*command, *typed], capture_output=True, text=True, timeout=250, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "| student |" in done.stdout
    assert (tmp_path / "out" / "report.html").exists()
    assert "3 clips, 24 frames" in done.stderr
