"""Function: a Python function as a Method, named by its location."""

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

from tweenlet.evaluation.baselines.method import Baseline, sha256
from tweenlet.network.cost import parameters_of


def function(place: str) -> Baseline:
    """Wrap a Python function as a Method.

    The function gets the four frames as a float32 tensor (4, 3, H, W) on the CPU, a copy of its own, without
    gradients. It returns a tensor or numpy array (3, H, W) of floats in [0, 1]. It may import modules next to
    FILE.py, or in the current folder. Its exceptions are passed on.

    Args:
        place: ``FILE.py:FUNCTION`` or ``package.module:function``.

    Returns:
        A Method that raises ValueError for a result of another type or shape.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it cannot be imported, or is not callable.

    """
    source, _, name = place.rpartition(":")
    module = _import_module(source)
    call: Any = module
    for part in name.split("."):
        call = getattr(call, part, None)
    if not callable(call):
        raise ValueError(f"expected a function {name} in {source}, got {call}; it has {_functions(module)}")

    def predict(frames: Tensor) -> Tensor:
        with torch.no_grad():
            out = call(frames.clone())
        if isinstance(out, np.ndarray):
            out = torch.from_numpy(np.ascontiguousarray(out))
        shape = (3, *frames.shape[-2:])
        if not isinstance(out, Tensor) or out.shape != shape or not out.is_floating_point():
            got = f"{out.dtype} {tuple(out.shape)}" if isinstance(out, Tensor) else type(out).__name__
            raise ValueError(f"{place} gave {got}, expected a tensor or array {shape} of floats in [0, 1]")
        return out.detach().cpu().float()

    code = getattr(module, "__file__", None)  # builtins have none
    digest = sha256(Path(code).read_bytes()) if code else ""
    parameters = parameters_of(call) if isinstance(call, nn.Module) else 0
    return Baseline(predict, f"the function {Path(source).name}:{name}", digest, parameters)


def _import_module(source: str) -> ModuleType:
    """Import FILE.py or a dotted name; errors as for :func:`function`."""
    path = Path(source) if source.endswith(".py") else None
    if path is not None and not path.is_file():
        raise FileNotFoundError(f"no such file: {source}")
    folder = str(path.resolve().parent if path is not None else Path.cwd())
    if folder not in sys.path:
        sys.path.append(folder)  # last, so that it cannot shadow our own modules
    try:
        if path is None:
            return importlib.import_module(source)
        name = f"{path.stem}_{sha256(str(path.resolve()).encode())[:8]}"  # many files are called model.py
        spec = importlib.util.spec_from_file_location(name, path)
        if spec is None or spec.loader is None:
            raise ImportError("not a Python file")
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module
    except (Exception, SystemExit) as error:  # whatever the file raises
        raise ValueError(f"{source} cannot be imported: {type(error).__name__}: {error}") from error


def _functions(module: ModuleType) -> str:
    own = [name for name, x in vars(module).items() if getattr(x, "__module__", "") == module.__name__]
    return ", ".join(own) or "none"
