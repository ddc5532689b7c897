"""Modules: any network made small, not only those of the family, on Torch-Pruning's dependency graph.

    module, example inputs --FrameAdapter--> a network of four frames, as all trainings take
                           --prunable------> layers that may lose channels, and why others may not
                           --prune_module--> Taylor importance, group by group, until the budget is met
    module, tensors -------- load_pruned---> the same class with the widths that the tensors have

Torch-Pruning (Fang et al., "DepGraph: Towards Any Structural Pruning", CVPR 2023) follows which channels
belong together; it is in the extra ``compress``. It cannot see everything: slices, constants, positions. So
each layer is tried first: without a channel that was zero, the network must run and give the same.
"""

from __future__ import annotations

import copy
import importlib.util
import inspect
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch.utils.flop_counter import FlopCounterMode

from tweenlet.compression.budget import Budget
from tweenlet.network.cost import parameters_of
from tweenlet.training.data.batches import Batch
from tweenlet.training.losses import Objective
from tweenlet.training.state import predict

ROUNDS = 30
"""Rounds of pruning, each after gradients were measured anew."""
MOST = 0.95
"""Share of a layer's channels that go at most."""
TOLERANCE = 1e-4
"""How far a picture may move when a channel that was zero is taken away."""
SIZES = 128
"""Frames that are timed and counted are padded up to a multiple of this, in pixels."""
CHANNELS = {3: (1,), 6: (1, 2), 12: (0, 1, 2, 3)}
"""The frames of four in an input of so many channels; one of 3 is told by its place."""
LAYOUTS: Mapping[str, tuple[int | str, ...]] = {
    "two frames and a time": (3, 3, "time"), "two frames": (3, 3), "four frames": (3, 3, 3, 3),
    "six channels": (6,), "six channels and a time": (6, "time"), "twelve channels": (12,),
}  # fmt: skip
"""Inputs that are tried where no example is given: channels of each tensor, or the time."""


class FrameAdapter(nn.Module):
    """A module under the signature of the family: frames (B, 4, 3, h, w) to the one in the middle.

    Args:
        module: takes pictures (B, 3, h, w) of two or four frames, or of them stacked along channels, and
            perhaps a time, which becomes 1/2; gives a picture (B, 3, h, w), alone or in a tuple or dict.
        example_inputs: one call's arguments, by which the inputs are told: tensors, and a float or a tensor
            without pictures for the time.

    Raises:
        ValueError: arguments that are not those.

    """

    def __init__(self, module: nn.Module, example_inputs: Sequence[Any]) -> None:
        super().__init__()
        self.module = module
        self._kinds = [_kind(value) for value in example_inputs]
        self._times = [value for value in example_inputs if _kind(value) == "time"]
        pictures = [kind for kind in self._kinds if kind not in ("time", "frames")]
        if "frames" not in self._kinds and pictures not in ([3, 3], [3] * 4, [6], [12]):
            raise ValueError(
                "expected two or four pictures of 3 channels, or them stacked, and perhaps a time; "
                f"got {', '.join(_describe(value) for value in example_inputs)}"
            )

    def forward(self, frames: Tensor) -> Tensor:
        """(B, 4, 3, h, w) -> (B, 3, h, w)."""
        return _picture(self.module(*self.inputs(frames)), frames.shape[-2:])

    def inputs(self, frames: Tensor) -> list[Any]:
        """The module's own arguments for frames (B, 4, 3, h, w)."""
        count = self._kinds.count(3)
        pictures = iter((1, 2) if count == 2 else (0, 1, 2, 3))
        times = iter(self._times)
        values: list[Any] = []
        for kind in self._kinds:
            if kind == "frames":
                values.append(frames)
            elif kind == "time":
                values.append(_half_way(next(times), frames))
            elif kind == 3:
                values.append(frames[:, next(pictures)])
            else:
                values.append(frames[:, list(CHANNELS[int(kind)])].flatten(1, 2))
        return values


def guess_inputs(module: nn.Module, side: int = 64) -> list[Any]:
    """Example inputs that a module takes, tried in turn; ValueError, naming each, if it takes none."""
    reasons = []
    for name, layout in LAYOUTS.items():
        values = [
            torch.full((1, 1, 1, 1), 0.5) if kind == "time" else torch.rand(1, int(kind), side, side)
            for kind in layout
        ]
        try:
            with torch.no_grad():
                _picture(copy.deepcopy(module).eval()(*values), torch.Size((side, side)))
        except Exception as error:  # whatever a stranger's module raises
            reasons.append(f"{name}: {_first_line(error)}")
            continue
        return values
    raise ValueError(f"the network takes none of the inputs tried, give an example: {'; '.join(reasons)}")


def load_module(network: str, weights: str | Path | None = None) -> nn.Module:
    """A module by ``FILE.py:CLASS``, called without arguments, with weights if there are any.

    ``weights`` is a state dict by torch.save, alone or under "state_dict" or "model", or a safetensors file.
    Weights of a network that was pruned fit too (:func:`load_pruned`). The file is executed. ValueError where
    there is no such class, or the weights do not fit.
    """
    file, _, name = network.rpartition(":")
    if not file or not Path(file).is_file():
        raise ValueError(f"expected FILE.py:CLASS, got {network!r}")
    factory = getattr(_import(Path(file)), name, None)
    if not callable(factory):
        raise ValueError(f"{file} has no {name}")
    try:
        module = factory()
    except TypeError as error:
        raise ValueError(f"{name} of {file} cannot be made without arguments: {error}") from error
    if not isinstance(module, nn.Module):
        raise ValueError(f"{name} of {file} is {type(module).__name__}: expected an nn.Module")
    return load_pruned(module, weights).eval() if weights else module.eval()


def load_pruned(module: nn.Module, path: str | Path) -> nn.Module:
    """Load tensors into a module, whose layers take the widths that the tensors have; returns the module.

    Args:
        module: of the class that was pruned, at its full width.
        path: safetensors, or a state dict by torch.save, alone or under "state_dict" or "model".

    Raises:
        ValueError: a file that is neither, or tensors of another network.
        FileNotFoundError: there is no such file.

    Examples:
        >>> torch.save(torch.nn.Conv2d(3, 5, 3).state_dict(), "pruned.pt")
        >>> tweenlet.load_pruned(torch.nn.Conv2d(3, 8, 3), "pruned.pt")(torch.rand(1, 3, 9, 9)).shape
        torch.Size([1, 5, 7, 7])

    """
    tensors = _read_tensors(Path(path))
    state = module.state_dict()
    if missing := sorted(set(state) ^ set(tensors)):
        raise ValueError(f"{path} is of another network: it differs in {', '.join(missing[:3])}, ...")
    for name, tensor in tensors.items():
        if tensor.dim() != state[name].dim():
            raise ValueError(f"{path} is of another network: {name} is {tuple(tensor.shape)}")
        owner_name, _, leaf = name.rpartition(".")
        owner = module.get_submodule(owner_name)
        if leaf in owner._parameters:
            owner._parameters[leaf] = nn.Parameter(tensor.clone())
        else:
            owner._buffers[leaf] = tensor.clone()
    for layer in module.modules():
        _take_widths(layer)
    return module


@dataclass(frozen=True)
class ModulePruning:
    """What was taken from a module."""

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
    """Take groups of channels from a copy of a module until it meets a budget, the least salient first.

    Args:
        adapter: the network.
        budget: parameters, multiply-adds or milliseconds.
        batches: what gradients are measured on.
        objective: what is measured.
        notify: hears what was met, and which layers stay whole.

    Raises:
        ValueError: a budget that the network meets already or that cannot be met, or no layer to prune.
        OSError: without the package torch-pruning.

    """
    pruning = _torch_pruning()
    adapter = copy.deepcopy(adapter).eval().requires_grad_(True)
    frames = batches[0].frames[:1]
    before = _spent(adapter, budget)
    limit = budget.limit * before if budget.relative else budget.limit
    if before <= limit:
        raise ValueError(f"nothing to make smaller: the network costs {budget.say(before)}, {budget}")
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
            f"that may go are gone; whole stay {_listed(unpruned)}"
        )
    if notify:
        notify(f"pruned to {budget.say(cost)}; whole stay {_listed(unpruned) or 'none'}")
    return ModulePruning(adapter.eval(), (counts, parameters_of(adapter)), unpruned)


def find_unprunable(adapter: FrameAdapter, frames: Tensor) -> dict[str, str]:
    """Layers that must keep all their channels, with the reason, found by trying.

    ``frames`` (1, 4, 3, h, w) are what it is tried on.
    """
    reasons = {}
    for name, layer in _layers(adapter):
        if _width(layer) < 2:
            reasons[name] = "it has one channel"
        elif reason := _refusal(adapter, name, frames):
            reasons[name] = reason
    return reasons


@torch.no_grad()
def _refusal(adapter: FrameAdapter, name: str, frames: Tensor) -> str:
    """Why a layer cannot lose its last channel, or nothing."""
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
        return f"the network does not run without one of its channels ({_first_line(error)})"
    if not torch.allclose(output, expected, atol=TOLERANCE, rtol=0):
        return "the picture depends on how many channels there are"
    return ""


def _silence(module: Any, handler: Any, indices: Sequence[int], graph: Any) -> None:
    """Zero what a group makes or scales in some channels of a layer."""
    writes = isinstance(module, _ConvNd | nn.Linear | _BatchNorm) and graph.is_out_channel_pruning_fn(handler)
    if writes:
        for tensor in (module.weight, module.bias):
            if tensor is not None:
                if isinstance(module, nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d):
                    tensor[:, indices] = 0 if tensor.dim() > 1 else tensor[:, indices]
                    continue
                tensor[indices] = 0


def _spent(adapter: FrameAdapter, budget: Budget) -> float:
    """What a module costs, in the unit of a budget."""
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


def _kind(value: Any) -> int | str:
    if isinstance(value, Tensor) and value.dim() == 5:
        return "frames"
    if isinstance(value, Tensor) and value.dim() == 4 and value.shape[1] in CHANNELS:
        return int(value.shape[1])
    if isinstance(value, int | float) or (isinstance(value, Tensor) and value.numel() == len(value.view(-1))):
        return "time"
    return str(type(value).__name__)


def _describe(value: Any) -> str:
    return f"{tuple(value.shape)}" if isinstance(value, Tensor) else repr(value)


def _half_way(example: Any, frames: Tensor) -> Any:
    """The time of the middle in the form of an example: a number, one for each sample, or a plane."""
    if not isinstance(example, Tensor):
        return 0.5
    shape = list(example.shape)
    if shape and shape[0] == 1:
        shape[0] = len(frames)
    if len(shape) == 4 and shape[-1] > 1:
        shape[-2:] = frames.shape[-2:]
    return frames.new_full(shape, 0.5)


def _picture(output: Any, size: torch.Size) -> Tensor:
    """The first picture (B, 3, h, w) in what a module returned; ValueError where there is none."""
    waiting = [output]
    while waiting:
        value = waiting.pop(0)
        if isinstance(value, Tensor):
            if value.dim() == 4 and value.shape[1] == 3 and value.shape[-2:] == size:
                return value
        elif isinstance(value, Mapping):
            waiting[:0] = list(value.values())
        elif isinstance(value, Sequence) and not isinstance(value, str):
            waiting[:0] = list(value)
    raise ValueError(f"expected a picture of 3 channels and {size[1]}x{size[0]} pixels among what it returns")


def _read_tensors(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise FileNotFoundError(f"no such file of weights: {path}")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        values = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, RuntimeError, EOFError, KeyError, ValueError, TypeError, OSError) as error:
        raise ValueError(f"{path} holds no weights: {_first_line(error)}") from error
    except Exception as error:  # torch's unpickler has errors of its own
        raise ValueError(f"{path} holds more than tensors, or is damaged: {_first_line(error)}") from error
    for key in ("state_dict", "model"):
        if isinstance(values, Mapping) and isinstance(values.get(key), Mapping):
            values = values[key]
    if not isinstance(values, Mapping) or not all(isinstance(value, Tensor) for value in values.values()):
        raise ValueError(f"{path} holds no state dict")
    return {str(name).removeprefix("module."): tensor for name, tensor in values.items()}


def _take_widths(layer: nn.Module) -> None:
    """Let the numbers of channels that a layer carries agree with its tensors."""
    weight = layer._parameters.get("weight")
    if weight is None:
        return
    if isinstance(layer, _ConvNd):
        depthwise = layer.groups > 1 and layer.groups == layer.in_channels
        if depthwise:
            layer.groups = weight.shape[0]
        first, second = weight.shape[0], weight.shape[1]
        outs, ins = (second * layer.groups, first) if layer.transposed else (first, second * layer.groups)
        layer.out_channels, layer.in_channels = outs, ins
    elif isinstance(layer, nn.Linear):
        layer.out_features, layer.in_features = weight.shape
    elif isinstance(layer, _BatchNorm | nn.InstanceNorm2d):
        layer.num_features = len(weight)
    elif isinstance(layer, nn.PReLU):
        layer.num_parameters = len(weight)
    elif isinstance(layer, nn.GroupNorm):
        layer.num_channels = len(weight)


def _import(file: Path) -> ModuleType:
    """Execute a Python file as a module, with its folder on the path, as Python would."""
    name = f"_tweenlet_{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    sys.path.insert(0, str(file.parent.resolve()))
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ValueError(f"{file} cannot be executed: {_first_line(error)}") from error
    finally:
        sys.path.remove(str(file.parent.resolve()))
    return module


def _torch_pruning() -> Any:
    try:
        import torch_pruning
    except ImportError:
        raise OSError(
            "networks outside the family need the package torch-pruning: pip install 'tweenlet[compress]'"
        ) from None
    return torch_pruning


def _listed(unpruned: Mapping[str, str], most: int = 6) -> str:
    lines = [f"{name.removeprefix('module.')} ({reason})" for name, reason in unpruned.items()]
    more = [f"and {len(lines) - most} more"] if len(lines) > most else []
    return ", ".join(lines[:most] + more)


def _first_line(error: BaseException) -> str:
    text = str(error).strip() or inspect.cleandoc(type(error).__name__)
    return text.splitlines()[0][:160]
