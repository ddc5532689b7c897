#!/usr/bin/env python
"""Which way to prune is best: every method, with and without a teacher, the same budget, steps and seeds.

    runs/pruning.py --out ../run/pruning --store ../run/store --network rife.safetensors \
        --network weights/teacher.safetensors DATA ...

Each method makes a network of 40 % of the parameters, and one of 60 % of the milliseconds, which then
learns for the steps that the method's own training has left of STEPS. Rows are appended to OUT/rows.jsonl,
those with a teacher first, and the same command goes on where it was stopped. `--write FILE` collects them as
JSON, without DATA those that are there; scripts/results.py makes the table of docs/compression.md of it.
"""

from __future__ import annotations

import argparse
import copy
import json
import tempfile
import time
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tweenlet.compression.budget import Budget
from tweenlet.compression.compress import fresh
from tweenlet.compression.distill import Distillation, FlowLoss, network_teacher
from tweenlet.compression.groups import masks_of, shrinking_optimiser
from tweenlet.compression.inherit import four_frames, inherit
from tweenlet.compression.prune import prune, search_rounds
from tweenlet.compression.search import Round, cut
from tweenlet.compression.sparsify import sparsify
from tweenlet.evaluation.between import detail_kept
from tweenlet.evaluation.features import feature_distance
from tweenlet.evaluation.metrics import psnr
from tweenlet.inference.machine import describe_machine
from tweenlet.network import checkpoint
from tweenlet.network.cost import cost
from tweenlet.network.stmfnet import STMFNet
from tweenlet.training.data.batches import BatchSampler, collate
from tweenlet.training.data.build import open_datasets
from tweenlet.training.data.dataset import CropDataset
from tweenlet.training.loop import train
from tweenlet.training.losses import build_objective
from tweenlet.training.options import DataOptions, Recipe, SparsifyOptions, TrainOptions

METHODS = ("uniform", "magnitude", "taylor", "group", "obproxsg", "scratch")
SHARES = {"params": 0.4, "ms": 0.6}
"""What is equal, as a share of what a network costs: parameters, or milliseconds for a frame of 854x480.

With all its levels RIFE takes more than 40 % of its milliseconds, however narrow they are.
"""
STEPS, FIRST, BATCH, CROP, SCORED, SIDE = 30, 10, 2, 128, 16, 256
"""Steps in all, and in a stage of pruning; training and scored crops."""
RATES = {True: 1e-4, False: 1e-3}
"""Learning rates of networks of intermediate flow, and of others."""


def main() -> None:
    """Compute the rows that are missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", nargs="*", type=Path)
    for name in ("--out", "--store", "--write"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--network", action="append", default=[])
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    path = arguments.out / "rows.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    if not arguments.data:
        write(arguments.write, rows)
        return
    options = DataOptions(store=arguments.store, recipe=Recipe(samples=5000, crop=288))
    samples, held_out = open_datasets(options, arguments.data, arguments.out, print)
    assert isinstance(samples, CropDataset)
    assert held_out is not None
    arguments.out.mkdir(parents=True, exist_ok=True)
    computed = {tuple(row[key] for key in ("taught", "budget", "network", "seed", "method")) for row in rows}
    order = product((True, False), SHARES, arguments.network, range(arguments.seeds), METHODS)
    for taught, kind, network, seed, method in order:
        if (taught, kind, Path(network).stem, seed, method) not in computed:
            row = compute(network, kind, method, taught, seed, samples, held_out)
            with path.open("a") as file:
                file.write(json.dumps(row) + "\n")
            rows.append(row)
            print(row, flush=True)
    if arguments.write:
        write(arguments.write, rows)


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    """Collect the rows with the settings that they share."""
    settings = {
        "shares": SHARES, "steps": STEPS, "first": FIRST, "batch": BATCH, "crop": CROP, "scored": SCORED,
    }  # fmt: skip
    label = {"kind": "pruning", "date": f"{datetime.now(UTC):%Y-%m-%d}", "machine": describe_machine()}
    path.write_text(json.dumps({**label, "settings": settings, "rows": rows}, indent=1) + "\n")


@cache
def batches_of(samples: CropDataset, seed: int) -> BatchSampler:
    """The batches to measure on, and of a stage that prunes."""
    return BatchSampler(samples, BATCH, CROP, seed)


@cache
def budget_of(network: str, kind: str) -> Budget:
    """A share of what a network costs."""
    return Budget(kind, SHARES[kind], relative=True).of(checkpoint.load(network).config)


def compute(
    network: str,
    kind: str,
    method: str,
    distilled: bool,
    seed: int,
    samples: CropDataset,
    held_out: CropDataset,
) -> dict[str, Any]:
    """Prune, train and score once."""
    began = time.process_time()
    torch.manual_seed(seed)
    teacher = checkpoint.load(network)
    flows = teacher.config.intermediate is not None
    first = FIRST if method in ("group", "obproxsg") else 0
    options = TrainOptions(
        steps=STEPS - first, learning_rate=RATES[flows], warmup=5, ema_decay=0.9, freeze_bn_after=0.5
    )
    batches = batches_of(samples, seed)
    later = BatchSampler(samples, BATCH, CROP, seed + 1000)
    with tempfile.TemporaryDirectory() as folder:
        start = shrink(network, kind, teacher, method, distilled, seed, options, batches, Path(folder))
        before = score(start, held_out)
        model = learn(start, teacher, distilled, later, options, Path(folder) / "learn")
    counted = cost(model.config, 480, 854)
    return {
        "network": Path(network).stem, "budget": kind, "method": method, "taught": distilled, "seed": seed,
        "parameters": counted.parameters, "multiply_adds": counted.multiply_adds,
        "pruned": before, **score(model, held_out), "teacher": score_of(network, held_out),
        "seconds": round(time.process_time() - began, 1),
    }  # fmt: skip


def shrink(
    network: str, kind: str, teacher: STMFNet, method: str, distilled: bool, seed: int, options: TrainOptions,
    batches: BatchSampler, folder: Path,
) -> STMFNet:  # fmt: skip
    """The network that learns."""
    budget = budget_of(network, kind)
    measured, objective = [batches.batch_at(step) for step in range(8)], build_objective(options)
    if method == "scratch":
        return fresh(prune(teacher, "uniform", budget, measured, objective).config, seed)
    if method == "group":
        rounds = rounds_of(network, kind, batches)
        dense = copy.deepcopy(teacher)
        first = replace(options, steps=FIRST, ema_decay=0.0)
        optimiser = shrinking_optimiser(dense, masks_of(teacher, rounds), first)
        sparse = learn(dense, teacher, distilled, batches, first, folder / "first", optimiser)
        return inherit(sparse, rounds[-1].config)
    if method == "obproxsg":
        first = SparsifyOptions(steps=FIRST, warmup=2)
        result = sparsify(copy.deepcopy(teacher), batches, None, first, folder / "first", SHARES[kind])
        assert isinstance(result.model, STMFNet)
        return prune(teacher, "obproxsg", budget, measured, objective, sparse=result.model)
    if method == "taylor":
        return cut(teacher, rounds_of(network, kind, batches))
    return prune(teacher, method, budget, measured, objective, density=SHARES[kind])  # type: ignore[arg-type]


@cache
def rounds_of(network: str, kind: str, batches: BatchSampler) -> list[Round]:
    """What the search takes; "taylor" and "group" share it."""
    measured = [batches.batch_at(step) for step in range(8)]
    objective = build_objective(TrainOptions())
    return search_rounds(checkpoint.load(network), budget_of(network, kind), measured, objective)


@cache
def score_of(network: str, held_out: CropDataset) -> dict[str, float]:
    """The scores of a network before anything is taken from it."""
    return score(checkpoint.load(network), held_out)


def learn(
    model: STMFNet, teacher: STMFNet, distilled: bool, batches: BatchSampler, options: TrainOptions,
    folder: Path, optimiser: torch.optim.Optimizer | None = None,
) -> STMFNet:  # fmt: skip
    """Train from a teacher and a little from the truth, or from the truth alone."""
    if distilled:
        branch = teacher.config.intermediate
        teacher = four_frames(teacher) if branch else teacher
        losses = [FlowLoss(model, teacher)] if branch else []
        objective: Any = Distillation(options, [network_teacher(teacher)], intermediate=losses)
    else:
        objective = build_objective(options)
    result = train(model, batches, None, options, folder, objective=objective, optimiser=optimiser)
    assert isinstance(result.model, STMFNet)
    for module in result.model.modules():
        module._forward_hooks.clear()
    return result.model


@torch.no_grad()
def score(model: STMFNet, held_out: CropDataset) -> dict[str, float]:
    """Means over held-out crops, and CPU milliseconds for one of them."""
    model.eval()
    scores: list[tuple[float, ...]] = []
    side = (held_out.frames.shape[-1] - SIDE) // 2
    area = (..., slice(side, side + SIDE), slice(side, side + SIDE))
    for number in np.linspace(0, len(held_out) - 1, SCORED).astype(int):
        batch = collate(np.array(held_out.frames[number][area])[None])
        begun = time.process_time()
        output = model(batch.frames)[0].clamp(0, 1)
        seconds = time.process_time() - begun
        truth = batch.truth[0]
        scores.append((
            float(psnr(output, truth)), feature_distance(output, truth),
            detail_kept(output, truth, batch.frames[0, 1:3]), 1e3 * seconds,
        ))  # fmt: skip
    means = np.mean(scores, 0)
    return {
        name: float(value) for name, value in zip(("psnr", "features", "detail", "ms"), means, strict=True)
    }


if __name__ == "__main__":
    main()
