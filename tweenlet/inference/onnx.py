"""Export: write a network as one ONNX file, and check it against the network.

    STMFNet -- torch.export --> graph -- to ONNX --> FILE.onnx

    frames (1, 4, 3, H, W) float32, RGB in [0, 1]  ---+--> frame (1, 3, H, W)
    time (1,) in (0, 1) if the network takes one   ---+

    or, for programs with a single 4-D input (vs-mlrt):
    input (1, 12 or 13, H, W): four frames, and the time as a plane  --> frame (1, 3, H, W)

H and W are multiples of the network's stride. The file carries the config, as a checkpoint does.

It uses torch's newer exporter (`dynamo`). The older one is 20 times faster, but exports a splat that silently
drops all but one of the pixels that land in one place: frames were off by a third of the range.
"""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tweenlet.inference.onnx_session import Session
from tweenlet.network.config import ModelConfig
from tweenlet.network.stmfnet import FRAMES, STMFNet
from tweenlet.runtime.atomic import atomic_write
from tweenlet.runtime.extras import import_extra
from tweenlet.runtime.json_file import parse_json

OPSET = 20
"""The first ONNX operator set whose GridSample has every mode that we use."""
TOLERANCE = 1e-4
"""Largest difference, in [0, 1], allowed between frames of the exported network and of the original."""


class OneInput(nn.Module):
    """Wraps a network for programs that pass a single input of planes, (1, 12 or 13, H, W)."""

    def __init__(self, model: STMFNet) -> None:
        super().__init__()
        self.model = model
        self.config, self.stride, self.takes_time = model.config, model.stride, model.takes_time

    def forward(self, input: Tensor) -> Tensor:
        """Four RGB frames, and a plane filled with the time if there is one -> the frame (1, 3, H, W)."""
        planes = 3 * FRAMES
        frames = input[:, :planes].reshape(1, FRAMES, 3, *input.shape[2:])
        given = {"time": input[:, planes, 0, 0].reshape(1)} if self.takes_time else {}
        frame: Tensor = self.model(frames, **given)
        return frame + 0 * input[:, :3]  # a size derived from the input's, as vs-mlrt requires


def export(model: STMFNet | OneInput, path: str | Path, size: tuple[int, int] | None) -> float:
    """Write ``model`` to ``path`` as ONNX, atomically, and check it against the network.

    ``size`` is (width, height) of the frames, padded up to the network's stride; None = any multiples of the
    stride, from two on. Returns the largest absolute difference on frames of that size (for any size, on two
    small ones); ValueError if it is over 1e-4 or the network cannot be exported, OSError if the extra `onnx`
    is not installed or the file cannot be written.
    """
    with atomic_write(Path(path)) as partial:
        write(model, partial, size)
        session = Session(partial, torch.get_num_threads())
        if size is None:
            sizes = [(3 * model.stride, 4 * model.stride), (5 * model.stride, 2 * model.stride)]
        else:
            sizes = [padded_size(model, size)]
        off = 0.0
        for height, width in sizes:
            inputs = examples(model, height, width)
            with torch.inference_mode():
                given = {name: x.cpu().numpy() for name, x in inputs.items()}
                frame = torch.from_numpy(session.run_first(given))
                off = max(off, float((frame - model(**inputs).cpu()).abs().max()))
        if not off <= TOLERANCE:
            raise ValueError(f"the exported network is {off:.2g} off, more than {TOLERANCE:g}: not written")
    return off


def write(model: STMFNet | OneInput, path: Path, size: tuple[int, int] | None) -> None:
    """Write ``model`` to ``path`` as ONNX, unchecked; arguments and errors are those of :func:`export`."""
    onnx = import_extra("onnx")
    import_extra("onnxscript")
    height, width = (2 * model.stride, 3 * model.stride) if size is None else padded_size(model, size)
    with torch.inference_mode(False), torch.no_grad(), torch.autocast("cpu", enabled=False):
        proto = _graph(model, height, width, fixed=size is not None)
    form = "planes" if isinstance(model, OneInput) else "1"
    for key, value in (("tweenlet", form), ("config", json.dumps(model.config.to_json()))):
        proto.metadata_props.append(onnx.StringStringEntryProto(key=key, value=value))
    path.write_bytes(proto.SerializeToString())


def _graph(model: STMFNet | OneInput, height: int, width: int, fixed: bool) -> Any:
    """Export the network as an ONNX ModelProto."""
    model = deepcopy(model).cpu().eval()
    for layer in model.modules():
        if isinstance(layer, nn.Conv3d) and layer.bias is None:  # without one, the exported file does not run
            layer.bias = nn.Parameter(torch.zeros(layer.out_channels))
    inputs = examples(model, height, width)
    free: dict[str, Any] = {}
    if not fixed:
        tall, wide = (torch.export.Dim(name, min=2, max=1 << 12) for name in ("tall", "wide"))
        sides = model.stride * tall, model.stride * wide
        free = {
            "dynamic_shapes": {
                name: dict(zip((x.dim() - 2, x.dim() - 1), sides, strict=True)) if x.dim() > 1 else None
                for name, x in inputs.items()
            }
        }
    try:
        with quiet_exporter():
            graph = torch.export.export(model, (), inputs, strict=False, **free)
            # the optimiser of torch 2.13 made a graph of the default network that could not be loaded;
            # ONNX Runtime and OpenVINO have their own
            program = torch.onnx.export(
                graph, dynamo=True, optimize=False, opset_version=OPSET, verbose=False,
                input_names=list(inputs), output_names=["frame"],
            )  # fmt: skip
    except Exception as error:  # as many kinds as there are operators
        raise ValueError(f"this network cannot be exported to ONNX: {str(error)[:300]}") from error
    assert program is not None
    return program.model_proto


class OnnxFile(nn.Module):
    """A file written by :func:`export`, run by ONNX Runtime with the signature of the network.

    FileNotFoundError if there is no such file, OSError without ONNX Runtime, ValueError for any other file.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__()
        if not Path(path).is_file():
            raise FileNotFoundError(f"no such file: {path}")
        import_extra("onnxruntime")
        self._session = Session(Path(path), torch.get_num_threads())
        metadata = self._session.metadata
        if metadata.get("tweenlet") != "1":
            raise ValueError(f"{path} is not an ONNX file that tweenlet exported")
        try:
            self.config = ModelConfig.from_json(parse_json(metadata.get("config", ""), "its config"))
            with torch.device("meta"):
                network = STMFNet(self.config)
        except (ValueError, RuntimeError) as error:
            raise ValueError(f"{path} carries a config that cannot be built: {error}") from error
        self.stride, self.padding, self.takes_time = network.stride, network.padding, network.takes_time

    def forward(self, frames: Tensor, time: float | Tensor | None = None) -> Tensor:
        """As the network's: frames (1, 4, 3, H, W) -> the frame between the middle two (1, 3, H, W)."""
        return call(self._session.run_first, self.takes_time, frames, time)


def call(
    run: Callable[[dict[str, Any]], Any],
    takes_time: bool,
    frames: Tensor,
    time: float | Tensor | None,
) -> Tensor:
    """Call ``run`` with frames, and a time (halfway if None), as numpy arrays by name.

    ValueError for a time that the network does not take.
    """
    arguments = {"frames": frames}
    time = torch.as_tensor(0.5 if time is None else time).reshape(1)
    if takes_time:
        arguments["time"] = time
    elif time != 0.5:
        raise ValueError(f"this network only predicts the midpoint (time 0.5), got time {time.item()}")
    inputs = {name: tensor.detach().float().cpu().contiguous().numpy() for name, tensor in arguments.items()}
    return torch.from_numpy(run(inputs)).to(frames.device)


def padded_size(model: STMFNet | OneInput, size: tuple[int, int]) -> tuple[int, int]:
    """(height, width) of a frame of (width, height), padded to the network's stride."""
    width, height = (-(-side // model.stride) * model.stride for side in size)
    return height, width


def examples(model: STMFNet | OneInput, height: int, width: int) -> dict[str, Tensor]:
    """Random inputs for a network: a window of frames, and a time if it takes one."""
    if isinstance(model, OneInput):
        planes = [examples(model.model, height, width)["frames"].reshape(1, -1, height, width)]
        planes += [torch.full_like(planes[0][:, :1], 0.4)] * model.takes_time
        return {"input": torch.cat(planes, 1)}
    random = torch.Generator().manual_seed(0)
    device = next(model.parameters()).device
    frames = torch.rand(1, FRAMES, 3, height, width, generator=random)
    inputs = {"frames": frames}
    if model.takes_time:
        inputs["time"] = torch.tensor([0.4])
    return {name: tensor.to(device) for name, tensor in inputs.items()}


@contextmanager
def quiet_exporter() -> Iterator[None]:
    """Silence the exporter's warnings about optional packages and coming versions."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
