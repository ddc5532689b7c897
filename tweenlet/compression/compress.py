"""Compress: a trained network and footage in, a small network that was taught and a report out.

    teacher --prune, to a budget--> start --distill--> student
                                         evaluate--> report

    folder/plan.json           what was asked for
    folder/sparsify/           of pruning by OBProx-SG: the sparse network, its state and log
    folder/start.safetensors   the pruned network before it learns
    folder/distill/            stage 2: the student, its state and log
    folder/student.safetensors, report.md, report.json, report.html, densities.png

Killed at any point and called again with the same arguments it goes on where it was.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tweenlet.compression.budget import Budget
from tweenlet.compression.densities import densities
from tweenlet.compression.distill import FlowLoss, IntermediateLoss, distill, network_teacher
from tweenlet.compression.inherit import four_frames
from tweenlet.compression.prune import prune
from tweenlet.compression.report import Compressed, Crops, write
from tweenlet.compression.search import describe
from tweenlet.compression.sparsify import sparsify
from tweenlet.compression.teachers import TeacherSet
from tweenlet.compression.widths import compaction
from tweenlet.evaluation.baselines.classical import blend
from tweenlet.evaluation.baselines.method import Method
from tweenlet.evaluation.baselines.network import Network
from tweenlet.evaluation.metrics import psnr
from tweenlet.evaluation.run import evaluate
from tweenlet.evaluation.samples import Benchmark, Sample, everything
from tweenlet.network import checkpoint as weights
from tweenlet.network.config import ModelConfig
from tweenlet.network.stmfnet import STMFNet
from tweenlet.runtime.atomic import write_bytes_atomically
from tweenlet.runtime.json_file import read_json
from tweenlet.training import distributed
from tweenlet.training.data.batches import sequential
from tweenlet.training.data.build import make_sampler
from tweenlet.training.data.dataset import CropDataset, Progress
from tweenlet.training.loop import Result, StepInfo, read_log
from tweenlet.training.losses import build_objective
from tweenlet.training.options import DataOptions, Plan, TrainOptions, rename_options

WRITTEN = (
    *("sparsify", "start.safetensors", "distill", "student.safetensors"),
    *("report.md", "report.json", "report.html", "densities.png"),
)
SHOWN = 6
"""Samples that the report shows as pictures."""


def compress(
    teacher: STMFNet,
    samples: CropDataset,
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
) -> Compressed | None:
    """Prune, distil and evaluate into ``folder``; goes on where an interrupted call left off.

    Without a ``budget`` the densities that OBProx-SG leaves say what is left. The student learns from
    ``teacher``, or from the ``teachers`` in its place. What came out is scored on the ``benchmark``, or on
    the held-out samples. ``notify`` hears what comes of each stage. Of processes that train together, all
    but the first return None. KeyboardInterrupt when a stage was interrupted, saved. ValueError where
    ``folder`` holds another compression, FileExistsError where it holds files of these names and no plan,
    BlockingIOError where another run has it, and whatever the stages raise.
    """
    written = () if (folder / "plan.json").exists() else WRITTEN  # whose plan it is shows when it is read
    with distributed.claim_folder_for_all(folder, written):
        return _compress(
            teacher, samples, validation, folder, budget, plan or Plan(), data_options or DataOptions(),
            teachers, benchmark, command, notify, progress,
        )  # fmt: skip


def _compress(
    teacher: STMFNet,
    samples: CropDataset,
    validation: CropDataset,
    folder: Path,
    budget: Budget | None,
    plan: Plan,
    data_options: DataOptions,
    teachers: TeacherSet | None,
    benchmark: Benchmark | None,
    command: str,
    notify: Callable[[str], None] | None,
    progress: Progress | None,
) -> Compressed | None:
    say = notify if notify and not distributed.rank() else lambda _: None
    start = folder / "start.safetensors"
    sparsified = plan.prune == "obproxsg"
    budget = budget.of(teacher.config) if budget else None
    begun: dict[str, Any] = {"teacher": Network(teacher).digest, "samples": _fingerprint(samples)}
    begun |= {name: getattr(data_options, name) for name in ("batch", "crop", "seed")}
    begun |= {"sparsify": _lasting(plan.sparsify), "density": plan.density} if sparsified else {}
    chosen = {"budget": str(budget) if budget else None, "prune": plan.prune, "init": plan.init}
    taught = {name: getattr(plan, name) for name in ("alpha", "filter_teacher", "flow_weight", "timed")}
    taught |= {"distill": _lasting(plan.distill)}
    with distributed.main_process_first():
        _claim(folder, begun | (chosen | taught if start.exists() else {}), begun | chosen | taught)

    sparse, found = None, None
    if sparsified:
        done = sparsify(
            copy.deepcopy(teacher), make_sampler(data_options, samples), validation, plan.sparsify,
            folder / "sparsify", plan.density, _ticks("sparsifying", progress),
        )  # fmt: skip
        sparse = _finished(done)
        found = densities(sparse)
        say(f"sparsified: a density of {found.of().share:.3f}, {_quality(done)}")

    with distributed.main_process_first():
        if not start.exists():
            batches = make_sampler(data_options, samples)
            pruned = prune(
                teacher, plan.prune, budget, [batches.batch_at(step) for step in range(plan.passes)],
                build_objective(plan.distill), density=plan.density, sparse=sparse, notify=say,
            )  # fmt: skip
            weights.save(start, pruned if plan.init == "inherit" else fresh(pruned.config, data_options.seed))
    student = weights.load(start)
    table = compaction(teacher.config, student.config, found)
    say(f"compacted:\n{table.markdown()}")

    teachers, losses = _teachers(teacher, student, plan, data_options, teachers)
    batches = make_sampler(data_options, samples, teachers.teacher_frames)
    done = distill(
        student, teachers.teachers, batches, validation, plan.distill, folder / "distill",
        _ticks("distilling", progress), alpha=plan.alpha, filter_teacher=plan.filter_teacher,
        intermediate=losses,
    )  # fmt: skip
    student = _finished(done)
    say(f"distilled: {_quality(done)}")
    if distributed.rank():
        return None

    methods: dict[str, Method] = {"teacher": Network(teacher), "student": Network(student), "blend": blend}
    held_out = HeldOut(validation, range(len(validation)))
    shown = benchmark or Benchmark("held-out crops", (held_out,))
    told = progress or (lambda *_: None)
    quality = evaluate(methods, shown, progress=lambda n, total: told("evaluating", n, total or 0))
    table = compaction(teacher.config, student.config, found, timed=True)
    notes = {"teacher": f"SHA-256 {begun['teacher']}", "origin": command}
    weights.save(folder / "student.safetensors", student, notes)
    sparsify_log, distill_log = read_log(folder / "sparsify"), read_log(folder / "distill")
    crops = _crops(methods, held_out)
    settings = {
        "budget": f"{budget}; met with {budget.say(budget.spent(student.config))}" if budget else "none",
        "pruned by": plan.prune, "start": plan.init, "steps of distillation": str(plan.distill.steps),
        "weight of the truth": f"{plan.alpha:g}", "samples": f"{len(samples)}, {len(validation)} held out",
        "seed": str(data_options.seed),
    }  # fmt: skip
    taken = describe(teacher.config, student.config).split(", ")
    report = Compressed(table, found, quality, sparsify_log, distill_log, crops, command, settings, taken)
    write(report, folder)
    return report


def fresh(config: ModelConfig, seed: int = 0) -> STMFNet:
    """A network of a config from scratch, its weights drawn by a seed."""
    torch.manual_seed(seed)
    return STMFNet(config)


def _teachers(
    teacher: STMFNet, student: STMFNet, plan: Plan, data_options: DataOptions, teachers: TeacherSet | None
) -> tuple[TeacherSet, list[IntermediateLoss]]:
    """Whom the student learns from, and whose flows; ValueError for a crop that does not fit four frames."""
    if teachers is not None:
        return teachers, []
    branch = teacher.config.intermediate
    if branch is None:
        return TeacherSet((network_teacher(teacher),), ()), []
    if plan.timed and not branch.four_frames and sum(level.scale > 1 for level in branch.levels) > 1:
        teacher = four_frames(teacher)
    if data_options.crop % teacher.stride and (plan.timed or branch.four_frames):
        raise ValueError(
            f"a teacher timed by four frames takes crops that are multiples of {teacher.stride}, got "
            f"{data_options.crop}: expected another --crop, or --no-timed"
        )
    losses: list[IntermediateLoss] = []
    if plan.flow_weight:
        losses.append(FlowLoss(student, teacher, plan.flow_weight))
    return TeacherSet((network_teacher(teacher),), (), (teacher,)), losses


@dataclass(frozen=True)
class HeldOut:
    """The held-out samples of a store, as a sequence to evaluate on."""

    store: CropDataset
    numbers: range
    """Which of them."""
    name: str = "held-out crops"

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.numbers)

    @property
    def paths(self) -> tuple[Path, ...]:
        """None: they lie in a store."""
        return ()

    def part(self, number: int, of: int) -> HeldOut:
        """Every ``of``-th from the ``number``-th on, counted from 1."""
        return replace(self, numbers=self.numbers[number - 1 :: of])

    def samples(self, wanted: Callable[[str], bool] = everything) -> Iterator[Sample]:
        """The samples as evaluation takes them."""
        for number, batch in enumerate(sequential(self.store, 1)):
            name = f"{number}: {batch.sources[0]}"
            if number in self.numbers and wanted(name):
                clip = Path(batch.sources[0].rpartition("#")[0]).name
                yield Sample(name, clip, batch.frames[0], batch.truth[0])


def _claim(folder: Path, settled: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    """Write down what is asked for; ValueError where what is settled already differs from what was."""
    path = folder / "plan.json"
    held = rename_options(read_json(path)) if path.exists() else settled
    if not isinstance(held, Mapping):
        raise ValueError(f"{path} is not the plan of a compression: name another folder")
    if other := [name for name in settled if held.get(name) != settled[name]]:
        raise ValueError(
            f"{folder} holds another compression, which differs in {', '.join(other)}: expected "
            f"{', '.join(str(held.get(name)) for name in other)} to go on with it"
        )
    folder.mkdir(parents=True, exist_ok=True)
    write_bytes_atomically(path, json.dumps(asked, indent=1).encode())


def _lasting(options: TrainOptions) -> dict[str, Any]:
    """What must stay the same when a run goes on, as plain JSON types."""
    values: dict[str, Any] = json.loads(json.dumps(asdict(options)))
    return {name: value for name, value in values.items() if name not in ("device", "save_every")}


def _fingerprint(samples: CropDataset) -> str:
    return hashlib.sha256(json.dumps([samples.frames.shape, samples.sources]).encode()).hexdigest()


def _ticks(what: str, progress: Progress | None) -> Callable[[StepInfo], None] | None:
    return None if progress is None else lambda info: progress(what, info.step, info.steps)


def _finished(done: Result) -> STMFNet:
    """The network that a stage made; KeyboardInterrupt where it was stopped on the way."""
    if done.stopped != "finished":
        raise KeyboardInterrupt
    assert isinstance(done.model, STMFNet)
    return done.model


def _quality(done: Result) -> str:
    if done.psnr is None:
        return f"{done.step} steps"
    return (
        f"{done.psnr:.2f} dB on held-out samples after {done.step} steps (blending: {done.blend_psnr:.2f} dB)"
    )


def _psnr(made: Tensor, truth: Tensor) -> float:
    return psnr(made, truth).item()


def _crops(methods: dict[str, Method], held_out: HeldOut) -> tuple[Crops, ...]:
    """Samples from the easiest to the hardest for blending, as every method makes them."""
    ordered = sorted(held_out.samples(), key=lambda sample: -_psnr(blend(sample.frames), sample.truth))
    places = np.linspace(0, len(ordered) - 1, min(SHOWN, len(ordered))).round().astype(int)
    shown = []
    for sample in (ordered[place] for place in places):
        made = {name: method(sample.frames).cpu().clamp(0, 1) for name, method in methods.items()}
        given = {"before": sample.frames[1], "after": sample.frames[2], "truth": sample.truth}
        pictures = {name: (picture * 255).round().byte().numpy() for name, picture in (given | made).items()}
        shown.append(Crops(sample.name, pictures, {n: _psnr(p, sample.truth) for n, p in made.items()}))
    return tuple(shown)
