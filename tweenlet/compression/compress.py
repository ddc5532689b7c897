"""Compress: a trained network and footage in, a small distilled network and a report out.

    teacher --prune, to a budget--> start --distill--> student --evaluate--> report

    folder/plan.json           the budget and the plan
    folder/sparsify/           if the method trains: the sparse network, its state and log
    folder/start.safetensors   the pruned network before distillation
    folder/distill/            stage 2: the student, its state and log
    folder/pruning.txt         the reductions, and why
    folder/scores/             scores of the evaluation
    folder/student.safetensors, report.md, report.json, report.html, densities.png

A run that was killed at any point resumes when called again with the same arguments.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from tweenlet.compression.budget import Budget
from tweenlet.compression.densities import Densities, densities
from tweenlet.compression.distill import FlowLoss, IntermediateLoss, distill, network_teacher
from tweenlet.compression.groups import load_masks, masks_of, save_masks, shrinking_optimiser
from tweenlet.compression.held_out import HeldOut, pick_crops
from tweenlet.compression.inherit import four_frames, inherit
from tweenlet.compression.plan_file import after_pruning, before_pruning, limit_of, write_plan
from tweenlet.compression.prune import prune, search_rounds
from tweenlet.compression.report import Compressed, write
from tweenlet.compression.search import check_feasible, describe
from tweenlet.compression.sparsify import sparsify
from tweenlet.compression.teachers import TeacherSet
from tweenlet.compression.tradeoff import write_tradeoff
from tweenlet.compression.widths import Spending, compaction
from tweenlet.evaluation.baselines.classical import blend
from tweenlet.evaluation.baselines.method import Method
from tweenlet.evaluation.baselines.network import Network
from tweenlet.evaluation.catalogue import default_metrics, resolve_metrics
from tweenlet.evaluation.run import evaluate
from tweenlet.evaluation.samples import Benchmark
from tweenlet.inference.machine import describe_machine
from tweenlet.network import checkpoint as weights
from tweenlet.network.config import ModelConfig
from tweenlet.network.stmfnet import STMFNet
from tweenlet.runtime.cache import source_hash
from tweenlet.training import distributed
from tweenlet.training.data.batches import Batch, BatchSampler
from tweenlet.training.data.build import make_sampler
from tweenlet.training.data.dataset import CropDataset, Dataset, Progress
from tweenlet.training.loop import Result, StepInfo, read_log
from tweenlet.training.losses import Objective, build_objective
from tweenlet.training.options import DataOptions, Plan

OUTPUTS = (
    "pruning.txt",
    *("sparsify", "groups.safetensors", "start.safetensors", "distill", "student.safetensors"),
    *("report.md", "report.json", "report.html", "densities.png"),
)


def compress(
    teacher: STMFNet,
    samples: Dataset,
    validation: CropDataset,
    folder: Path,
    budget: Budget | None = None,
    plan: Plan | None = None,
    data_options: DataOptions | None = None,
    *,
    teachers: TeacherSet | None = None,
    benchmark: Benchmark | None = None,
    command: str = "",
    notify: Callable[[str], None] | None = None,
    progress: Progress | None = None,
    anyway: bool = False,
    stage_one: Path | None = None,
) -> Compressed | None:
    """Prune, distil and evaluate into ``folder``; the same call again resumes a run that was stopped.

    The student learns from ``teachers`` if given, else from ``teacher``; both are scored on ``benchmark``, by
    default on the held-out samples ``validation``. ``stage_one`` is the folder of a sparse network that
    several budgets share, by default ``folder/sparsify``. Other arguments, results and errors are those of
    :func:`tweenlet.compress`; also FileExistsError where ``folder`` holds files of these names but no plan,
    and BlockingIOError where another run writes into it.
    """
    foreign = () if (folder / "plan.json").exists() else OUTPUTS  # a plan is checked when read
    plan, data_options = plan or Plan(), data_options or DataOptions()
    say = notify if notify and not distributed.rank() else lambda _: None
    with distributed.claim_folder_for_all(folder, foreign):
        limit = limit_of(budget, teacher.config, folder) if budget else None
        run = _Compression(
            teacher, samples, validation, folder, budget, limit, plan, data_options, teachers, benchmark,
            command, say, progress, anyway, stage_one or folder / "sparsify",
        )  # fmt: skip
        return run()


def compress_to_each(
    teacher: STMFNet,
    samples: Dataset,
    validation: CropDataset,
    folder: Path,
    budgets: Mapping[str, Budget],
    plan: Plan | None = None,
    data_options: DataOptions | None = None,
    **options: Any,
) -> dict[str, Compressed] | None:
    """Compress to several budgets, each into ``folder/NAME``, and compare their cost and quality.

    OBProx-SG sparsifies once for all of them. Writes tradeoff.md, tradeoff.json and tradeoff.png. Arguments,
    results and errors are those of :func:`compress`, except ``budgets`` by name; one that cannot be met is
    refused before the first is worked on.
    """
    for name, budget in budgets.items():
        limit = limit_of(budget, teacher.config, folder / name)
        if plan is None or plan.prune in ("taylor", "group"):
            check_feasible(teacher.config, Spending(limit))
    reports: dict[str, Compressed | None] = {}
    for name, budget in budgets.items():
        reports[name] = compress(
            teacher, samples, validation, folder / name, budget, plan, data_options,
            stage_one=folder / "sparsify", **options,
        )  # fmt: skip
    compressed = {name: report for name, report in reports.items() if report is not None}
    if distributed.rank():
        return None
    write_tradeoff(compressed, folder)
    return compressed


@dataclass(frozen=True)
class _Compression:
    """One compression: the arguments of :func:`compress`, and its stages."""

    teacher: STMFNet
    samples: Dataset
    validation: CropDataset
    folder: Path
    asked: Budget | None
    budget: Budget | None
    """What is asked for, as an amount."""
    plan: Plan
    data_options: DataOptions
    teachers: TeacherSet | None
    benchmark: Benchmark | None
    command: str
    say: Callable[[str], None]
    progress: Progress | None
    anyway: bool
    shared: Path
    """Folder of the sparse network, which several budgets may share."""

    @property
    def stage_one(self) -> Path:
        """Folder of the first stage's training."""
        return self.folder / "sparsify" if self.plan.prune == "group" else self.shared

    def __call__(self) -> Compressed | None:
        """Run the remaining stages."""
        self._check_plan()
        self._check_crop()
        shares = self._prune()
        student = weights.load(self._start)
        self.say(f"compacted:\n{compaction(self.teacher.config, student.config, shares).markdown()}")
        student = self._distill(student)
        return None if distributed.rank() else self._report(student, shares)

    def _note(self, line: str) -> None:
        """Report a reduction, and record it for the report."""
        self.say(line)
        if not distributed.rank():
            with (self.folder / "pruning.txt").open("a", encoding="utf-8") as file:
                file.write(line + "\n")

    @property
    def _start(self) -> Path:
        return self.folder / "start.safetensors"

    @property
    def _objective(self) -> Objective:
        return build_objective(self.plan.distill)

    def _check_plan(self) -> None:
        """Write the plan; ValueError if finished stages were run with another one."""
        teachers = self.teachers.identities if self.teachers else None
        first = before_pruning(
            self.plan, self.data_options, Network(self.teacher).digest, self.samples, self.validation
        )
        later = after_pruning(self.plan, self.asked, teachers)
        with distributed.main_process_first():
            write_plan(self.folder, first, later, self.budget, self._start.exists(), self.anyway)

    def _check_crop(self) -> None:
        """ValueError for a crop that the teacher does not take."""
        branch, stride, crop = (
            self.teacher.config.intermediate,
            self._timed_teacher.stride,
            self.data_options.crop,
        )
        timed = branch is not None and (self.plan.timed or branch.four_frames)
        if self.teachers is None and timed and crop % stride:
            raise ValueError(
                f"a teacher timed by four frames takes crops that are multiples of {stride}, got {crop}: "
                "expected another --crop, or --no-timed"
            )

    @cached_property
    def _timed_teacher(self) -> STMFNet:
        """The teacher; one of intermediate flow and two frames is timed by four, if the plan asks."""
        branch = self.teacher.config.intermediate
        if branch is None or branch.four_frames or not self.plan.timed:
            return self.teacher
        several = sum(level.scale > 1 for level in branch.levels) > 1
        return four_frames(self.teacher) if several else self.teacher

    def _prune(self) -> Densities | None:
        """Write the pruned network if it does not exist; returns the densities behind it, if any."""
        sampler = make_sampler(self.data_options, self.samples)
        measured = []
        if not self._start.exists():
            measured = [sampler.batch_at(step) for step in range(self.plan.passes)]
        sparse, shares, pruned = None, None, None
        if self.plan.prune == "obproxsg":
            sparse = self._sparsify(sampler)
            shares = densities(sparse)
            self.say(f"a density of {shares.of().share:.3f} is left")
        elif self.plan.prune == "group" and not self._start.exists():
            pruned = self._shrink_groups(measured)
        with distributed.main_process_first():
            if not self._start.exists():
                pruned = pruned or prune(
                    self.teacher, self.plan.prune, self.budget, measured, self._objective,
                    density=self.plan.density, sparse=sparse, notify=self._note,
                )  # fmt: skip
                scratch = self.plan.init == "scratch"
                weights.save(self._start, fresh(pruned.config, self.data_options.seed) if scratch else pruned)
        return shares

    def _sparsify(self, sampler: BatchSampler) -> STMFNet:
        result = sparsify(
            copy.deepcopy(self.teacher), sampler, self.validation, self.plan.sparsify, self.stage_one,
            self.plan.density, self._ticks("sparsifying"), anyway=self.anyway,
        )  # fmt: skip
        return self._finished(result, "sparsified")

    def _shrink_groups(self, measured: Sequence[Batch]) -> STMFNet:
        """Train while the groups chosen by a search shrink to zero; returns the network without them."""
        path = self.folder / "groups.safetensors"
        with distributed.main_process_first():
            if not path.exists():
                if self.budget is None:
                    raise ValueError(
                        "pruning by group needs a budget: expected parameters, multiply-adds or ms"
                    )
                rounds = search_rounds(self.teacher, self.budget, measured, self._objective, self._note)
                save_masks(path, masks_of(self.teacher, rounds), rounds[-1].config)
        masks, config = load_masks(path)
        dense = copy.deepcopy(self.teacher)
        teachers, losses = self._teachers(dense)
        options = replace(self.plan.distill, steps=self.plan.sparsify.steps, epochs=None, ema_decay=0.0)
        result = distill(
            dense, teachers.teachers, make_sampler(self.data_options, self.samples, teachers.teacher_frames),
            self.validation, options, self.stage_one, self._ticks("shrinking groups"),
            alpha=self.plan.alpha, filter_teacher=self.plan.filter_teacher, intermediate=losses,
            optimiser=shrinking_optimiser(dense, masks, options), anyway=self.anyway,
        )  # fmt: skip
        return inherit(self._finished(result, "groups at zero"), config)

    def _distill(self, student: STMFNet) -> STMFNet:
        teachers, losses = self._teachers(student)
        sampler = make_sampler(self.data_options, self.samples, teachers.teacher_frames)
        result = distill(
            student, teachers.teachers, sampler, self.validation, self.plan.distill,
            self.folder / "distill", self._ticks("distilling"), alpha=self.plan.alpha,
            filter_teacher=self.plan.filter_teacher, intermediate=losses,
            identity={"teachers": list(teachers.identities)}, anyway=self.anyway,
        )  # fmt: skip
        return self._finished(result, "distilled")

    def _teachers(self, student: STMFNet) -> tuple[TeacherSet, list[IntermediateLoss]]:
        """The student's teachers and intermediate losses."""
        if self.teachers is not None:
            return self.teachers, []
        teacher = self._timed_teacher
        if teacher.config.intermediate is None:
            return TeacherSet((network_teacher(teacher),), ()), []
        losses: list[IntermediateLoss] = []
        if self.plan.flow_weight:
            losses.append(FlowLoss(student, teacher, self.plan.flow_weight))
        return TeacherSet((network_teacher(teacher),), (), (teacher,)), losses

    def _report(self, student: STMFNet, shares: Densities | None) -> Compressed:
        """Score teacher and student, resuming if interrupted, and write the report."""
        teacher, plan = self.teacher, self.plan
        methods: dict[str, Method] = {
            "teacher": Network(teacher),
            "student": Network(student),
            "blend": blend,
        }
        held_out = HeldOut(self.validation, range(len(self.validation)), student.stride)
        benchmark = self.benchmark or Benchmark("held-out crops", (held_out,))
        progress = self.progress or (lambda *_: None)
        names = [*default_metrics(), *(["flip"] if find_spec("flip_evaluator") else [])]
        quality = evaluate(
            methods, benchmark, resolve_metrics(names), ledger=self._ledger(methods, benchmark),
            progress=lambda done, total: progress("evaluating", done, total or 0),
        )  # fmt: skip
        table = compaction(teacher.config, student.config, shares, timed=True)
        notes = {"teacher": f"SHA-256 {Network(teacher).digest}", "origin": self.command}
        weights.save(self.folder / "student.safetensors", student, notes)
        budget = self.budget
        settings = {
            "budget": "none" if budget is None else f"{budget}; {budget.outcome(student.config)}",
            "pruned by": plan.prune, "start": plan.init, "steps of distillation": str(plan.distill.steps),
            "weight of the truth": f"{plan.alpha:g}",
            "samples": f"{len(self.samples)}, {len(self.validation)} held out",
            "batch, crop": f"{self.data_options.batch}, {self.data_options.crop}",
            "seed": str(self.data_options.seed),
            "compute": _compute((self.stage_one, self.folder / "distill")),
        }  # fmt: skip
        lines = self.folder / "pruning.txt"
        dropped = lines.read_text(encoding="utf-8").splitlines() if lines.exists() else []
        dropped.append(f"in all: {describe(teacher.config, student.config)}")
        logs = read_log(self.stage_one), read_log(self.folder / "distill")
        crops = pick_crops(methods, held_out)
        report = Compressed(table, shares, quality, *logs, crops, self.command, settings, dropped)
        write(report, self.folder)
        return report

    def _ledger(self, methods: Mapping[str, Method], benchmark: Benchmark) -> Path:
        """File of the scores so far, one per student, benchmark, machine and version of the code."""
        digests = [getattr(method, "digest", "") for method in methods.values()]
        subject = repr([*digests, benchmark.name, source_hash(), describe_machine()])
        folder = self.folder / "scores"
        folder.mkdir(exist_ok=True)
        return folder / f"{hashlib.sha256(subject.encode()).hexdigest()[:16]}.jsonl"

    def _ticks(self, stage: str) -> Callable[[StepInfo], None] | None:
        progress = self.progress
        return None if progress is None else lambda info: progress(stage, info.step, info.steps)

    def _finished(self, result: Result, stage: str) -> STMFNet:
        """The network that a stage gives; KeyboardInterrupt if it was interrupted."""
        result.check_finished()
        assert isinstance(result.model, STMFNet)
        scored = "" if result.psnr is None else f": {result.psnr:.2f} dB on held-out samples"
        self.say(stage + scored)
        return result.model


def fresh(config: ModelConfig, seed: int = 0) -> STMFNet:
    """A network with random weights from a seed."""
    torch.manual_seed(seed)
    return STMFNet(config)


def _compute(folders: Sequence[Path]) -> str:
    """Training time of the stages, and the machine."""
    logs = [log for folder in folders if (log := read_log(folder))]
    seconds = sum(float(log[-1].get("seconds") or 0.0) for log in logs)
    processes = f"{distributed.world_size()} processes" if distributed.world_size() > 1 else "one process"
    time = f"{seconds / 60:,.0f} minutes" if seconds >= 600 else f"{seconds:.0f} seconds"
    return f"{time} of training, {processes}, {describe_machine()}"
