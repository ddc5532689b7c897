"""Official checkpoints: those published by the authors of ST-MFNet and RIFE, read into our networks.

    .pth, flownet.pkl --> config from the shapes, tensors under our names --> STMFNet

Only this module knows the official names.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tweenlet.network.checkpoint import check_shapes, outline, shapes_of
from tweenlet.network.config import MINI, RIFE, STMFNET, ModelConfig
from tweenlet.network.stmfnet import STMFNet

RIFE_TRAINING_ONLY = ("teacher.", "caltime.")
"""Prefixes of keys in RIFE's checkpoints that only its training uses."""
NUMBERS = ("One", "Two", "Thr", "Fou", "Fiv", "Six")


def convert(path: str | Path, notify: Callable[[str], None] | None = None) -> STMFNet:
    """Read a published checkpoint of ST-MFNet, ST-MFNet Mini (``.pth``) or RIFE 4.25 (``flownet.pkl``).

    The first two are a dict with ``state_dict``, the last is a plain state dict; each with or without
    DataParallel's ``module.``. The config follows from the shapes, except dilation, which is taken to be 1.
    Nothing in the file is executed. Returns the network in eval mode; ``notify`` is called with the entries
    left out, which only RIFE's training uses. FileNotFoundError if there is no such file; ValueError for any
    other file, including other versions of RIFE, with the first keys that differ.
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
    except Exception as error:  # arbitrary bytes make the unpickler fail in any way
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
    """Build the model of an official ``state_dict``, in eval mode; errors are those of :func:`convert`."""
    config = RIFE if any(key.startswith("block0.") for key in state) else _config_of(shapes_of(state))
    title = "RIFE 4.25, the only version that is read" if config is RIFE else "an ST-MFNet"
    expected = shapes_of(to_official(outline(config)))
    check_shapes(shapes_of(state), expected, f"{source} does not fit {title}")
    model = STMFNet(config)
    ours = {official_name(name): name for name in model.state_dict()}
    model.load_state_dict({ours[key]: tensor for key, tensor in state.items()})
    return model.eval()


def to_official(model: STMFNet) -> dict[str, Tensor]:
    """The model's ``state_dict`` under the official names."""
    return {official_name(name): tensor for name, tensor in model.state_dict().items()}


def official_name(name: str) -> str:
    """The official name of an entry of our ``state_dict``; ValueError if it has none."""
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
    "multi_flow": (
        (r"^multi_flow\.gaussian$", "gauss_kernel"),
        (r"^multi_flow\.eight_taps$", "upsampler.filter"),
        *(
            (rf"^multi_flow\.heads\.{scale}_{frame}\.{taps}\.", f"get_kernel.module{kind}{number}{size}.")
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
        (r"\.upsample_flow\.", ".netUpflow."),
        (r"\.upsample_features\.", ".netUpfeat."),
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
"""Part of the network -> replacements, in this order, from our names to the official ones."""


def _config_of(shapes: Mapping[str, tuple[int, ...]]) -> ModelConfig:
    """The config that an official checkpoint's shapes imply; the teacher's for the rest."""

    def widths(pattern: str, positions: tuple[str, ...] | range) -> tuple[int, ...]:
        keys = [pattern.format(position) for position in positions]
        return tuple(shapes[key][0] for key in keys if shapes.get(key))

    fields: dict[str, Any] = {
        "features": widths("feature_extractor.conv{}.attention.fc.2.weight", range(1, 5)),
        "kernel_hidden": widths("get_kernel.moduleWeight1{}.0.weight", ("",)),
        "kernel_size": tuple(map(math.isqrt, widths("get_kernel.moduleWeight1{}.4.weight", ("",)))),
        "grid": widths("scale_synthesis.lateral_{}_0.f.1.weight", range(3)),
        "texture": widths("dyntex_generator.encoder.layer{}.0.conv1.0.weight", range(1, 5)),
        "texture_out": widths("dyntex_generator.feature_fuse.{}.weight", ("0",)),
    }
    single = ("kernel_hidden", "kernel_size", "texture_out")
    fields = {name: value[0] if name in single else value for name, value in fields.items() if value}
    flow = widths("flow_estimator.netExtractor.net{}.0.weight", NUMBERS) or None
    try:
        return ModelConfig(**fields, flow=flow)
    except ValueError:
        return MINI if flow is None else STMFNET
