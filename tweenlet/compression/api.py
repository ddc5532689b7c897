"""The public functions for training and compression: a network and footage in, a network out.

train, sparsify, distill   one stage each, into a folder; the same call again resumes it
compress                   all stages, for a network of the family or any nn.Module
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tweenlet.compression import compress as family
from tweenlet.compression.budget import Budget
from tweenlet.compression.distill import distill as run_distill
from tweenlet.compression.distill import network_teacher
from tweenlet.compression.modules.compress import CompressedModule, compress_module
from tweenlet.compression.report import Compressed
from tweenlet.compression.sparsify import sparsify as run_sparsify
from tweenlet.network.checkpoint import digest_of_tensors, network_of, trained_network_of
from tweenlet.network.stmfnet import STMFNet
from tweenlet.training.data.build import make_sampler, open_datasets
from tweenlet.training.data.dataset import Progress
from tweenlet.training.loop import Result, StepInfo
from tweenlet.training.loop import train as run_train
from tweenlet.training.options import DataOptions, DistillOptions, Plan, SparsifyOptions, TrainOptions

Footage = str | PathLike[str] | Sequence[str | PathLike[str]]
"""Videos, and folders of videos or of frames."""
Model = nn.Module | str | PathLike[str]
"""A network, the name of a config or of bundled weights, or a path to a checkpoint."""
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
    """Train a network on footage; the same call again resumes a run that was stopped.

    Args:
        model: network of four frames, (B, 4, 3, h, w) to (B, 3, h, w); or the name of a config or of bundled
            weights, or a path to a checkpoint.
        data: videos, and folders of videos or of frames.
        out: folder for the weights (model.safetensors, best.safetensors), the state and the log.
        options: length and rates of the training, its loss, device and saves.
        data_options: the samples, and how they come in batches.
        progress: called after every step.
        anyway: resume in ``out`` even if the run there differs.

    Returns:
        The network with the averaged weights, in eval mode.

    Raises:
        ValueError: no usable footage, a different run in ``out``, or a loss that diverged.
        KeyboardInterrupt: interrupted; the state is saved.
        OSError: a file cannot be read or written.

    Examples:
        >>> options = tweenlet.TrainOptions(steps=2, warmup=1)
        >>> recipe = tweenlet.Recipe(samples=4, validation=2, crop=32)
        >>> data = tweenlet.DataOptions(batch=2, crop=32, recipe=recipe)
        >>> model = tweenlet.train("tiny", "clips", "run", options, data)
        >>> tweenlet.load("run/model.safetensors").config == model.config
        True

    """
    options, data_options = options or TrainOptions(), data_options or DataOptions()
    torch.manual_seed(data_options.seed)
    model = _network(model)
    samples, held_out = open_datasets(data_options, _paths(data), Path(out))
    sampler = make_sampler(data_options, samples)
    return _model_of(run_train(model, sampler, held_out, options, Path(out), progress, anyway=anyway))


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
    """Continue training a network while OBProx-SG drives weights to zero, until ``density`` of them are left.

    ``density`` is a fraction in (0, 1]. Other arguments, the result and errors are those of :func:`train`.

    Examples:
        >>> options = tweenlet.SparsifyOptions(steps=4, warmup=1)
        >>> recipe = tweenlet.Recipe(samples=4, validation=2, crop=32)
        >>> data = tweenlet.DataOptions(batch=2, crop=32, recipe=recipe)
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
    return _model_of(run_sparsify(model, sampler, held_out, options, Path(out), density, progress, anyway))


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
    """Train a student on a teacher's frames and, with weight ``alpha``, on the true ones.

    Other arguments, the result and errors are those of :func:`train`.

    Examples:
        >>> options = tweenlet.DistillOptions(steps=2, warmup=1)
        >>> recipe = tweenlet.Recipe(samples=4, validation=2, crop=32)
        >>> data = tweenlet.DataOptions(batch=2, crop=32, recipe=recipe)
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
    return _model_of(result)


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
    progress: Progress | None = None,
    anyway: bool = False,
) -> Compressed | CompressedModule | None:
    """Make any interpolation network small: prune it to a budget, and distil the original into it.

    Args:
        model: a network of the family, or its name or path; or any module that takes two or four pictures
            and optionally a time, and returns the one in the middle.
        data: videos, and folders of videos or of frames.
        budget: number of parameters, "2M" or "50%", or a :class:`Budget`. Only the method "obproxsg" does
            without.
        out: folder for student.safetensors, the report and the stages.
        example_inputs: for a module outside the family, the arguments of one call; guessed if None.
        plan: method and stages. Modules outside the family are always pruned by Taylor importance.
        data_options: the samples, and how they come in batches. Crops must be of a size that the model takes.
        command: command line to quote in the report.
        notify: called with a line of text after each stage.
        progress: called with the name of the work under way, the units done and the total.
        anyway: resume in ``out`` even if the compression there differs.

    Returns:
        The report; for a module outside the family a :class:`CompressedModule`, whose ``module`` saves, loads
        and exports like the original. None in all distributed processes but the first.

    Raises:
        ValueError: a budget that cannot be met or is met already, a module with another signature, no usable
            footage, or a different compression in ``out``.
        KeyboardInterrupt: interrupted; the state is saved.
        OSError: a file cannot be read or written, or the package torch-pruning is missing.

    Examples:
        >>> plan = tweenlet.Plan(passes=1, distill=tweenlet.DistillOptions(steps=2, warmup=1))
        >>> recipe = tweenlet.Recipe(samples=4, validation=2, crop=32)
        >>> data = tweenlet.DataOptions(batch=2, crop=32, recipe=recipe)
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


def _network(model: Model) -> nn.Module:
    return model if isinstance(model, nn.Module) else network_of(str(model))


def _trained(model: Model) -> nn.Module:
    return model if isinstance(model, nn.Module) else trained_network_of(str(model))


def _paths(data: Footage) -> list[Path]:
    return [Path(data)] if isinstance(data, str | PathLike) else [Path(path) for path in data]


def _model_of(result: Result) -> nn.Module:
    result.check_finished()
    return result.model
