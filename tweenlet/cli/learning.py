"""Verbs that make networks: pack, train, and the two stages of compression, one by one or all in one."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Group, Parameter, validators

from tweenlet.cli.app import app
from tweenlet.cli.progress import bar, say
from tweenlet.runtime.atomic import check_free, check_no_foreign_files
from tweenlet.training.options import DataOptions, DistillOptions, Init, Plan, SparsifyOptions, TrainOptions

if TYPE_CHECKING:
    from tweenlet.compression.budget import Budget
    from tweenlet.training.data.store import CropDataset
    from tweenlet.training.loop import Result, StepInfo

Data = Annotated[
    Path,
    Parameter(help="Videos, and folders of videos or of frames; Vimeo-90K and BVI-DVC as published."),
]
Sampling = Annotated[DataOptions, Parameter(name="*", group=Group("Samples", sort_key=1))]
LEARNING = Parameter(name="*", group=Group("Learning", sort_key=2))
Learning = Annotated[TrainOptions, LEARNING]
Sparsifying = Annotated[SparsifyOptions, LEARNING]
Distilling = Annotated[DistillOptions, LEARNING]
BUDGET = Group(
    "Budget (at most one of these; what the densities say if none)",
    validator=validators.mutually_exclusive,
    sort_key=0,
)
Params = Annotated[str | None, Parameter(group=BUDGET, help="Parameters, as 2M.")]
Macs = Annotated[
    str | None,
    Parameter(group=BUDGET, help="Multiply-adds for one new frame, as 50G@480p or 50G@1920x1080."),
]
Ms = Annotated[
    str | None,
    Parameter(
        group=BUDGET,
        help="Milliseconds for one new frame, measured on this machine's CPU, as 500@480p.",
    ),
]
COURSE, OPTIONS, PLAN = DataOptions(), TrainOptions(), Plan()


@app.command
def transcode(
    *data: Path, out: Path, megabytes: float = 40, short_side: int = 360, max_frames: int = 240
) -> None:
    """Make footage small enough to travel to a machine that trains.

    Parameters
    ----------
    data
        Videos, and folders of videos or of frames.
    out
        A new folder for H.264 videos, one for each usable clip.
    megabytes
        Of all together.
    short_side
        Clips are scaled down to this many pixels.
    max_frames
        Longest run of frames taken from a clip, from its middle.

    """
    from tweenlet.training.data.transcode import transcode as make

    with bar("packing", "clips") as progress:
        made = make(
            data, out, megabytes, short_side, max_frames,
            notify=say, progress=lambda _, done, total: progress(done, total),
        )  # fmt: skip
    print(f"{out}: {len(made)} clips, {sum(path.stat().st_size for path in made) / 1e6:.1f} MB")


@app.command
def train(
    config: str,
    /,
    *data: Data,
    out: Path = Path("run"),
    data_options: Sampling = COURSE,
    options: Learning = OPTIONS,
) -> None:
    """Train a network on footage; the same command goes on where it was stopped.

    Several processes: torchrun --nproc-per-node 2 -m tweenlet train ...

    Parameters
    ----------
    config
        stmfnet, mini, small; a JSON file of a ModelConfig; or a checkpoint to go on from.
    out
        A folder for the weights (model.safetensors), the state and the log (log.jsonl).

    """
    import torch

    from tweenlet.network.checkpoint import network_of
    from tweenlet.runtime.devices import resolve_device
    from tweenlet.training.data.build import make_sampler
    from tweenlet.training.loop import train as learn

    resolve_device(options.device)
    torch.manual_seed(data_options.seed)
    model = network_of(config)
    with _prepared("training", data_options, data, out) as (samples, held_out, progress):
        done = learn(model, make_sampler(data_options, samples), held_out, options, out, _ticking(progress))
        _tell(done, out)


@app.command
def sparsify(
    model: str,
    /,
    *data: Data,
    out: Path = Path("run"),
    density: float = 0.1,
    data_options: Sampling = COURSE,
    options: Sparsifying = PLAN.sparsify,
) -> None:
    """Stage 1: train a network on while OBProx-SG takes its weights to zero; resumable.

    Parameters
    ----------
    model
        A trained checkpoint, or a name of shipped weights.
    out
        A folder for the sparse network (model.safetensors), its densities (densities.json, .md, .png, and as
        they moved), the state and the log.
    density
        Share of the weights that is left.

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

    resolve_device(options.device)
    check_no_foreign_files(
        out, ("densities.json", "densities.md", "densities.png", "densities-over-training.png")
    )
    network = weights.load(model)
    with _prepared("sparsifying", data_options, data, out) as (samples, held_out, progress):
        done = prune(
            network, make_sampler(data_options, samples), held_out, options, out, density, _ticking(progress)
        )
        if not distributed.rank():
            found, log = densities(done.model), read_log(out)
            files = {
                "densities.json": json.dumps(found.to_json(), indent=1).encode(),
                "densities.md": found.markdown().encode(),
                "densities.png": density_chart(found, network.config),
            }
            files |= {"densities-over-training.png": density_course(log)} if log else {}
            write_files(out, files)
            for name, left in {**found.parts, "all": found.of()}.items():
                print(f"{name:10}{left.share:8.3f}")
        _tell(done, out)


@app.command
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
    """From a sparse network to a smaller one: the widths that its densities, or a budget, say.

    Prints part, width before, density, width after, parameters, multiply-adds and milliseconds.

    Parameters
    ----------
    model
        A checkpoint that was sparsified.
    out
        The checkpoint to write (.safetensors).
    init
        Start from the channels that weigh most, or from scratch.
    seed
        Of the weights from scratch.
    size
        The size of the frames that the table is for.
    overwrite
        Replace OUT if it exists.

    """
    from tweenlet.compression.compress import begin
    from tweenlet.compression.densities import densities
    from tweenlet.compression.widths import compact as narrow
    from tweenlet.compression.widths import compaction
    from tweenlet.network import checkpoint as weights
    from tweenlet.network.cost import size_of

    check_free(out, overwrite)
    width_and_height, budget = size_of(size), _budget(params, macs, ms)
    sparse = weights.load(model)
    found = densities(sparse)
    after = narrow(sparse.config, found, budget, say)
    weights.save(out, begin(sparse, after, init, seed))
    print(compaction(sparse.config, after, found, width_and_height, timed=True).markdown(), end="")


@app.command
def distill(
    student: str,
    /,
    *data: Data,
    teacher: list[str] | None = None,
    teacher_frames: list[Path] | None = None,
    teacher_weight: list[float] | None = None,
    out: Path = Path("run"),
    alpha: float = 0.1,
    filter_teacher: bool = False,
    attention: list[str] | None = None,
    flow_weight: float = 0.0,
    precompute_teacher: bool = False,
    data_options: Sampling = COURSE,
    options: Distilling = PLAN.distill,
) -> None:
    """Stage 2: train a student on what teachers say, and a little on the truth; resumable.

    Parameters
    ----------
    student
        A checkpoint to start from, a JSON file of a ModelConfig, or mini, small, ...
    teacher
        A checkpoint, a name of shipped weights or an ONNX file; several if said several times.
    teacher_frames
        A folder of frames that any program made: CLIP/N.png is frame N of CLIP, made from its frames N-3,
        N-1, N+1 and N+3. Goes with --recipe.strides 1 --recipe.synthetic 0.
    teacher_weight
        Of each teacher in turn, those of frames last; equal if not given.
    out
        A folder for the weights (model.safetensors), the state and the log (log.jsonl).
    alpha
        Weight of the truth beside the teachers.
    filter_teacher
        Use a teacher only where it is nearer to the truth than blending; the truth elsewhere.
    attention
        Parts (features, kernels, fusion, texture, ...) that should look where the first teacher's do.
    flow_weight
        Weight of the distance to the first teacher's flows, for intermediate-flow networks.
    precompute_teacher
        Run the teachers over all samples once, before training, and store their frames beside the samples.

    """
    import torch

    from tweenlet.compression.distill import distill as learn
    from tweenlet.compression.teachers import intermediate_losses, load_teachers
    from tweenlet.network.checkpoint import network_of
    from tweenlet.runtime.devices import resolve_device
    from tweenlet.training.data.build import make_sampler

    given = len(teacher or ()) + len(teacher_frames or ())
    if not given or len(teacher_weight or ()) not in (0, given):
        raise ValueError(
            "expected --teacher or --teacher-frames, and a --teacher-weight for each or for none"
        )
    resolve_device(options.device)
    torch.manual_seed(data_options.seed)
    model = network_of(student)
    with _prepared("distilling", data_options, data, out) as (samples, held_out, progress):
        preparing = _preparing(progress)
        teachers = load_teachers(
            teacher or (), teacher_frames or (), samples, precompute_teacher, options.device, preparing
        )
        losses = intermediate_losses(model, teachers, attention or (), flow_weight)
        batches = make_sampler(data_options, samples, teachers.teacher_frames)
        done = learn(
            model, teachers.teachers, batches, held_out, options, out, _ticking(progress),
            alpha=alpha, weights=teacher_weight, filter_teacher=filter_teacher, intermediate=losses,
        )  # fmt: skip
        _tell(done, out)


@app.command
def compress(
    teacher: str,
    /,
    *data: Data,
    out: Annotated[Path, Parameter(name=["--out", "-o"])],
    params: Params = None,
    macs: Macs = None,
    ms: Ms = None,
    benchmark: str | None = None,
    teacher_frames: list[Path] | None = None,
    precompute_teacher: bool = False,
    data_options: Sampling = COURSE,
    plan: Annotated[Plan, Parameter(name="*", group=Group("Stages", sort_key=3))] = PLAN,
) -> None:
    """Make a trained network small: sparsify, compact, distil, evaluate, report; resumable.

    Parameters
    ----------
    teacher
        A trained checkpoint, or a name of shipped weights.
    out
        A folder for what is made: student.safetensors, report.html, report.md, report.json, the stages.
    benchmark
        Benchmark for teacher and student, such as clips:FOLDER; default: the held-out samples.
    teacher_frames
        Let frames that any program made teach instead (see tweenlet distill --help).
    precompute_teacher
        Run the teacher over all samples once, before training, and store its frames beside the samples.

    """
    from tweenlet.compression.compress import compress as make
    from tweenlet.compression.teachers import load_teachers
    from tweenlet.evaluation.benchmarks import benchmark as open_benchmark
    from tweenlet.network import checkpoint as weights
    from tweenlet.runtime.devices import resolve_device

    resolve_device(plan.sparsify.device), resolve_device(plan.distill.device)
    network, budget = weights.load(teacher), _budget(params, macs, ms)
    samples_to_score = open_benchmark(benchmark) if benchmark else None
    with _prepared("compressing", data_options, data, out) as (samples, held_out, progress):
        preparing = _preparing(progress)
        if held_out is None:
            raise ValueError("nothing is held out to validate on: give --validate, or more clips")
        sources = [teacher] if precompute_teacher and not teacher_frames else []
        teachers = load_teachers(
            sources, teacher_frames or (), samples, precompute_teacher, plan.distill.device, preparing
        )
        report = make(
            network, samples, held_out, out, budget, plan, data_options,
            teachers=teachers if teachers.teachers else None, benchmark=samples_to_score,
            command=shlex.join(["tweenlet", *sys.argv[1:]]), notify=say, progress=preparing,
        )  # fmt: skip
    if report is not None:
        print(report.markdown(), end="")


def _budget(params: str | None, macs: str | None, ms: str | None) -> Budget | None:
    from tweenlet.compression.budget import Budget

    for kind, text in (("params", params), ("macs", macs), ("ms", ms)):
        if text is not None:
            return Budget.parse(kind, text)
    return None


@contextmanager
def _prepared(
    what: str, data_options: DataOptions, data: Sequence[Path], out: Path
) -> Iterator[tuple[CropDataset, CropDataset | None, Any]]:
    """Together with the other processes of a run: samples, those held out, and a bar that tells."""
    from tweenlet.training import distributed
    from tweenlet.training.data.build import open_datasets

    with distributed.init_distributed(), bar(what, "steps", shown=not distributed.rank()) as progress:
        yield *open_datasets(data_options, data, out, say, _preparing(progress)), progress


def _preparing(progress: Any) -> Any:
    return lambda what, done, total: progress(done, total, what)


def _ticking(progress: Any) -> Any:
    def tell(info: StepInfo) -> None:
        progress(info.step, info.steps)

    return tell


def _tell(done: Result, out: Path) -> None:
    """Say what came of a training; KeyboardInterrupt where it was interrupted, so that scripts stop too."""
    from tweenlet.training import distributed

    scored = "" if done.psnr is None else f", {done.psnr:.2f} dB (blending: {done.blend_psnr:.2f} dB)"
    if not distributed.rank():
        said = f"{done.stopped} at step {done.step} after {done.seconds:.0f} s{scored}"
        print(f"{out / 'model.safetensors'}: {said}")
    if done.stopped == "interrupted":
        raise KeyboardInterrupt
