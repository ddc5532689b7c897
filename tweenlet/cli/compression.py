"""Verbs for compression: compress, and its steps one by one: sparsify, compact, prune, distill."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Group, Parameter

from tweenlet.cli.app import LEARNING, app
from tweenlet.cli.budget_options import (
    Macs,
    Ms,
    Params,
    SeveralMacs,
    SeveralMs,
    SeveralParams,
    budget_of,
    budgets_of,
)
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
from tweenlet.runtime.atomic import check_free, check_no_foreign_files
from tweenlet.training.options import DataOptions, DistillOptions, Init, Plan, PruneMethod, SparsifyOptions

if TYPE_CHECKING:
    from tweenlet.compression.budget import Budget

PLAN = Plan()
Sparsifying = Annotated[SparsifyOptions, OPTIONS_OF_LEARNING]
Distilling = Annotated[DistillOptions, OPTIONS_OF_LEARNING]
SPARSIFIED = 0.99
"""A network of which more than this share of the weights is not zero was never sparsified."""


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
        done = prune(
            network, make_sampler(data_options, samples), held_out, options, out, density,
            ticking(progress), anyway,
        )  # fmt: skip
        if not distributed.rank():
            by_part, log = densities(done.model), read_log(out)
            files = {
                "densities.json": json.dumps(by_part.to_json(), indent=1).encode(),
                "densities.md": by_part.markdown().encode(),
                "densities.png": density_chart(by_part, network.config),
            }
            files |= {"densities-over-training.png": density_course(log)} if log else {}
            write_files(out, files)
            for name, density_of_part in {**by_part.parts, "all": by_part.of()}.items():
                print(f"{name:10}{density_of_part.share:8.3f}")
        print_result(done, out)


@app.command(group=LEARNING, sort_key=11)
def compact(
    model: str,
    /,
    *,
    out: Path,
    params: Params = None,
    macs: Macs = None,
    ms: Ms = None,
    init: Init = "inherit",
    seed: int = 0,
    size: str = "480p",
    overwrite: bool = False,
) -> None:
    """Shrink a sparse network to the widths given by its densities or by a budget.

    Prints part, width before, density, width after, parameters, multiply-adds and milliseconds.

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
    width_and_height, budget = size_of(size), budget_of(params, macs, ms)
    sparse = weights.load(model)
    by_part = densities(sparse)
    if by_part.of().share > SPARSIFIED:
        share = f"{100 * by_part.of().share:.1f} % of its weights are not zero"
        if budget is None:
            raise ValueError(f"{model} was never sparsified ({share}): give a budget, or sparsify it first")
        say(f"{model} was never sparsified ({share}): every width shrinks alike")
    budget = None if budget is None else budget.of(sparse.config)
    if budget is None:
        after = narrow(sparse.config, by_part, None, say)
    else:
        after = budget.meet(lambda aim: narrow(sparse.config, by_part, aim, say), lambda config: config, say)
    weights.save(out, inherit(sparse, after) if init == "inherit" else fresh(after, seed))
    print(compaction(sparse.config, after, by_part, width_and_height, timed=True).markdown(), end="")


@app.command(group=LEARNING, sort_key=13)
def prune(
    model: str,
    /,
    *data: Data,
    out: Path,
    params: Params = None,
    macs: Macs = None,
    ms: Ms = None,
    method: PruneMethod = "taylor",
    passes: int = 16,
    four_frames: bool = False,
    head: int = 0,
    size: str = "480p",
    overwrite: bool = False,
    data_options: Sampling = COURSE,
) -> None:
    """From a trained network to a smaller one that meets a budget, to distil; prints what it has become.

    Parameters
    ----------
    model
        A trained checkpoint, or a name of shipped weights.
    out
        The checkpoint to write (.safetensors).
    method
        How it is decided what goes: see tweenlet compress --help.
    passes
        Batches that losses and gradients are measured on.
    four_frames
        Let an intermediate-flow network of two frames be timed by four afterwards.
    head
        Width of the residual head that it gets then; 0 = none.
    size
        The size of the frames that the table is for.
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
        raise ValueError("obproxsg takes a training: use tweenlet sparsify, then tweenlet compact")
    if method == "group":
        raise ValueError("group takes a training: use tweenlet compress --prune group")
    if head and not four_frames:
        raise ValueError("a head goes with --four-frames only")
    check_free(out, overwrite)
    width_and_height, budget = size_of(size), budget_of(params, macs, ms)
    network = weights.load(model)
    with set_up("pruning", data_options, data, out.with_suffix("")) as (samples, _, _progress):
        batches = make_sampler(data_options, samples)
        taken = [batches.batch_at(step) for step in range(passes)]
        smaller = reduce(network, method, budget, taken, build_objective(OPTIONS), notify=say)
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
    """Stage 2: train a student on the outputs of teachers and, with less weight, on the truth. Resumable.

    Parameters
    ----------
    student
        Checkpoint to start from, JSON file of a ModelConfig, or mini, default, ...
    teacher
        Checkpoint, name of bundled weights or ONNX file. May be repeated.
    teacher_frames
        Folder of frames by any program: CLIP/N.png is frame N of CLIP, predicted from frames N-3, N-1, N+1
        and N+3. Needs --recipe.strides 1 --recipe.synthetic 0.
    teacher_weight
        Weight of each teacher's frames, folders last; default: equal weights. With --flow-weight or
        --attention 0 is one, too: then the teacher's frames do not count, only what goes on inside it.
    out
        Folder for the weights (model.safetensors), the training state and the log (log.jsonl).
    alpha
        Weight of the loss against the truth.
    filter_teacher
        Use a teacher only where it is nearer to the truth than blending; the truth elsewhere.
    attention
        Parts (features, multi_flow, fusion, texture, ...) whose attention should match the first teacher's.
    flow_weight
        Weight of the distance to the first teacher's flows, for intermediate-flow networks.
    precompute_teacher
        Run the teachers over all samples once, before training, and store their frames beside the samples.
    timed
        Time teachers of intermediate flow over two frames (RIFE) by four.

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
        done = learn(
            model, teachers.teachers, batches, held_out, options, out, ticking(progress),
            alpha=alpha, weights=teacher_weight, filter_teacher=filter_teacher, intermediate=losses,
            identity={"teachers": list(teachers.identities)}, anyway=anyway,
        )  # fmt: skip
        print_result(done, out)


@app.command(group=LEARNING, sort_key=9)
def compress(
    teacher: str,
    /,
    *data: Data,
    out: Annotated[Path, Parameter(name=["--out", "-o"])],
    params: SeveralParams = (),
    macs: SeveralMacs = (),
    ms: SeveralMs = (),
    latency_command: str | None = None,
    latency_device: str = "cpu",
    network: str | None = None,
    weights: Path | None = None,
    benchmark: str | None = None,
    teacher_frames: list[Path] | None = None,
    precompute_teacher: bool = False,
    recipe: RecipeName = "store",
    anyway: Anyway = False,
    data_options: Sampling = COURSE,
    plan: Annotated[Plan, Parameter(name="*", group=Group("Stages", sort_key=3))] = PLAN,
) -> None:
    """Compress a trained network: prune, distil, evaluate, report. Resumable.

    Parameters
    ----------
    teacher
        Trained checkpoint, or name of bundled weights. With --network, footage too.
    out
        Folder for student.safetensors, report.html, report.md, report.json and the stages. With several
        budgets (--params 1M 500k 200k), a folder for each, and tradeoff.md, .json and .png of them all.
    latency_command
        Measures milliseconds on any other device, for --ms: a command with {onnx} in it, which prints them.
    latency_device
        Whose milliseconds --ms means: cpu, or cuda by the GPU's own clock.
    network
        Any other network, as FILE.py:CLASS, of two or four frames and perhaps a time; the file is executed.
        Needs the extra `compress`.
    weights
        Its weights: a state dict or safetensors.
    benchmark
        Benchmark for teacher and student, such as clips:FOLDER; default: the held-out samples.
    teacher_frames
        Use frames by any program as the teacher instead (see tweenlet distill --help).
    precompute_teacher
        Run the teacher over all samples once, before training, and store its frames beside the samples.

    """
    from tweenlet.compression.compress import compress as run
    from tweenlet.compression.compress import compress_to_each
    from tweenlet.compression.teachers import load_teachers
    from tweenlet.evaluation.benchmarks import benchmark as open_benchmark
    from tweenlet.network.checkpoint import load
    from tweenlet.runtime.devices import resolve_device
    from tweenlet.training import distributed

    data_options, plan = follow(recipe, data_options), _follow_plan(recipe, plan)
    budgets = budgets_of(params, macs, ms, latency_command, latency_device)
    if network is not None:
        _compress_module(network, weights, (Path(teacher), *data), out, budgets, plan, data_options, anyway)
        return
    if weights is not None:
        raise ValueError("--weights are those of --network FILE.py:CLASS, which is not given")
    model = load(teacher)
    samples_to_score = open_benchmark(benchmark) if benchmark else None
    with set_up("compressing", data_options, data, out) as (samples, held_out, progress):
        resolve_device(plan.sparsify.device), resolve_device(plan.distill.device)
        prepare = preparing(progress)
        if held_out is None:
            raise ValueError("nothing is held out to validate on: give --validate, or more clips")
        sources = [teacher] if precompute_teacher and not teacher_frames else []
        teachers = load_teachers(
            sources,
            teacher_frames or (),
            samples,
            precompute_teacher,
            plan.distill.device,
            progress=prepare,
        )  # fmt: skip
        options: dict[str, Any] = {
            "teachers": teachers if teachers.teachers else None, "benchmark": samples_to_score,
            "command": shlex.join(["tweenlet", *sys.argv[1:]]), "notify": say, "progress": prepare,
            "anyway": anyway,
        }  # fmt: skip
        if len(budgets) > 1:
            compress_to_each(model, samples, held_out, out, budgets, plan, data_options, **options)
            text = (out / "tradeoff.md").read_text()
        else:
            budget = next(iter(budgets.values()), None)
            report = run(model, samples, held_out, out, budget, plan, data_options, **options)
            text = report.markdown() if report else ""
        if not distributed.rank():
            print(text, end="")


def _compress_module(
    network: str,
    weights: Path | None,
    data: Sequence[Path],
    out: Path,
    budgets: dict[str, Budget],
    plan: Plan,
    data_options: DataOptions,
    anyway: bool,
) -> None:
    """Compress a network that is not of the family."""
    from tweenlet.compression.api import compress_module
    from tweenlet.compression.modules import load_module

    if len(budgets) != 1:
        raise ValueError("a network outside the family takes one budget: expected --params, --macs or --ms")
    module = load_module(network, weights)
    with set_up("compressing", data_options, data, out) as (samples, held_out, progress):
        if held_out is None:
            raise ValueError("nothing is held out to validate on: give --validate, or more clips")
        report = compress_module(
            module, samples, held_out, out, next(iter(budgets.values())), plan, data_options,
            notify=say, progress=preparing(progress), anyway=anyway,
        )  # fmt: skip
    if report is not None:
        print(report.markdown(), end="")


def _follow_plan(recipe: str, plan: Plan) -> Plan:
    return replace(plan, sparsify=follow(recipe, plan.sparsify), distill=follow(recipe, plan.distill))
