"""The command compress: a trained network to a small one, in one resumable run."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Group, Parameter

from tweenlet.cli.app import LEARNING, app
from tweenlet.cli.budget_options import NO_BUDGET, Budgets
from tweenlet.cli.learning import COURSE, Anyway, Data, RecipeName, Sampling, follow, preparing, set_up
from tweenlet.cli.progress import say
from tweenlet.training.options import DataOptions, Plan

if TYPE_CHECKING:
    from tweenlet.compression.budget import Budget

PLAN = Plan()
Stages = Annotated[Plan, Parameter(name="*", group=Group("Stages", sort_key=3))]


@app.command(group=LEARNING, sort_key=9)
def compress(
    teacher: str,
    /,
    *data: Data,
    out: Annotated[Path, Parameter(name=["--out", "-o"])],
    budgets: Budgets = NO_BUDGET,
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
    plan: Stages = PLAN,
) -> None:
    """Compress a trained network: prune, distil, evaluate, report. Resumable.

    Parameters
    ----------
    teacher
        Trained checkpoint, or name of bundled weights. With --network, the first path of training data.
    out
        Folder for student.safetensors, report.html, report.md, report.json and the stages. With several
        budgets (--params 1M 500k 200k), a subfolder per budget, and tradeoff.md, .json and .png.
    latency_command
        With --ms, a command that times the network {onnx} on another device and prints milliseconds.
    latency_device
        With --ms, the device of this machine to time on: cpu, or cuda, by wall time until it has finished.
    network
        Compress any other network instead, FILE.py:CLASS, of two or four frames and optionally a time. The
        file is executed. Needs the extra `compress`.
    weights
        With --network, its weights: a state dict or a safetensors file.
    benchmark
        Benchmark for teacher and student, such as clips:FOLDER; default: the held-out samples.
    teacher_frames
        Learn from another program's frames instead (see tweenlet distill --help).
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

    data_options = follow(recipe, data_options)
    plan = replace(plan, sparsify=follow(recipe, plan.sparsify), distill=follow(recipe, plan.distill))
    limits = budgets.all(latency_command, latency_device)
    if network is not None:
        ignored = {
            "--benchmark": benchmark, "--teacher-frames": teacher_frames,
            "--precompute-teacher": precompute_teacher,
        }  # fmt: skip
        if unused := [flag for flag, value in ignored.items() if value]:
            raise ValueError(
                f"with --network, leave out {', '.join(unused)}: they are for tweenlet's networks"
            )
        _compress_module(network, weights, (Path(teacher), *data), out, limits, plan, data_options, anyway)
        return
    if weights is not None:
        raise ValueError("--weights goes with --network: expected --network FILE.py:CLASS too")
    model = load(teacher)
    samples_to_score = open_benchmark(benchmark) if benchmark else None
    with set_up("compressing", data_options, data, out) as (samples, held_out, progress):
        resolve_device(plan.sparsify.device), resolve_device(plan.distill.device)
        prepare = preparing(progress)
        if held_out is None:
            raise ValueError("nothing is held out to validate on: give --validate, or more clips")
        sources = [teacher] if precompute_teacher and not teacher_frames else []
        teachers = load_teachers(
            sources, teacher_frames or (), samples, precompute_teacher, plan.distill.device, progress=prepare
        )
        options: dict[str, Any] = {
            "teachers": teachers if teachers.teachers else None, "benchmark": samples_to_score,
            "command": shlex.join(["tweenlet", *sys.argv[1:]]), "notify": say, "progress": prepare,
            "anyway": anyway,
        }  # fmt: skip
        if len(limits) > 1:
            compress_to_each(model, samples, held_out, out, limits, plan, data_options, **options)
            text = (out / "tradeoff.md").read_text(encoding="utf-8")
        else:
            limit = next(iter(limits.values()), None)
            report = run(model, samples, held_out, out, limit, plan, data_options, **options)
            text = report.markdown() if report else ""
        if not distributed.rank():
            print(text, end="")


def _compress_module(
    network: str,
    weights: Path | None,
    data: Sequence[Path],
    out: Path,
    budgets: Mapping[str, Budget],
    plan: Plan,
    data_options: DataOptions,
    anyway: bool,
) -> None:
    """Compress a network that tweenlet does not define."""
    from tweenlet.compression.modules.adapter import load_module
    from tweenlet.compression.modules.compress import compress_module

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
