"""Lite graphs: the steps of a network of four frames as ONNX files, for :mod:`tweenlet.inference.lite`.

    frame ── features ──> its features                          once for each frame
    features of two, time ── estimate ──> estimate              once for each pair of frames
    estimates of three pairs ── join ──> estimate, acceleration
    features, estimate, acceleration ── finest ──> estimate     doubled if motion is that of smaller frames
    frames, estimate ── show ──> frame

Each step is a method of :class:`~tweenlet.network.four_frames.FourFrameFlow`, for frames of any multiple of
its stride. The files name the weights without holding them, so that one set of files runs every checkpoint of
a config; config and names are in index.json. `scripts/lite_graphs.py` writes those of the default network.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tweenlet.inference.onnx import OPSET, quiet_exporter
from tweenlet.network.config import IntermediateFlowConfig, ModelConfig
from tweenlet.network.four_frames import FourFrameFlow, enlarge
from tweenlet.network.stmfnet import STMFNet
from tweenlet.runtime.atomic import write_bytes_atomically
from tweenlet.runtime.extras import import_extra

INDEX = "index.json"
SIDES = (2, 3)
"""Height and width of the traced frames, in strides."""
MOST = 1 << 10
"""The longest side of a frame, in strides."""


def _features(net: FourFrameFlow, frame: Tensor) -> Tensor:
    return net.features(frame)


def _estimate(net: FourFrameFlow, before: Tensor, after: Tensor, time: Tensor) -> Tensor:
    return net.estimate(before, after, time.reshape(1, 1, 1, 1))


def _join(net: FourFrameFlow, before: Tensor, *estimates_repeats_time: Tensor) -> tuple[Tensor, Tensor]:
    *estimates, repeats, time = estimates_repeats_time
    motion = net.join((before, before), estimates, repeats, time.reshape(1, 1, 1, 1))
    return motion.estimate, motion.acceleration


def _finest(net: FourFrameFlow, *motion_and_time: Tensor) -> Tensor:
    *motion, time = motion_and_time
    return net.finest(time.reshape(1, 1, 1, 1), *motion)


def _double(_: FourFrameFlow, finest: Tensor) -> Tensor:
    return enlarge(finest, 2)


def _show(net: FourFrameFlow, frames: Tensor, finest: Tensor, repeats: Tensor) -> Tensor:
    return net.show(frames, finest, repeats)[0]


STEPS: dict[str, tuple[Callable[..., Any], tuple[str, ...], tuple[str, ...]]] = {
    "features": (_features, ("frame",), ("features",)),
    "estimate": (_estimate, ("before", "after", "time"), ("estimate",)),
    "join": (
        *(_join, ("before", "first", "own", "last", "repeats", "time")),
        ("estimate", "acceleration"),
    ),
    "finest": (_finest, ("before", "after", "estimate", "acceleration", "time"), ("finest",)),
    "double": (_double, ("finest",), ("doubled",)),
    "show": (_show, ("frames", "finest", "repeats"), ("frame",)),
}
"""File name -> the function of a step, and the names of its inputs and outputs."""


class _Step(nn.Module):
    def __init__(self, network: FourFrameFlow, run: Callable[..., Any]) -> None:
        super().__init__()
        self.intermediate = network  # weights get their names in a checkpoint
        self._run = run

    def forward(self, *inputs: Tensor) -> Any:
        return self._run(self.intermediate, *inputs)


def write_graphs(config: ModelConfig, folder: Path) -> None:
    """Write an ONNX file for each of STEPS into a folder, such as features.onnx, and index.json.

    ValueError for a network of another kind, OSError where the extra `onnx` is not installed or a file cannot
    be written.
    """
    import_extra("onnxscript")
    network = STMFNet(config).eval().intermediate
    if config.intermediate is None or not isinstance(network, FourFrameFlow):
        raise ValueError("expected the config of a network of four frames")
    weights = {}
    for name, (run, inputs, outputs) in STEPS.items():
        examples = _examples(config.intermediate, network.stride, inputs)
        graph = _trace(_Step(network, run), examples, outputs)
        weights[name] = _take_weights(graph)
        write_bytes_atomically(folder / f"{name}.onnx", graph.SerializeToString(deterministic=True))
    index = json.dumps({"config": config.to_json(), "weights": weights}, indent=1)
    write_bytes_atomically(folder / INDEX, f"{index}\n".encode())


def _examples(
    config: IntermediateFlowConfig, stride: int, names: tuple[str, ...]
) -> dict[str, tuple[Tensor, int]]:
    """Example inputs by name, and how many times smaller than a frame each is; 0 = always of one size."""
    features, coarse = config.encoder[1], config.levels[-2].scale
    pixels = {
        "frame": (1, (1, 3)),
        "frames": (1, (1, 4, 3)),
        **dict.fromkeys(("before", "after"), (2, (1, 3 + features))),
        **dict.fromkeys(("first", "own", "last", "estimate"), (coarse, (1, 5 + config.context))),
        "acceleration": (coarse, (1, 2)),
        "finest": (2, (1, 5 + config.context)),
    }
    height, width = (side * stride for side in SIDES)
    examples = {
        name: (torch.rand(*shape, height // shrink, width // shrink), shrink)
        for name, (shrink, shape) in pixels.items()
    }
    fixed = {"repeats": torch.tensor([[False, True]]), "time": torch.tensor([0.4])}
    return {name: examples.get(name) or (fixed[name], 0) for name in names}


def _trace(step: _Step, inputs: dict[str, tuple[Tensor, int]], outputs: tuple[str, ...]) -> Any:
    """Export a step as an ONNX ModelProto."""
    tall, wide = (torch.export.Dim(name, min=2, max=MOST) for name in ("tall", "wide"))
    stride = step.intermediate.stride
    free = tuple(
        {x.dim() - 2: stride // shrink * tall, x.dim() - 1: stride // shrink * wide} if shrink else None
        for x, shrink in inputs.values()
    )
    given = tuple(x for x, _ in inputs.values())
    with quiet_exporter(), torch.no_grad():
        traced = torch.export.export(step, given, strict=False, dynamic_shapes={"inputs": free})
        program = torch.onnx.export(
            traced, dynamo=True, optimize=False, opset_version=OPSET, verbose=False,
            input_names=list(inputs), output_names=list(outputs),
        )  # fmt: skip
    assert program is not None
    return program.model_proto


def _take_weights(graph: Any) -> list[str]:
    """Remove the weights from a graph, returning their names, and the exporter's notes on the source."""
    weights = [tensor for tensor in graph.graph.initializer if tensor.name.startswith("intermediate.")]
    for weight in weights:
        weight.ClearField("raw_data")
        weight.data_location = weight.EXTERNAL
        weight.external_data.add(key="location", value="checkpoint")
    for part in (graph, graph.graph, *graph.graph.node, *graph.graph.input, *graph.graph.output):
        part.ClearField("metadata_props")
    graph.graph.ClearField("value_info")
    return sorted(weight.name for weight in weights)
