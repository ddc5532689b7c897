"""The public doors to training and compression: a network and paths of footage in, a network out.

train, sparsify, distill   a stage each, into a folder; called again they go on where they were stopped
compress                   all of it, for a network of the family or any nn.Module
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tweenlet.compression import compress as family
from tweenlet.compression.budget import Budget
from tweenlet.compression.distill import distill as run_distill
from tweenlet.compression.distill import network_teacher
from tweenlet.compression.modules import FrameAdapter, guess_inputs, load_pruned, prune_module
from tweenlet.compression.report import Compressed
from tweenlet.compression.sparsify import sparsify as run_sparsify
from tweenlet.network import checkpoint
from tweenlet.network.checkpoint import digest_of_tensors, network_of, trained_network_of
from tweenlet.network.stmfnet import STMFNet
from tweenlet.runtime.atomic import write_bytes_atomically
from tweenlet.training import distributed
from tweenlet.training.data.build import make_sampler, open_datasets
from tweenlet.training.data.dataset import CropDataset, Dataset
from tweenlet.training.loop import Result, StepInfo, validate
from tweenlet.training.loop import train as run_train
from tweenlet.training.losses import build_objective
from tweenlet.training.options import DataOptions, DistillOptions, Plan, SparsifyOptions, TrainOptions

Footage = str | PathLike[str] | Sequence[str | PathLike[str]]
"""Videos, and folders of videos or of frames."""
Model = nn.Module | str | PathLike[str]
"""A network, the name of a config or of bundled weights, or a path of one."""
Steps = Callable[[StepInfo], None] | None


def train(
    model: Model,
    data: Footage,
    out: str | PathLike[str],
    options: TrainOptions | None = None,
    data_options: DataOptions | None = None,
    *,
    progress: Steps = None,
    anyway: bool = False,
) -> nn.Module:
    """Train a network on footage into the folder ``out``; called again it goes on where it was stopped.

    Args:
        model: a network of four frames, (B, 4, 3, h, w) to (B, 3, h, w); or a name or path of one.
        data: footage.
        out: folder for the weights (model.safetensors, best.safetensors), the state and the log.
        options: of the training.
        data_options: which samples, and how they come in batches.
        progress: called after every step.
        anyway: go on in ``out`` although the run there differs.

    Returns:
        The averaged weights, in eval mode.

    Raises:
        ValueError: no usable footage, another run in ``out``, or a loss that diverged.
        KeyboardInterrupt: interrupted, and saved.
        OSError: something cannot be read or written.

    Examples:
        >>> options = tweenlet.TrainOptions(steps=2, warmup=1)
        >>> samples = tweenlet.Recipe(samples=4, validation=2, crop=32, synthetic=0, strides=(1,))
        >>> data = tweenlet.DataOptions(batch=2, crop=32, recipe=samples)
        >>> model = tweenlet.train("tiny", "clips", "run", options, data)
        >>> tweenlet.load("run/model.safetensors").config == model.config
        True

    """
    options, data_options = options or TrainOptions(), data_options or DataOptions()
    torch.manual_seed(data_options.seed)
    model = _network(model)
    samples, held_out = open_datasets(data_options, _paths(data), Path(out))
    sampler = make_sampler(data_options, samples)
    return _finished(run_train(model, sampler, held_out, options, Path(out), progress, anyway=anyway))


def sparsify(
    model: Model,
    data: Footage,
    out: str | PathLike[str],
    options: SparsifyOptions | None = None,
    data_options: DataOptions | None = None,
    *,
    density: float = 0.1,
    progress: Steps = None,
    anyway: bool = False,
) -> nn.Module:
    """Train a network on while OBProx-SG drives its weights to zero, but for a share ``density`` of them.

    All other arguments, the result and errors are those of :func:`train`.

    Examples:
        >>> options = tweenlet.SparsifyOptions(steps=4, warmup=1)
        >>> samples = tweenlet.Recipe(samples=4, validation=2, crop=32, synthetic=0, strides=(1,))
        >>> data = tweenlet.DataOptions(batch=2, crop=32, recipe=samples)
        >>> sparse = tweenlet.sparsify("tiny", "clips", "sparse", options, data, density=0.5)
        >>> weights = [p for p in sparse.parameters() if p.dim() > 1]
        >>> 0.4 < sum(int((w != 0).sum()) for w in weights) / sum(w.numel() for w in weights) < 0.6
        True

    """
    options, data_options = options or SparsifyOptions(), data_options or DataOptions()
    torch.manual_seed(data_options.seed)
    model = copy.deepcopy(_trained(model))
    samples, held_out = open_datasets(data_options, _paths(data), Path(out))
    sampler = make_sampler(data_options, samples)
    return _finished(run_sparsify(model, sampler, held_out, options, Path(out), density, progress, anyway))


def distill(
    student: Model,
    teacher: Model,
    data: Footage,
    out: str | PathLike[str],
    options: DistillOptions | None = None,
    data_options: DataOptions | None = None,
    *,
    alpha: float = 0.1,
    progress: Steps = None,
    anyway: bool = False,
) -> nn.Module:
    """Train a student on what a teacher makes of footage and, with weight ``alpha``, on the truth.

    All other arguments, the result and errors are those of :func:`train`.

    Examples:
        >>> options = tweenlet.DistillOptions(steps=2, warmup=1)
        >>> samples = tweenlet.Recipe(samples=4, validation=2, crop=32, synthetic=0, strides=(1,))
        >>> data = tweenlet.DataOptions(batch=2, crop=32, recipe=samples)
        >>> teacher = tweenlet.STMFNet(tweenlet.MINI)
        >>> student = tweenlet.distill("tiny", teacher, "clips", "taught", options, data)
        >>> student.training
        False

    """
    options, data_options = options or DistillOptions(), data_options or DataOptions()
    torch.manual_seed(data_options.seed)
    student, teacher = _network(student), _trained(teacher)
    samples, held_out = open_datasets(data_options, _paths(data), Path(out))
    result = run_distill(
        student, [network_teacher(teacher)], make_sampler(data_options, samples), held_out, options,
        Path(out), progress, alpha=alpha, identity={"teachers": [digest_of_tensors(teacher)]}, anyway=anyway,
    )  # fmt: skip
    return _finished(result)


@dataclass(frozen=True)
class CompressedModule:
    """What was made of a module that is not of the family."""

    module: nn.Module
    """The module's own class with narrower layers, taught, in eval mode."""
    parameters: tuple[int, int]
    """Before and after."""
    unpruned: Mapping[str, str]
    """Layers that keep all their channels, and why."""
    psnr: Mapping[str, float]
    """dB on held-out samples, of "teacher" and "student"."""

    def markdown(self) -> str:
        """What was compressed, in words."""
        before, after = self.parameters
        scores = ", ".join(f"{name} {value:.2f} dB" for name, value in self.psnr.items())
        lines = [f"{before:,} -> {after:,} parameters; {scores} on held-out samples.", ""]
        lines += [f"- {name} keeps its channels: {reason}" for name, reason in self.unpruned.items()]
        return "# A compressed network\n\n" + "\n".join(lines) + "\n"


def compress(
    model: Model,
    data: Footage,
    budget: Budget | str | None = None,
    *,
    out: str | PathLike[str] = "compressed",
    example_inputs: Sequence[Any] | None = None,
    plan: Plan | None = None,
    data_options: DataOptions | None = None,
    command: str = "",
    notify: Callable[[str], None] | None = None,
    progress: Any = None,
    anyway: bool = False,
) -> Compressed | CompressedModule | None:
    """Make any interpolation network small: prune it to a budget, and teach it by itself.

    Args:
        model: a network of the family, or its name or path; or any module that takes two or four pictures,
            and perhaps a time, and gives the one in the middle.
        data: footage.
        budget: parameters as "2M" or "50%", or a :class:`Budget`, ``Budget.parse("ms", "200@480p")``.
        out: folder for student.safetensors, the report and the stages.
        example_inputs: of a module, the arguments of one call; tried in turn by default.
        plan: how. A module outside the family is pruned by Taylor importance whatever it says.
        data_options: which samples, and how they come in batches. Crops must be sizes that the module takes.
        command: what was typed, for the report.
        notify: hears what comes of each stage.
        progress: called with what is being done, how much of it is done, and how much there is.
        anyway: go on in ``out`` although the compression there differs.

    Returns:
        The report; of a module a :class:`CompressedModule`, whose ``module`` saves, loads and exports as the
        one that came in. None in all but the first of processes that train together.

    Raises:
        ValueError: a budget that cannot be met or asks for nothing, a module that is called otherwise,
            no usable footage, or another compression in ``out``.
        OSError: something cannot be read or written; the package torch-pruning is missing.

    Examples:
        >>> plan = tweenlet.Plan(passes=1, distill=tweenlet.DistillOptions(steps=2, warmup=1))
        >>> samples = tweenlet.Recipe(samples=4, validation=2, crop=32, synthetic=0, strides=(1,))
        >>> data = tweenlet.DataOptions(batch=2, crop=32, recipe=samples)
        >>> first, last = torch.nn.Conv2d(6, 16, 3, padding=1), torch.nn.Conv2d(16, 3, 3, padding=1)
        >>> model, inputs = torch.nn.Sequential(first, torch.nn.ReLU(), last), (torch.rand(1, 6, 32, 32),)
        >>> small = tweenlet.compress(
        ...     model, "clips", "50%", example_inputs=inputs, plan=plan, data_options=data
        ... )
        >>> small.parameters[1] <= small.parameters[0] / 2
        True

    """
    plan, data_options, folder = plan or Plan(), data_options or DataOptions(), Path(out)
    torch.manual_seed(data_options.seed)
    network = _trained(model)
    limit = Budget.parse("params", budget) if isinstance(budget, str) else budget
    samples, held_out = open_datasets(data_options, _paths(data), folder, notify, progress)
    if held_out is None:
        raise ValueError("nothing is held out to validate on: expected footage to validate on, or more clips")
    if isinstance(network, STMFNet):
        return family.compress(
            network, samples, held_out, folder, limit, plan, data_options,
            command=command, notify=notify, progress=progress, anyway=anyway,
        )  # fmt: skip
    if limit is None:
        raise ValueError("a network outside the family needs a budget: expected parameters, or another")
    return compress_module(
        network,
        samples,
        held_out,
        folder,
        limit,
        plan,
        data_options,
        example_inputs,
        notify,
        progress,
        anyway,
    )


def compress_module(
    module: nn.Module,
    samples: Dataset,
    validation: CropDataset,
    folder: Path,
    budget: Budget,
    plan: Plan,
    data_options: DataOptions,
    example_inputs: Sequence[Any] | None = None,
    notify: Callable[[str], None] | None = None,
    progress: Any = None,
    anyway: bool = False,
) -> CompressedModule | None:
    """Prune a module on Torch-Pruning's graph, teach it, score it; all as of :func:`compress`."""
    module = module.eval()
    teacher = FrameAdapter(module, guess_inputs(module) if example_inputs is None else example_inputs).eval()
    start, reasons = folder / "start.safetensors", folder / "unpruned.json"
    sampler = make_sampler(data_options, samples)
    with distributed.main_process_first():
        if not start.exists():
            measured = [sampler.batch_at(step) for step in range(plan.passes)]
            pruned = prune_module(teacher, budget, measured, build_objective(plan.distill), notify)
            folder.mkdir(parents=True, exist_ok=True)
            write_bytes_atomically(reasons, json.dumps(dict(pruned.unpruned), indent=1).encode())
            checkpoint.save_tensors(start, pruned.adapter.module)
    student = copy.deepcopy(teacher)
    student.module = load_pruned(student.module, start)
    student.requires_grad_(True)
    steps = None if progress is None else lambda info: progress("distilling", info.step, info.steps)
    result = run_distill(
        student, [network_teacher(teacher)], sampler, validation, plan.distill, folder / "distill", steps,
        alpha=plan.alpha, filter_teacher=plan.filter_teacher, anyway=anyway,
        identity={"teachers": [digest_of_tensors(teacher)], "budget": str(budget)},
    )  # fmt: skip
    taught = _finished(result)
    if distributed.rank():
        return None
    assert isinstance(taught, FrameAdapter)
    scores = {"teacher": validate(teacher, validation), "student": validate(taught, validation)}
    counts = tuple(sum(p.numel() for p in each.parameters()) for each in (teacher, taught))
    unpruned = {name.removeprefix("module."): why for name, why in json.loads(reasons.read_text()).items()}
    report = CompressedModule(taught.module.cpu(), (counts[0], counts[1]), unpruned, scores)
    checkpoint.save_tensors(folder / "student.safetensors", report.module)
    write_bytes_atomically(folder / "report.md", report.markdown().encode())
    return report


def _network(model: Model) -> nn.Module:
    return model if isinstance(model, nn.Module) else network_of(str(model))


def _trained(model: Model) -> nn.Module:
    return model if isinstance(model, nn.Module) else trained_network_of(str(model))


def _paths(data: Footage) -> list[Path]:
    return [Path(data)] if isinstance(data, str | PathLike) else [Path(path) for path in data]


def _finished(result: Result) -> nn.Module:
    if result.stopped == "interrupted":
        raise KeyboardInterrupt
    return result.model
