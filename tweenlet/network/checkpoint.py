"""Checkpoints: a config plus tensors in one file.

A safetensors file whose metadata holds {"tweenlet": format, "config": the ModelConfig as JSON}, so that
nothing else is needed to load it, and notes on the origin of the weights (NOTES). The same network gives the
same bytes. Format 2 has the current tensor names; files of format 1 are still read. Published checkpoints of
other programs are read by :mod:`tweenlet.network.official`.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialise
from torch import Tensor, nn

from tweenlet.network import config
from tweenlet.network.config import ModelConfig
from tweenlet.network.stmfnet import STMFNet
from tweenlet.network.weight_files import find, names, rename_from_format_1
from tweenlet.runtime.atomic import write_bytes_atomically
from tweenlet.runtime.json_file import parse_json, read_json

FORMAT = "2"
NOTES = ("license", "teacher", "origin", "scores")
"""Metadata to show. License, teacher and origin are phrases; scores is JSON with benchmark, metrics, seconds
per frame, machine and date, written by `scripts/results.py`."""
FIRST = 3
"""Keys of each kind that an error names."""


def save(
    path: str | Path,
    model: STMFNet,
    extra: Mapping[str, str] | None = None,
    dtype: torch.dtype | None = None,
) -> None:
    """Write ``model`` with its config to ``path``, atomically.

    Args:
        path: the file to write.
        model: the network.
        extra: additional metadata, such as :data:`NOTES`.
        dtype: dtype to store weights in, such as float16 for a file half as large; None = as they are.
            Loading always gives float32 weights.

    Raises:
        OSError: the file cannot be written.

    Examples:
        >>> model = tweenlet.load("default")
        >>> tweenlet.save("half.safetensors", model, dtype=torch.float16)
        >>> tweenlet.load("half.safetensors").config == model.config
        True

    """
    metadata = {**(extra or {}), "tweenlet": FORMAT, "config": json.dumps(model.config.to_json())}
    tensors = {
        name: tensor.detach().to("cpu", dtype if tensor.is_floating_point() else None).contiguous()
        for name, tensor in model.state_dict().items()
    }
    write_bytes_atomically(Path(path), _sort_metadata(serialise(tensors, metadata)))


def write_metadata(path: str | Path, changes: Mapping[str, str]) -> None:
    """Change entries of a checkpoint's metadata; empty ones are removed. The weights stay byte for byte."""
    write_bytes_atomically(Path(path), _sort_metadata(Path(path).read_bytes(), changes))


def _sort_metadata(data: bytes, changes: Mapping[str, str] | None = None) -> bytes:
    """Sort the metadata of a safetensors file, which safetensors writes in random order."""
    (size,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + size])
    entries = {**header["__metadata__"], **(changes or {})}
    header["__metadata__"] = {key: entries[key] for key in sorted(entries) if entries[key]}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data[8 + size :]


def save_tensors(path: str | Path, module: nn.Module, extra: Mapping[str, str] | None = None) -> None:
    """Write the tensors of any module to a safetensors file, ``extra`` as metadata; OSError if that fails.

    To load: ``module.load_state_dict(safetensors.torch.load_file(path))``.
    """
    tensors = {name: t.detach().cpu().contiguous().clone() for name, t in module.state_dict().items()}
    write_bytes_atomically(Path(path), serialise(tensors, dict(extra or {})))


def load(name_or_path: str | Path, device: str | torch.device = "cpu") -> STMFNet:
    """Load bundled weights by name, a checkpoint by path, or one from the Hugging Face Hub.

    Args:
        name_or_path: one of :func:`names`, or the path of a file written by :func:`save`. A bare word is
            looked up among the bundled names first. "user/repo" or "user/repo@revision", unless there is such
            a folder, is a repository of the Hub, whose model.safetensors is downloaded once (extra `hub`).
        device: device to put the network on.

    Returns:
        The network in evaluation mode, with float32 weights.

    Raises:
        ValueError: an unknown name (the message lists the known ones), or a file that is no valid checkpoint.
        FileNotFoundError: there is no file at this path.

    Examples:
        >>> model = tweenlet.load("default")
        >>> model.training
        False

    """
    path = find(name_or_path)
    try:
        with safe_open(path, "pt", device="cpu") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - no mapping
    except SafetensorError as error:
        hint = "; an ONNX file can be compared and evaluated, not run here" if path.suffix == ".onnx" else ""
        raise ValueError(f"{path} is not a valid safetensors file: {error}{hint}") from error
    if metadata.get("tweenlet") not in ("1", FORMAT) or "config" not in metadata:
        found = sorted(metadata)
        raise ValueError(
            f"{path} is not a tweenlet checkpoint of format 1 or {FORMAT}: its metadata has {found}"
        )
    tensors = rename_from_format_1(tensors)
    try:
        config = ModelConfig.from_json(parse_json(metadata["config"], "its config"))
        expected = shapes_of(outline(config).state_dict())
    except (ValueError, TypeError, AttributeError, RuntimeError) as error:
        raise ValueError(f"{path} carries a config that cannot be built: {error}") from error
    check_shapes(shapes_of(tensors), expected, f"{path} does not fit its config")
    model = STMFNet(config)
    model.load_state_dict(tensors)
    return model.to(device).eval()


def network_of(source: str) -> STMFNet:
    """A new network of a named config or of a config's JSON file; otherwise as :func:`load`."""
    named = getattr(config, source.upper(), None)
    if isinstance(named, ModelConfig):
        return STMFNet(named)
    if source.endswith(".json"):
        try:
            return STMFNet(ModelConfig.from_json(read_json(Path(source))))
        except (ValueError, TypeError, AttributeError, RuntimeError) as error:
            raise ValueError(f"{source} is not the config of a network that can be built: {error}") from error
    return load(source)


def trained_network_of(source: str) -> STMFNet:
    """As :func:`load` for a bundled name, even if a config shares it; otherwise as :func:`network_of`."""
    return load(source) if source in names() else network_of(source)


def digest(model: STMFNet) -> str:
    """SHA-256 of the config and all tensors."""
    return digest_of_tensors(model, json.dumps(model.config.to_json(), sort_keys=True))


def digest_of_tensors(model: nn.Module, begin: str = "") -> str:
    """SHA-256 of ``begin`` and the tensors of any network, by name."""
    total = hashlib.sha256(begin.encode())
    for name, tensor in sorted(model.state_dict().items()):
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        total.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()


def outline(config: ModelConfig) -> STMFNet:
    """The network of a config on the meta device: shapes without memory."""
    with torch.device("meta"):
        return STMFNet(config)


def shapes_of(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """The shape of each tensor, by name."""
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def check_shapes(
    got: Mapping[str, tuple[int, ...]], expected: Mapping[str, tuple[int, ...]], complaint: str
) -> None:
    """ValueError with the first keys that are missing, unknown or of another shape, if any."""
    differences = [
        (f"{len(keys)} {what} ({', '.join(keys[:FIRST])}{', ...' if len(keys) > FIRST else ''})")
        for what, keys in (
            ("missing", [k for k in expected if k not in got]),
            ("unknown", [k for k in got if k not in expected]),
            (
                "of another shape",
                [f"{k} {got[k]} for {expected[k]}" for k in expected if k in got and got[k] != expected[k]],
            ),
        )
        if keys
    ]
    if differences:
        raise ValueError(f"{complaint}: {'; '.join(differences)}")
