"""Function: a Python function as a Method, by its place."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tweenlet.evaluation.baselines.method import Peer, sha256
from tweenlet.network.cost import parameters_of


def function(place: str) -> Peer:
    """A Python function, ``FILE.py:FUNCTION`` or ``package.module:function``, by its place.

    It is given the four frames, a float32 tensor (4, 3, H, W) on the CPU that is its own, without gradients;
    and gives a tensor or a numpy array (3, H, W) of floats in [0, 1]. What it imports may lie beside FILE.py,
    or, as the package, in the current folder. Its exceptions are its own.

    FileNotFoundError for no such file; ValueError for what cannot be imported or called, and when called, for
    a result of another kind.
    """
    source, _, name = place.rpartition(":")
    module = _imported(source)
    call: Any = module
    for part in name.split("."):
        call = getattr(call, part, None)
    if not callable(call):
        raise ValueError(f"expected a function {name} in {source}, got {call}; it has {_functions(module)}")

    def make(frames: Tensor) -> Tensor:
        with torch.no_grad():
            made = call(frames.clone())
        if isinstance(made, np.ndarray):
            made = torch.from_numpy(np.ascontiguousarray(made))
        wanted = (3, *frames.shape[-2:])
        if not isinstance(made, Tensor) or made.shape != wanted or not made.is_floating_point():
            got = f"{made.dtype} {tuple(made.shape)}" if isinstance(made, Tensor) else type(made).__name__
            raise ValueError(f"{place} gave {got}, expected a tensor or array {wanted} of floats in [0, 1]")
        return made.detach().cpu().float()

    code = getattr(module, "__file__", None)  # none of what is built into Python
    digest = sha256(Path(code).read_bytes()) if code else ""
    parameters = parameters_of(call) if isinstance(call, nn.Module) else 0
    told = f"the function {Path(source).name}:{name}"
    return Peer(make, told, digest, parameters)


def _imported(source: str) -> ModuleType:
    """The module of a FILE.py or of a dotted name; errors as :func:`function`."""
    path = Path(source) if source.endswith(".py") else None
    if path is not None and not path.is_file():
        raise FileNotFoundError(f"no such file: {source}")
    folder = str(path.resolve().parent if path is not None else Path.cwd())
    if folder not in sys.path:
        sys.path.append(folder)  # last, so that nothing of ours is hidden by what lies there
    try:
        if path is None:
            return importlib.import_module(source)
        name = f"{path.stem}_{sha256(str(path.resolve()).encode())[:8]}"  # many a file is called model.py
        spec = importlib.util.spec_from_file_location(name, path)
        if spec is None or spec.loader is None:
            raise ImportError("not a Python file")
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module
    except (Exception, SystemExit) as error:  # whatever the file does
        raise ValueError(f"{source} cannot be imported: {type(error).__name__}: {error}") from error


def _functions(module: ModuleType) -> str:
    own = [name for name, it in vars(module).items() if getattr(it, "__module__", "") == module.__name__]
    return ", ".join(own) or "none"
