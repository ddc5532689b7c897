"""Pruning of modules: remove the least important channel groups of Torch-Pruning's dependency graph.

    adapter, frames --find_unprunable--> layers that keep all their channels, and why
    adapter, budget --prune_module-----> Taylor importance, group by group, until the budget is met

Torch-Pruning (Fang et al., "DepGraph: Towards Any Structural Pruning", CVPR 2023) follows which channels
depend on one another; it is in the extra ``compress``. Slices, constants and positions escape it, so each
layer is tried first: with one channel zeroed, then removed, the network must run and give the same picture.
"""

from __future__ import annotations

import copy
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch.utils.flop_counter import FlopCounterMode

from tweenlet.compression.budget import Budget
from tweenlet.compression.modules.adapter import FrameAdapter
from tweenlet.compression.modules.weights import first_line
from tweenlet.network.cost import parameters_of
from tweenlet.training.data.batches import Batch, predict
from tweenlet.training.data.clips import name_few
from tweenlet.training.losses import Objective

ROUNDS = 30
"""Rounds of pruning; gradients are measured again before each."""
MOST = 0.95
"""Largest fraction of a layer's channels that may go."""
TOLERANCE = 1e-4
"""Largest change of a pixel, in [0, 1], when a channel that is zero is removed."""
SIZES = 128
"""Pixels: frames to time and count are padded to multiples of this."""


@dataclass(frozen=True)
class ModulePruning:
    """A pruned module."""

    adapter: FrameAdapter
    """The smaller network, under the family's signature."""
    parameters: tuple[int, int]
    """Before and after."""
    unpruned: Mapping[str, str]
    """Layers that keep all their channels, and why."""


def prune_module(
    adapter: FrameAdapter,
    budget: Budget,
    batches: Sequence[Batch],
    objective: Objective,
    notify: Callable[[str], None] | None = None,
) -> ModulePruning:
    """Remove groups of channels from a copy of a module until it meets a budget, the least salient first.

    Args:
        adapter: the network.
        budget: parameters, multiply-adds or milliseconds.
        batches: samples to measure gradients on.
        objective: loss whose gradients rank the groups.
        notify: called with the cost reached and the layers that stay whole.

    Raises:
        ValueError: a budget that the network meets already or that cannot be met, or no layer to prune.
        OSError: the package torch-pruning is missing.

    """
    pruning = _torch_pruning()
    adapter = copy.deepcopy(adapter).eval().requires_grad_(True)
    frames = batches[0].frames[:1]
    before = _spent(adapter, budget)
    limit = budget.limit * before if budget.relative else budget.limit
    if before <= limit:
        raise ValueError(f"the budget is met already: the network costs {budget.say(before)}, {budget}")
    unpruned = find_unprunable(adapter, frames)
    layers = dict(_layers(adapter))
    if len(unpruned) == len(layers):
        raise ValueError(f"no layer can lose a channel: {_listed(unpruned)}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of parameters outside layers, whose last long dimension it takes
        pruner = pruning.pruner.BasePruner(
            adapter, frames, importance=pruning.importance.GroupTaylorImportance(), global_pruning=True,
            pruning_ratio=MOST, max_pruning_ratio=MOST, iterative_steps=ROUNDS,
            ignored_layers=[layers[name] for name in unpruned], root_module_types=[_ConvNd, nn.Linear],
        )  # fmt: skip
    counts = parameters_of(adapter)
    for _ in range(ROUNDS):
        adapter.zero_grad()
        for batch in batches:
            loss = objective(predict(adapter, batch).float(), batch)[0] / len(batches)
            loss.backward()  # type: ignore[no-untyped-call]
        pruner.step()
        adapter.zero_grad(set_to_none=True)
        if (cost := _spent(adapter, budget)) <= limit:
            break
    else:
        raise ValueError(
            f"the budget cannot be met: {budget.say(cost)} are left where {100 * MOST:.0f} % of the channels "
            f"that may go are gone; kept whole: {_listed(unpruned)}"
        )
    if notify:
        notify(f"pruned to {budget.say(cost)}; kept whole: {_listed(unpruned) or 'none'}")
    return ModulePruning(adapter.eval(), (counts, parameters_of(adapter)), unpruned)


def find_unprunable(adapter: FrameAdapter, frames: Tensor) -> dict[str, str]:
    """Layers that must keep all their channels, and why, found by trying on frames (1, 4, 3, h, w)."""
    reasons = {}
    for name, layer in _layers(adapter):
        if _width(layer) < 2:
            reasons[name] = "it has one channel"
        elif reason := _refusal(adapter, name, frames):
            reasons[name] = reason
    return reasons


@torch.no_grad()
def _refusal(adapter: FrameAdapter, name: str, frames: Tensor) -> str:
    """Why a layer cannot lose its last channel; "" if it can."""
    pruning = _torch_pruning()
    trial = copy.deepcopy(adapter).eval().requires_grad_(True)
    layer = trial.get_submodule(name)
    try:
        with torch.enable_grad():
            graph = pruning.DependencyGraph().build_dependency(
                trial, frames, unwrapped_parameters=[], verbose=False
            )
        remove = graph.get_pruner_of_module(layer).prune_out_channels
        width = _width(layer)
        group = graph.get_pruning_group(layer, remove, idxs=[width - 1])
        members = [dependency.target.module for dependency, _ in group]
        groups = max((m.groups for m in members if isinstance(m, _ConvNd)), default=1)
        if groups > 1:  # of grouped convolutions, one from each
            last_ones = [width // groups * (number + 1) - 1 for number in range(groups)]
            group = graph.get_pruning_group(layer, remove, idxs=last_ones)
        if not graph.check_pruning_group(group):
            return "nothing would be left of a layer that goes with it"
        for dependency, indices in group:
            _silence(dependency.target.module, dependency.handler, indices, graph)
        expected = trial(frames)
        group.prune()
        output = trial(frames)
    except Exception as error:  # whatever the graph or a stranger's module raises
        return f"the network does not run without one of its channels ({first_line(error)})"
    if not torch.allclose(output, expected, atol=TOLERANCE, rtol=0):
        return "the picture depends on how many channels there are"
    return ""


def _silence(module: Any, handler: Any, indices: Sequence[int], graph: Any) -> None:
    """Zero the output channels of a layer that belong to a group."""
    writes = isinstance(module, _ConvNd | nn.Linear | _BatchNorm) and graph.is_out_channel_pruning_fn(handler)
    if writes:
        for tensor in (module.weight, module.bias):
            if tensor is not None:
                if isinstance(module, nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d):
                    tensor[:, indices] = 0 if tensor.dim() > 1 else tensor[:, indices]
                    continue
                tensor[indices] = 0


def _spent(adapter: FrameAdapter, budget: Budget) -> float:
    """Cost of a module, in the unit of a budget."""
    if budget.kind == "params":
        return float(parameters_of(adapter))
    height, width = (-(-side // SIZES) * SIZES for side in (budget.height, budget.width))
    frames = torch.zeros(1, 4, 3, height, width)
    with torch.no_grad():
        if budget.kind == "macs":
            with FlopCounterMode(display=False) as counter:
                adapter(frames)
            return float(counter.get_total_flops()) / 2
        times = []
        for _ in range(4):
            begun = time.process_time()
            adapter(frames)
            times.append(time.process_time() - begun)
    return 1e3 * min(times[1:]) / torch.get_num_threads()


def _layers(model: nn.Module) -> Iterable[tuple[str, nn.Module]]:
    for name, layer in model.named_modules():
        if isinstance(layer, _ConvNd | nn.Linear):
            yield name, layer


def _width(layer: nn.Module) -> int:
    return layer.out_features if isinstance(layer, nn.Linear) else cast(_ConvNd, layer).out_channels


def _torch_pruning() -> Any:
    try:
        import torch_pruning
    except ImportError:
        raise OSError(
            "networks outside the family need the package torch-pruning: pip install 'tweenlet[compress]'"
        ) from None
    return torch_pruning


def _listed(unpruned: Mapping[str, str]) -> str:
    return name_few([f"{name.removeprefix('module.')} ({why})" for name, why in unpruned.items()], 6)
