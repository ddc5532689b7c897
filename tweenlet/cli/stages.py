"""Commands for single stages of compression: sparsify, compact, prune, distill."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

from tweenlet.cli.app import LEARNING, app
from tweenlet.cli.budget_options import NO_BUDGET, Budgets
from tweenlet.cli.learning import (
    COURSE,
    OPTIONS,
    OPTIONS_OF_LEARNING,
    Anyway,
    Data,
    RecipeName,
    Sampling,
    follow,
    preparing,
    print_result,
    set_up,
    ticking,
)
from tweenlet.cli.progress import say
from tweenlet.runtime.folders import check_free, check_no_foreign_files
from tweenlet.training.options import DistillOptions, Init, Plan, PruneMethod, SparsifyOptions

PLAN = Plan()
Sparsifying = Annotated[SparsifyOptions, OPTIONS_OF_LEARNING]
Distilling = Annotated[DistillOptions, OPTIONS_OF_LEARNING]
DENSE = 0.99
"""Density above which a network counts as dense: never sparsified."""


@app.command(group=LEARNING, sort_key=10)
def sparsify(
    model: str,
    /,
    *data: Data,
    out: Path = Path("sparsified"),
    density: float = 0.1,
    recipe: RecipeName = "store",
    anyway: Anyway = False,
    data_options: Sampling = COURSE,
    options: Sparsifying = PLAN.sparsify,
) -> None:
    """Stage 1: continue training while OBProx-SG drives weights to zero. Resumable.

    Parameters
    ----------
    model
        Trained checkpoint, or name of bundled weights.
    out
        Folder for the sparse network (model.safetensors), its densities (densities.json, .md, .png, and their
        development over training), the training state and the log.
    density
        Fraction of the weights that stay nonzero.

    """
    from tweenlet.compression.charts import density_chart, density_course
    from tweenlet.compression.densities import densities
    from tweenlet.compression.sparsify import sparsify as prune
    from tweenlet.evaluation.document import write_files
    from tweenlet.network import checkpoint as weights
    from tweenlet.runtime.devices import resolve_device
    from tweenlet.training import distributed
    from tweenlet.training.data.build import make_sampler
    from tweenlet.training.loop import read_log

    data_options, options = follow(recipe, data_options), follow(recipe, options)
    check_no_foreign_files(
        out, ("densities.json", "densities.md", "densities.png", "densities-over-training.png")
    )
    network = weights.load(model)
    with set_up("sparsifying", data_options, data, out) as (samples, held_out, progress):
        resolve_device(options.device)
        result = prune(
            network, make_sampler(data_options, samples), held_out, options, out, density,
            ticking(progress), anyway,
        )  # fmt: skip
        if not distributed.rank():
            by_part, log = densities(result.model), read_log(out)
            files = {
                "densities.json": json.dumps(by_part.to_json(), indent=1).encode(),
                "densities.md": by_part.markdown().encode(),
                "densities.png": density_chart(by_part, network.config),
            }
            files |= {"densities-over-training.png": density_course(log)} if log else {}
            write_files(out, files)
            for name, density_of_part in {**by_part.parts, "all": by_part.of()}.items():
                print(f"{name:10}{density_of_part.share:8.3f}")
        print_result(result, out)


@app.command(group=LEARNING, sort_key=11)
def compact(
    model: str,
    /,
    *,
    out: Path,
    budget: Budgets = NO_BUDGET,
    init: Init = "inherit",
    seed: int = 0,
    size: str = "480p",
    overwrite: bool = False,
) -> None:
    """Shrink a sparse network to the widths its densities or a budget imply.

    Prints a table of parts: widths, densities, parameters, multiply-adds and milliseconds.

    Parameters
    ----------
    model
        Checkpoint written by sparsify.
    out
        Checkpoint to write (.safetensors).
    init
        Inherit the channels with the largest weights, or initialise from scratch.
    seed
        Random seed for weights from scratch.
    size
        Frame size for the table.
    overwrite
        Replace OUT if it exists.

    """
    from tweenlet.compression.compress import fresh
    from tweenlet.compression.densities import densities
    from tweenlet.compression.inherit import inherit
    from tweenlet.compression.widths import compact as narrow
    from tweenlet.compression.widths import compaction
    from tweenlet.network import checkpoint as weights
    from tweenlet.network.cost import size_of

    check_free(out, overwrite)
    width_and_height, limit = size_of(size), budget.one()
    sparse = weights.load(model)
    by_part = densities(sparse)
    if by_part.of().share > DENSE:
        share = f"{100 * by_part.of().share:.1f} % of its weights are not zero"
        if limit is None:
            raise ValueError(f"{model} was never sparsified ({share}): give a budget, or sparsify it first")
        say(f"{model} was never sparsified ({share}): every width shrinks alike")
    if limit is None:
        after = narrow(sparse.config, by_part, None, say)
    else:
        limit = limit.of(sparse.config)
        after = limit.meet(lambda aim: narrow(sparse.config, by_part, aim, say), lambda config: config, say)
    weights.save(out, inherit(sparse, after) if init == "inherit" else fresh(after, seed))
    print(compaction(sparse.config, after, by_part, width_and_height, timed=True).markdown(), end="")


@app.command(group=LEARNING, sort_key=13)
def prune(
    model: str,
    /,
    *data: Data,
    out: Path,
    budget: Budgets = NO_BUDGET,
    method: PruneMethod = "taylor",
    passes: int = 16,
    four_frames: bool = False,
    head: int = 0,
    size: str = "480p",
    overwrite: bool = False,
    data_options: Sampling = COURSE,
) -> None:
    """Prune a trained network to a budget, ready for distillation, and print its cost before and after.

    Parameters
    ----------
    model
        Trained checkpoint, or name of bundled weights.
    out
        Checkpoint to write (.safetensors).
    method
        Pruning criterion: see tweenlet compress --help.
    passes
        Number of batches to measure losses and gradients on.
    four_frames
        Convert an intermediate-flow network of two frames to one of four, which estimates acceleration.
    head
        With --four-frames, width of the residual head to add; 0 adds none.
    size
        Frame size for the table.
    overwrite
        Replace OUT if it exists.

    """
    from tweenlet.compression.inherit import four_frames as time_by_four
    from tweenlet.compression.prune import prune as reduce
    from tweenlet.compression.widths import compaction
    from tweenlet.network import checkpoint as weights
    from tweenlet.network.cost import size_of
    from tweenlet.training.data.build import make_sampler
    from tweenlet.training.losses import build_objective

    if method == "obproxsg":
        raise ValueError("obproxsg needs a training stage: use tweenlet sparsify, then tweenlet compact")
    if method == "group":
        raise ValueError("group needs a training stage: use tweenlet compress --prune group")
    if head and not four_frames:
        raise ValueError("a head goes with --four-frames only")
    check_free(out, overwrite)
    width_and_height, limit = size_of(size), budget.one()
    network = weights.load(model)
    with set_up("pruning", data_options, data, out.with_suffix("")) as (samples, _, _progress):
        batches = make_sampler(data_options, samples)
        taken = [batches.batch_at(step) for step in range(passes)]
        smaller = reduce(network, method, limit, taken, build_objective(OPTIONS), notify=say)
    result = time_by_four(smaller, head=head) if four_frames else smaller
    weights.save(out, result)
    print(compaction(network.config, result.config, None, width_and_height, timed=True).markdown(), end="")


@app.command(group=LEARNING, sort_key=12)
def distill(
    student: str,
    /,
    *data: Data,
    teacher: list[str] | None = None,
    teacher_frames: list[Path] | None = None,
    teacher_weight: list[float] | None = None,
    out: Path = Path("distilled"),
    alpha: float = 0.1,
    recipe: RecipeName = "store",
    anyway: Anyway = False,
    filter_teacher: bool = False,
    attention: list[str] | None = None,
    flow_weight: float = 0.0,
    precompute_teacher: bool = False,
    timed: bool = False,
    data_options: Sampling = COURSE,
    options: Distilling = PLAN.distill,
) -> None:
    """Stage 2: train a student on the outputs of teachers and, with less weight, on ground truth. Resumable.

    Parameters
    ----------
    student
        Checkpoint to start from, JSON file of a ModelConfig, or mini, default, ...
    teacher
        Checkpoint, name of bundled weights or ONNX file. May be repeated.
    teacher_frames
        Folder of another program's frames: CLIP/N.png is frame N of CLIP, predicted from frames N-3, N-1, N+1
        and N+3. Needs --recipe.strides 1 --recipe.synthetic 0.
    teacher_weight
        Weight of each teacher's frames, folders last; default: equal weights. A single teacher may have
        weight 0 with --flow-weight or --attention: only its flows or attention count then.
    out
        Folder for the weights (model.safetensors), the training state and the log (log.jsonl).
    alpha
        Weight of the loss against the ground truth.
    filter_teacher
        Use the ground truth wherever blending the neighbours is closer to it than the teacher.
    attention
        Parts (features, multi_flow, fusion, texture, ...) whose attention should match the first teacher's.
    flow_weight
        Weight of the distance to the first teacher's flows, for intermediate-flow networks.
    precompute_teacher
        Run the teachers over all samples once, before training, and store their frames beside the samples.
    timed
        Convert intermediate-flow teachers of two frames (RIFE) to four frames, which estimate acceleration.

    """
    import torch

    from tweenlet.compression.distill import distill as learn
    from tweenlet.compression.teachers import intermediate_losses, load_teachers
    from tweenlet.network.checkpoint import network_of
    from tweenlet.runtime.devices import resolve_device
    from tweenlet.training.data.build import make_sampler

    count = len(teacher or ()) + len(teacher_frames or ())
    if not count or len(teacher_weight or ()) not in (0, count):
        raise ValueError(
            "expected --teacher or --teacher-frames, and a --teacher-weight for each or for none"
        )
    data_options, options = follow(recipe, data_options), follow(recipe, options)
    with set_up("distilling", data_options, data, out) as (samples, held_out, progress):
        resolve_device(options.device)
        torch.manual_seed(data_options.seed)
        model = network_of(student)
        prepare = preparing(progress)
        teachers = load_teachers(
            teacher or (), teacher_frames or (), samples, precompute_teacher, options.device, timed, prepare
        )
        losses = intermediate_losses(model, teachers, attention or (), flow_weight)
        batches = make_sampler(data_options, samples, teachers.teacher_frames)
        result = learn(
            model, teachers.teachers, batches, held_out, options, out, ticking(progress),
            alpha=alpha, weights=teacher_weight, filter_teacher=filter_teacher, intermediate=losses,
            identity={"teachers": list(teachers.identities)}, anyway=anyway,
        )  # fmt: skip
        print_result(result, out)
