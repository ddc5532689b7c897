"""Weights: a checkpoint is a config plus tensors in one file; and the way from the official names to ours.

Ours is a safetensors file with {"tweenlet": "1", "config": the ModelConfig as JSON} in its metadata, so that
nothing else is needed to load it; beside them lies what is known of where the weights are from (NOTES). The
same network gives the same bytes. Only this module knows the names in the checkpoints that the authors of
ST-MFNet published.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import struct
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialise
from torch import Tensor, nn

from tweenlet.network import config
from tweenlet.network.config import MINI, RIFE, STMFNET, ModelConfig
from tweenlet.network.stmfnet import STMFNet
from tweenlet.runtime.atomic import write_bytes_atomically
from tweenlet.runtime.extras import import_extra
from tweenlet.runtime.json_file import parse_json, read_json

FORMAT = "1"
SHELVES = (Path(__file__).parents[1] / "shipped", Path(__file__).parents[2] / "weights")
"""Where named weights lie: in an installed package, and in a checkout."""
RIFE_TRAINING_ONLY = ("teacher.", "caltime.")
"""Beginnings of the keys in RIFE's checkpoints that its network does not have."""
NOTES = ("license", "teacher", "origin", "scores")
"""Metadata that is shown. License, teacher and origin are phrases; scores is JSON: benchmark,
metrics, seconds per frame, machine and date, as `scripts/results.py` puts them there."""
HUB = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*(?<!\.safetensors)(@[\w./-]+)?")
"""What a repository on the Hugging Face Hub is called, perhaps with a revision."""
FIRST = 3
"""How many keys an error names of each kind."""
NUMBERS = ("One", "Two", "Thr", "Fou", "Fiv", "Six")


def names() -> list[str]:
    """The names of the weights that came with the package, for :func:`load`.

    Examples:
        >>> "default" in tweenlet.names()
        True

    """
    return sorted({file.stem for shelf in SHELVES for file in shelf.glob("*.safetensors")})


def save(
    path: str | Path,
    model: STMFNet,
    extra: Mapping[str, str] | None = None,
    dtype: torch.dtype | None = None,
) -> None:
    """Write ``model`` with its config to ``path``, whole or not at all; OSError if that fails.

    Args:
        path: the file to write.
        model: the network.
        extra: joins the metadata, such as :data:`NOTES`.
        dtype: what weights are stored in, as float16 for a file half as large; None = as they are. A network
            that is loaded has float32 weights, whatever its file has.

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


def read_metadata(path: str | Path) -> dict[str, str]:
    """The metadata of a checkpoint, without its weights. ValueError for another kind of file."""
    try:
        with safe_open(path, "numpy") as file:
            metadata: dict[str, str] = file.metadata() or {}
    except SafetensorError as error:
        raise ValueError(f"{path} is not a sound safetensors file: {error}") from error
    if "config" not in metadata:
        raise ValueError(f"{path} is not a tweenlet checkpoint: its metadata has {sorted(metadata)}")
    return metadata


def write_metadata(path: str | Path, changes: Mapping[str, str]) -> None:
    """Change entries of a checkpoint's metadata; an empty one goes. The weights stay, byte for byte."""
    write_bytes_atomically(Path(path), _sort_metadata(Path(path).read_bytes(), changes))


def _sort_metadata(data: bytes, changes: Mapping[str, str] | None = None) -> bytes:
    """A safetensors file whose metadata is sorted, which safetensors itself writes in random order."""
    (size,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + size])
    entries = {**header["__metadata__"], **(changes or {})}
    header["__metadata__"] = {key: entries[key] for key in sorted(entries) if entries[key]}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data[8 + size :]


def save_tensors(path: str | Path, module: nn.Module, extra: Mapping[str, str] | None = None) -> None:
    """Write the tensors of any module to a safetensors file; OSError where it cannot be written.

    ``extra`` is its metadata. To load: ``module.load_state_dict(safetensors.torch.load_file(path))``.
    """
    tensors = {name: t.detach().cpu().contiguous().clone() for name, t in module.state_dict().items()}
    write_bytes_atomically(Path(path), serialise(tensors, dict(extra or {})))


def load(name_or_path: str | Path, device: str | torch.device = "cpu") -> STMFNet:
    """Load bundled weights by name, a checkpoint by path, or one from the Hugging Face Hub.

    Args:
        name_or_path: one of :func:`names`, or the path of a file that :func:`save` wrote. A bare word is
            looked up among the bundled names first. "user/repo" or "user/repo@revision", where no such folder
            is here, is a repository of the Hub, whose model.safetensors is downloaded once (the extra hub).
        device: where the network is put.

    Returns:
        The network in evaluation mode, with float32 weights.

    Raises:
        ValueError: an unknown name (the message lists the known ones), or a file that is no sound checkpoint.
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
        hint = "; an ONNX file can be judged and evaluated, not run here" if path.suffix == ".onnx" else ""
        raise ValueError(f"{path} is not a sound safetensors file: {error}{hint}") from error
    if metadata.get("tweenlet") != FORMAT or "config" not in metadata:
        raise ValueError(
            f"{path} is not a tweenlet checkpoint of format {FORMAT}: its metadata has {sorted(metadata)}"
        )
    try:
        config = ModelConfig.from_json(parse_json(metadata["config"], "its config"))
        outline = _outline(config)
    except (ValueError, TypeError, AttributeError, RuntimeError) as error:
        raise ValueError(f"{path} carries a config that cannot be built: {error}") from error
    _compare(_shapes(tensors), _shapes(outline.state_dict()), path)
    model = STMFNet(config)
    model.load_state_dict(tensors)
    return model.to(device).eval()


def network_of(source: str) -> STMFNet:
    """A fresh network of a named config or of a JSON file of one, or what :func:`load` finds."""
    named = getattr(config, source.upper(), None)
    if isinstance(named, ModelConfig):
        return STMFNet(named)
    if source.endswith(".json"):
        try:
            return STMFNet(ModelConfig.from_json(read_json(Path(source))))
        except (ValueError, TypeError, AttributeError, RuntimeError) as error:
            raise ValueError(f"{source} is not the config of a network that can be built: {error}") from error
    return load(source)


def digest(model: STMFNet) -> str:
    """A fingerprint (SHA-256) of the config and all tensors: the same for the same network."""
    return digest_of_tensors(model, json.dumps(model.config.to_json(), sort_keys=True))


def digest_of_tensors(model: nn.Module, begin: str = "") -> str:
    """One of ``begin`` and the tensors of any network, by name: the same for the same weights."""
    total = hashlib.sha256(begin.encode())
    for name, tensor in sorted(model.state_dict().items()):
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        total.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()


def convert(path: str | Path, notify: Callable[[str], None] | None = None) -> STMFNet:
    """Read a published checkpoint of ST-MFNet, ST-MFNet Mini (``.pth``) or RIFE 4.25 (``flownet.pkl``).

    The first two are a dict with ``state_dict``, the last is a plain one; each with or without DataParallel's
    ``module.``. The config is found from the shapes (dilation, which leaves no trace in them, is taken to be
    1). Nothing in the file is executed. Returns the network in eval mode; ``notify`` hears which entries were
    left out, those that only the training of RIFE used. FileNotFoundError for no such file; ValueError for
    anything else, other versions of RIFE included, naming the first keys that differ.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no such file: {path}")
    try:
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickles that torch did not write
            content = torch.load(file, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # foreign bytes make the unpickler fail in every way there is
        raise ValueError(f"{path} is not a PyTorch file of plain tensors") from error
    state = content.get("state_dict", content) if isinstance(content, dict) else None
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise ValueError(
            f'{path} is not a published checkpoint: expected a dict of tensors, or one as its "state_dict"'
        )
    state = {str(key).removeprefix("module."): tensor for key, tensor in state.items()}
    leftover = [key for key in state if key.startswith(RIFE_TRAINING_ONLY)]
    if leftover and notify:
        prefixes = sorted({key.partition(".")[0] for key in leftover})
        notify(f"left out {len(leftover)} entries that only training used: {', '.join(prefixes)}")
    return from_official({key: tensor for key, tensor in state.items() if key not in leftover}, path)


def from_official(state: Mapping[str, Tensor], source: str | Path = "the state_dict") -> STMFNet:
    """Build the model that an official ``state_dict`` belongs to, in eval mode; errors as :func:`convert`."""
    config = RIFE if any(key.startswith("block0.") for key in state) else _config_of(_shapes(state))
    _compare(_shapes(state), _shapes(to_official(_outline(config))), source)
    model = STMFNet(config)
    ours = {official_name(name): name for name in model.state_dict()}
    model.load_state_dict({ours[key]: tensor for key, tensor in state.items()})
    return model.eval()


def to_official(model: STMFNet) -> dict[str, Tensor]:
    """The model's ``state_dict`` under the official names."""
    return {official_name(name): tensor for name, tensor in model.state_dict().items()}


def official_name(name: str) -> str:
    """The official name of an entry of our ``state_dict``; ValueError for a name that has none."""
    official = name
    for ours, theirs in _RENAMES.get(name.split(".")[0], ()):
        official = re.sub(ours, theirs, official)
    if official == name:
        raise ValueError(f"no official name for {name}")
    return official


_RENAMES: dict[str, tuple[tuple[str, str], ...]] = {
    "features": (
        *((rf"^features\.down\.{i}\.", f"feature_extractor.conv{i + 1}.") for i in range(4)),
        *((rf"^features\.up\.{i}\.", f"feature_extractor.deconv{i + 1}.") for i in range(3)),
        (r"^features\.bottom\.", "feature_extractor.deconv4."),
        (r"\.(small|large)\.", r".resnext_\1."),
        *((rf"\.{layer}\.0\.", f".conv{i}.") for i, layer in enumerate(("reduce", "grouped", "expand"), 1)),
        *((rf"\.{layer}\.1\.", f".bn{i}.") for i, layer in enumerate(("reduce", "grouped", "expand"), 1)),
        (r"\.shortcut\.", ".downsample."),
        *((rf"\.gate\.layers\.{i}\.", f".attention.fc.{i - 1}.") for i in (1, 3)),
    ),
    "kernels": (
        (r"^kernels\.gaussian$", "gauss_kernel"),
        (r"^kernels\.eight_taps$", "upsampler.filter"),
        *(
            (rf"^kernels\.heads\.{scale}_{frame}\.{taps}\.", f"get_kernel.module{kind}{number}{size}.")
            for scale, size in (("fine", "_us"), ("full", ""), ("coarse", "_ds"))
            for frame, number in (("before", 1), ("after", 2))
            for taps, kind in (("weight", "Weight"), ("rows", "Alpha"), ("columns", "Beta"))
        ),
    ),
    "flow": (
        (r"^flow\.metric_scale$", "metric.paramScale"),
        *((rf"^flow\.pyramid\.{i}\.", f"flow_estimator.netExtractor.net{n}.") for i, n in enumerate(NUMBERS)),
        *((rf"^flow\.decoders\.{i}\.", f"flow_estimator.net{n}.") for i, n in enumerate(NUMBERS[1:])),
        *((rf"\.dense\.{i}\.", f".net{n}.0.") for i, n in enumerate(NUMBERS[:5])),
        (r"\.predict\.", ".netSix.0."),
        (r"\.enlarge_flow\.", ".netUpflow."),
        (r"\.enlarge_features\.", ".netUpfeat."),
        (r"^flow\.refine\.", "flow_estimator.netRefiner.netMain."),
    ),
    "fusion": (
        (r"^fusion\.lateral\.", "scale_synthesis.lateral_"),
        (r"^fusion\.(down|up)\.(\d_\d)\.", r"scale_synthesis.\1_\2.f."),
        (r"^fusion\.final\.", "scale_synthesis.lateral_final_1."),
        (r"\.path\.", ".f."),
        (r"\.shortcut\.", ".conv."),
    ),
    "texture": (
        (r"^texture\.stem\.", "dyntex_generator.encoder.stem."),
        *((rf"^texture\.stages\.{i}\.", f"dyntex_generator.encoder.layer{i + 1}.") for i in range(4)),
        (r"\.first\.", ".conv1."),
        (r"\.second\.", ".conv2."),
        (r"\.gate\.layers\.", ".fg.attn_layer."),
        (r"\.shortcut\.", ".downsample."),
        (r"^texture\.decoder\.([03])\.", r"dyntex_generator.decoder.\1.conv."),
        (r"^texture\.decoder\.([124])\.", r"dyntex_generator.decoder.\1.upconv."),
        (r"\.1\.layers\.", ".1.attn_layer."),
        (r"^texture\.fuse\.", "dyntex_generator.feature_fuse."),
        (r"^texture\.out\.", "dyntex_generator.outconv.1."),
    ),
    "intermediate": (
        *((rf"^intermediate\.encode\.layers\.{2 * i}\.", f"encode.cnn{i}.") for i in range(3)),
        (r"^intermediate\.encode\.out\.", "encode.cnn3."),
        (r"^intermediate\.levels\.(\d)\.", r"block\1."),
        (r"\.down\.0\.", ".conv0.0.0."),
        (r"\.down\.2\.", ".conv0.1.0."),
        (r"\.blocks\.(\d+)\.", r".convblock.\1."),
        (r"\.scale$", ".beta"),
        (r"\.up\.0\.", ".lastconv.0."),
    ),
}  # fmt: skip
"""Per part of the network: what to replace, in this order, to come from our names to the official ones."""


def _config_of(shapes: Mapping[str, tuple[int, ...]]) -> ModelConfig:
    """The config that an official checkpoint's shapes tell; for what they do not tell, the teacher's."""

    def widths(pattern: str, places: tuple[str, ...] | range) -> tuple[int, ...]:
        keys = [pattern.format(place) for place in places]
        return tuple(shapes[key][0] for key in keys if shapes.get(key))

    told: dict[str, Any] = {
        "features": widths("feature_extractor.conv{}.attention.fc.2.weight", range(1, 5)),
        "kernel_hidden": widths("get_kernel.moduleWeight1{}.0.weight", ("",)),
        "kernel_size": tuple(map(math.isqrt, widths("get_kernel.moduleWeight1{}.4.weight", ("",)))),
        "grid": widths("scale_synthesis.lateral_{}_0.f.1.weight", range(3)),
        "texture": widths("dyntex_generator.encoder.layer{}.0.conv1.0.weight", range(1, 5)),
        "texture_out": widths("dyntex_generator.feature_fuse.{}.weight", ("0",)),
    }
    single = ("kernel_hidden", "kernel_size", "texture_out")
    told = {name: value[0] if name in single else value for name, value in told.items() if value}
    flow = widths("flow_estimator.netExtractor.net{}.0.weight", NUMBERS) or None
    try:
        return ModelConfig(**told, flow=flow)
    except ValueError:
        return MINI if flow is None else STMFNET


def find(name_or_path: str | Path) -> Path:
    """The file behind a shipped name, a path or a repository of the Hub; errors as :func:`load` for none."""
    path = Path(name_or_path)
    bare = isinstance(name_or_path, str) and re.fullmatch(r"[\w-]+", name_or_path)
    shipped = [shelf / f"{name_or_path}.safetensors" for shelf in SHELVES] if bare else []
    for file in (*shipped, path):
        if file.is_file():
            return file
    if bare:
        raise ValueError(f"no weights called {name_or_path!r}; there are: {', '.join(names()) or 'none'}")
    if isinstance(name_or_path, str) and HUB.fullmatch(name_or_path) and not path.parent.exists():
        import_extra("huggingface_hub")
        from tweenlet.network.hub import download

        return Path(download(name_or_path))
    raise FileNotFoundError(f"no such file: {path}")


def _outline(config: ModelConfig) -> STMFNet:
    """The network without its numbers, to compare shapes with before any memory is taken."""
    with torch.device("meta"):
        return STMFNet(config)


def _shapes(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def _compare(
    got: Mapping[str, tuple[int, ...]], expected: Mapping[str, tuple[int, ...]], source: str | Path
) -> None:
    """ValueError that names the first keys that are missing, unknown or of another shape, if any."""
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
        title = (
            "RIFE 4.25, the only version that is read"
            if "block0.conv0.0.0.weight" in expected
            else "an ST-MFNet"
        )
        raise ValueError(f"{source} does not fit {title}: {'; '.join(differences)}")
