"""Names: what a person types for a method, to Methods by label."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import chain
from pathlib import Path

import torch

from tweenlet.evaluation.baselines.classical import PEERS
from tweenlet.evaluation.baselines.command import HOLE, command
from tweenlet.evaluation.baselines.function import function
from tweenlet.evaluation.baselines.method import FORMS, Method
from tweenlet.evaluation.baselines.network import Network
from tweenlet.evaluation.baselines.onnx import Onnx
from tweenlet.evaluation.samples import short_names
from tweenlet.network import checkpoint as weights
from tweenlet.network.config import MINI, STMFNET
from tweenlet.network.cost import OFFICIAL_STRIDE
from tweenlet.runtime.dtypes import DTYPES

_PUBLISHED = {STMFNET: "ST-MFNet", MINI: "ST-MFNet Mini"}
_LONGEST = 100  # characters of a path that serve as a label


def methods(
    names: Iterable[str], device: str | torch.device | None = None, peers: Iterable[str] = ()
) -> dict[str, Method]:
    """Methods by label, in the order given, the ``peers`` last.

    A name is one of :data:`PEERS`, one of shipped weights, or the path of a checkpoint, of a file that the
    authors of ST-MFNet published (.pth; padded to multiples of 128, as their code does) or of an ONNX file.
    A network of ours runs in half precision as NAME:bfloat16 or NAME:float16.
    LABEL=NAME gives it a label, unless a file has just that name; else its label is what was typed, of a path
    the last part (and as many more as tell it from others), and for a .pth what publications call it. A peer
    is NAME=CMD (:func:`command`), NAME=FILE.py:FUNCTION, NAME=package.module:function (:func:`function`) or
    NAME=FILE.onnx (:class:`Onnx`).

    Networks of ours run on ``device``, all else on the CPU or where it likes. FileNotFoundError for what is
    not there; ValueError for what is not understood, listing what there is, and for two of one label.
    """
    found: dict[str, Method] = {}
    typed = list(names)
    labels = _labels(typed)
    for label, method in chain((_named(name, labels[name], device) for name in typed), map(_peer, peers)):
        if label in found:
            raise ValueError(f"two entrants are called {label}: give one another label, as in other={label}")
        if not label.strip() or not label.isprintable():
            raise ValueError(f"expected a label of printable characters, got {label!r}")
        found[label] = method
    return found


def _labels(names: Iterable[str]) -> dict[str, str]:
    """What each name is called where no label is given: a path by its end, as short as tells all apart."""
    files = {name: _precision_of(name)[0] for name in names if Path(_precision_of(name)[0]).is_file()}
    short = short_names(map(Path, files.values()))
    ends = {name: short[Path(path)] + name.removeprefix(path) for name, path in files.items()}
    return {name: _readable(ends.get(name, name)) for name in names}


def _named(text: str, short: str, device: str | torch.device | None) -> tuple[str, Method]:
    """The label (``short`` where none is given) and the Method of a name that :func:`methods` takes."""
    label, equals, name = text.partition("=")
    if not equals or Path(text).exists():
        label, name = short, text
    name, dtype = _precision_of(name)
    kind = Path(name).suffix
    if kind in (".onnx", ".pth", ".safetensors") and not Path(name).is_file():
        raise FileNotFoundError(f"no such file: {name}" + (f", asked for as {text}" if equals else ""))
    if name in PEERS:
        return label, PEERS[name]
    if name in weights.names():
        return label, Network(weights.load(name), device, dtype=dtype, told=f"the shipped weights {name}")
    if kind == ".onnx":
        return label, Onnx(name)
    if kind == ".pth":
        model = weights.convert(name)
        if name == text:
            label = _PUBLISHED.get(model.config, label)
        told = f"the published checkpoint {Path(name).name}, frames padded to multiples of {OFFICIAL_STRIDE}"
        return label, Network(model, device, pad_to=OFFICIAL_STRIDE, dtype=dtype, told=told)
    if Path(name).is_file():
        return label, Network(
            weights.load(name), device, dtype=dtype, told=f"the checkpoint {Path(name).name}"
        )
    known = ", ".join([*weights.names(), *PEERS])
    raise ValueError(f"expected a checkpoint or ONNX file or one of {known}; got {text}")


def _precision_of(name: str) -> tuple[str, torch.dtype]:
    """A network's name without what may be said behind it, and the precision that this is."""
    before, _, last = name.rpartition(":")
    return (before, DTYPES[last]) if last in DTYPES and not Path(name).exists() else (name, torch.float32)


def _peer(text: str) -> tuple[str, Method]:
    """The label and the Method of one of the peers that :func:`methods` takes."""
    label, _, what = text.partition("=")
    if HOLE.search(what):
        return label, command(what)
    if what.endswith(".onnx"):
        return label, Onnx(what)
    if re.fullmatch(r"(.+\.py|[\w.]+):[\w.]+", what):
        return label, function(what)
    raise ValueError(f"expected a peer such as {FORMS}; got {text}")


def _readable(path: str) -> str:
    """A name, or the end of it where it is long, with a question mark for what does not print."""
    shown = "".join(sign if sign.isprintable() else "?" for sign in path)
    return shown if len(shown) <= _LONGEST else f"...{shown[3 - _LONGEST :]}"
