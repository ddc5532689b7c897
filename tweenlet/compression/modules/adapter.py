"""Adapter: any interpolation network under the signature of the family.

FILE.py:CLASS --load_module--> module
module, example inputs --FrameAdapter--> frames (B, 4, 3, h, w) to the one in the middle (B, 3, h, w)
"""

from __future__ import annotations

import copy
import importlib.util
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from tweenlet.compression.modules.weights import first_line, load_pruned

SIDE = 64
"""Height and width, in pixels, of the pictures that inputs are tried with."""
CHANNELS = {3: (1,), 6: (1, 2), 12: (0, 1, 2, 3)}
"""Channels of an input -> which of the four frames it stacks; inputs of 3 channels go by position."""
STACKS = {"stack of 2": slice(1, 3), "stack of 4": slice(4)}
"""Inputs (B, 2, 3, h, w) and (B, 4, 3, h, w) -> which of the four frames they hold."""
LAYOUTS: Mapping[str, tuple[int | str, ...]] = {
    "two frames and a time": (3, 3, "time"), "two frames": (3, 3), "four frames": (3, 3, 3, 3),
    "six channels": (6,), "six channels and a time": (6, "time"), "twelve channels": (12,),
    "frames (B, 2, 3, h, w) and a time": ("stack of 2", "time"), "frames (B, 2, 3, h, w)": ("stack of 2",),
    "frames (B, 4, 3, h, w) and a time": ("stack of 4", "time"), "frames (B, 4, 3, h, w)": ("stack of 4",),
}  # fmt: skip
"""Inputs to try where no example is given: channels of each tensor, a stack, or the time."""


class FrameAdapter(nn.Module):
    """A module under the signature of the family: frames (B, 4, 3, h, w) to the one in the middle.

    Args:
        module: takes two or four pictures (B, 3, h, w), separate or stacked, and optionally a time,
            which is set to 1/2; returns a picture (B, 3, h, w), alone or in a tuple or dict.
        example_inputs: arguments of one call, from which the signature is read: picture tensors, and a float
            or any other tensor for the time.

    Raises:
        ValueError: arguments of another kind.

    """

    def __init__(self, module: nn.Module, example_inputs: Sequence[Any]) -> None:
        super().__init__()
        self.module = module
        self._kinds = [_kind(value) for value in example_inputs]
        self._times = [value for value in example_inputs if _kind(value) == "time"]
        pictures = [kind for kind in self._kinds if kind != "time"]
        if pictures not in ([3, 3], [3] * 4, [6], [12], *([stack] for stack in STACKS)):
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
            if kind in STACKS:
                values.append(frames[:, STACKS[str(kind)]])
            elif kind == "time":
                values.append(_half_way(next(times), frames))
            elif kind == 3:
                values.append(frames[:, next(pictures)])
            else:
                values.append(frames[:, list(CHANNELS[int(kind)])].flatten(1, 2))
        return values


def guess_inputs(module: nn.Module) -> list[Any]:
    """Example inputs that a module takes, tried in turn; ValueError, naming each, if it takes none."""
    reasons = []
    for name, layout in LAYOUTS.items():
        values = [_example(kind) for kind in layout]
        try:
            with torch.no_grad():
                _picture(copy.deepcopy(module).eval()(*values), torch.Size((SIDE, SIDE)))
        except Exception as error:  # whatever a stranger's module raises
            reasons.append(f"{name}: {first_line(error)}")
            continue
        return values
    raise ValueError(f"the network takes none of the inputs tried, give an example: {'; '.join(reasons)}")


def load_module(network: str, weights: str | Path | None = None) -> nn.Module:
    """Instantiate ``FILE.py:CLASS`` without arguments, in eval mode. The file is executed.

    ``weights`` is a file that :func:`~.weights.load_pruned` takes, of the full network or a pruned one.
    ValueError if there is no such class, or the weights do not fit.
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
        raise ValueError(f"{name} of {file} cannot be constructed without arguments: {error}") from error
    if not isinstance(module, nn.Module):
        raise ValueError(f"{name} of {file} is {type(module).__name__}: expected an nn.Module")
    return load_pruned(module, weights).eval() if weights else module.eval()


def _example(kind: int | str) -> Tensor:
    if kind == "time":
        return torch.full((1, 1, 1, 1), 0.5)
    if kind in STACKS:
        return torch.rand(1, 4, 3, SIDE, SIDE)[:, STACKS[str(kind)]]
    return torch.rand(1, int(kind), SIDE, SIDE)


def _kind(value: Any) -> int | str:
    if isinstance(value, Tensor) and value.dim() == 5 and f"stack of {value.shape[1]}" in STACKS:
        return f"stack of {value.shape[1]}"
    if isinstance(value, Tensor) and value.dim() == 4 and value.shape[1] in CHANNELS:
        return int(value.shape[1])
    if isinstance(value, int | float) or (isinstance(value, Tensor) and value.numel() == len(value.view(-1))):
        return "time"
    return str(type(value).__name__)


def _describe(value: Any) -> str:
    return f"{tuple(value.shape)}" if isinstance(value, Tensor) else repr(value)


def _half_way(example: Any, frames: Tensor) -> Any:
    """Time 1/2 in the form of an example: a number, a tensor with one per sample, or a plane."""
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
    pending = [output]
    while pending:
        value = pending.pop(0)
        if isinstance(value, Tensor):
            if value.dim() == 4 and value.shape[1] == 3 and value.shape[-2:] == size:
                return value
        elif isinstance(value, Mapping):
            pending[:0] = list(value.values())
        elif isinstance(value, Sequence) and not isinstance(value, str):
            pending[:0] = list(value)
    raise ValueError(f"expected a picture of 3 channels and {size[1]}x{size[0]} pixels among what it returns")


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
        raise ValueError(f"{file} cannot be executed: {first_line(error)}") from error
    finally:
        sys.path.remove(str(file.parent.resolve()))
    return module
