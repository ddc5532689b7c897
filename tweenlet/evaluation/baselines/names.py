"""Names: turn method names from the command line into Methods by label."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import chain
from pathlib import Path

import torch

from tweenlet.evaluation.baselines.classical import BASELINES
from tweenlet.evaluation.baselines.command import PLACEHOLDER, command
from tweenlet.evaluation.baselines.function import function
from tweenlet.evaluation.baselines.method import FORMS, Method
from tweenlet.evaluation.baselines.network import Network
from tweenlet.evaluation.baselines.onnx import Onnx
from tweenlet.evaluation.samples import short_names
from tweenlet.network import checkpoint as weights
from tweenlet.network import official, weight_files
from tweenlet.network.config import MINI, STMFNET
from tweenlet.network.cost import OFFICIAL_STRIDE
from tweenlet.runtime.dtypes import DTYPES

_PUBLISHED = {STMFNET: "ST-MFNet", MINI: "ST-MFNet Mini"}
_MAX_LABEL = 100  # characters


def methods(
    names: Iterable[str], device: str | torch.device | None = None, baselines: Iterable[str] = ()
) -> dict[str, Method]:
    """Build Methods by label, in the order given, with the baselines last.

    A default label is the name as typed; for a path its last part, or more if ambiguous; for a published .pth
    file the name used in publications.

    Args:
        names: each one of :data:`BASELINES`, bundled weights, the path of a checkpoint or of an ONNX file, or
            of a .pth file published by the authors of ST-MFNet (padded to multiples of 128, as in theirs).
            Networks of ours run in half precision as NAME:bfloat16 or NAME:float16. LABEL=NAME sets the
            label, unless a file has exactly that name.
        device: where networks of ours run; everything else runs on the CPU or where it chooses.
        baselines: each NAME=CMD (:func:`command`), NAME=FILE.py:FUNCTION or NAME=package.module:function
            (:func:`function`), or NAME=FILE.onnx (:class:`Onnx`).

    Raises:
        FileNotFoundError: a file does not exist.
        ValueError: a name is not understood, or two methods have the same label.

    """
    entrants: dict[str, Method] = {}
    names = list(names)
    labels = _choose_labels(names)
    for label, method in chain(
        (_parse_method(name, labels[name], device) for name in names), map(_parse_baseline, baselines)
    ):
        if label in entrants:
            raise ValueError(f"two entrants are called {label}: give one another label, as in other=NAME")
        if not label.strip() or not label.isprintable():
            raise ValueError(f"expected a label of printable characters, got {label!r}")
        entrants[label] = method
    return entrants


def _choose_labels(names: Iterable[str]) -> dict[str, str]:
    """Default labels: of a path, the shortest end that is unambiguous among the names."""
    files = {name: _split_precision(name)[0] for name in names if Path(_split_precision(name)[0]).is_file()}
    short = short_names(map(Path, files.values()))
    ends = {name: short[Path(path)] + name.removeprefix(path) for name, path in files.items()}
    return {name: _printable(ends.get(name, name)) for name in names}


def _parse_method(text: str, short: str, device: str | torch.device | None) -> tuple[str, Method]:
    """Parse one name of :func:`methods` into its label, by default ``short``, and its Method."""
    label, equals, name = text.partition("=")
    if not equals or Path(text).exists():
        label, name = short, text
    name, dtype = _split_precision(name)
    kind = Path(name).suffix
    if kind in (".onnx", ".pth", ".safetensors") and not Path(name).is_file():
        raise FileNotFoundError(f"no such file: {name}" + (f", given as {text}" if equals else ""))
    if name in BASELINES:
        return label, BASELINES[name]
    if name in weight_files.names():
        return label, Network(
            weights.load(name), device, dtype=dtype, description=f"the bundled weights {name}"
        )
    if kind == ".onnx":
        return label, Onnx(name)
    if kind == ".pth":
        model = official.convert(name)
        if name == text:
            label = _PUBLISHED.get(model.config, label)
        description = (
            f"the published checkpoint {Path(name).name}, frames padded to multiples of {OFFICIAL_STRIDE}"
        )
        return label, Network(model, device, pad_to=OFFICIAL_STRIDE, dtype=dtype, description=description)
    if Path(name).is_file():
        return label, Network(
            weights.load(name), device, dtype=dtype, description=f"the checkpoint {Path(name).name}"
        )
    choices = ", ".join([*weight_files.names(), *BASELINES])
    raise ValueError(f"expected a checkpoint or ONNX file or one of {choices}; got {text}")


def _split_precision(name: str) -> tuple[str, torch.dtype]:
    """Split a network's name from its precision suffix, by default float32."""
    before, _, last = name.rpartition(":")
    return (before, DTYPES[last]) if last in DTYPES and not Path(name).exists() else (name, torch.float32)


def _parse_baseline(text: str) -> tuple[str, Method]:
    """Parse one baseline of :func:`methods` into its label and its Method."""
    label, _, source = text.partition("=")
    if PLACEHOLDER.search(source):
        return label, command(source)
    if source.endswith(".onnx"):
        return label, Onnx(source)
    if re.fullmatch(r"(.+\.py|[\w.]+):[\w.]+", source):
        return label, function(source)
    raise ValueError(f"expected a baseline such as {FORMS}; got {text}")


def _printable(path: str) -> str:
    """Shorten a long name to its end, and replace unprintable characters by question marks."""
    text = "".join(c if c.isprintable() else "?" for c in path)
    return text if len(text) <= _MAX_LABEL else f"...{text[3 - _MAX_LABEL :]}"
