"""Engines: the same network run by eager PyTorch, a CUDA graph, torch.compile, ONNX Runtime or OpenVINO.

    start(name, model, dtype) -> a module with the signature of the model

    eager         PyTorch, with the network's fused copy; the default
    cudagraph     the same on a CUDA device, captured once per frame size and replayed
    compile       torch.compile, once per frame size: minutes on a CPU, then cached
    onnxruntime   from an ONNX file, written once per network and frame size, then cached
    openvino      from the same file
    auto          the fastest of eager, onnxruntime and openvino, raced once on the first frames and cached.
                  On a CUDA device always cudagraph, the same computation as eager. For networks of four
                  frames always eager, which estimates motion once per pair; ONNX files do so per frame

The cache is that of :mod:`tweenlet.runtime.cache`. Shapes are static: a video has one frame size, and static
shapes are faster in every engine. None of them quantizes: weights and activations are float32, bfloat16 or
float16.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from tweenlet.inference.cuda import CudaGraphed, CudaSTMFNet
from tweenlet.inference.fused import FusedSTMFNet
from tweenlet.inference.machine import processor_name
from tweenlet.inference.onnx import TOLERANCE, call, write
from tweenlet.inference.onnx_session import Session
from tweenlet.network import checkpoint as weights
from tweenlet.network.four_frames import FourFrameFlow
from tweenlet.network.intermediate_flow import IntermediateFlow
from tweenlet.network.stmfnet import STMFNet
from tweenlet.runtime.atomic import atomic_write, write_bytes_atomically
from tweenlet.runtime.cache import cache_folder, cached_file, source_hash
from tweenlet.runtime.dtypes import dtype_name
from tweenlet.runtime.extras import import_extra

ENGINES = ("eager", "cudagraph", "compile", "onnxruntime", "openvino")
AUTO_CANDIDATES = ("onnxruntime", "openvino")
"""Engines that `auto` races against eager. Not compile: it takes minutes per frame size on a CPU."""
WORTH = 0.9
"""Largest fraction of eager's time at which another engine is chosen."""
ROUNDS = 3
USERS_INDUCTOR = os.environ.get("TORCHINDUCTOR_CACHE_DIR")  # now, because torch sets it too


def start(name: str, model: nn.Module, dtype: torch.dtype = torch.float32) -> nn.Module:
    """A module that runs ``model`` with the engine ``name`` (one of :data:`ENGINES`, or "auto").

    It has the model's signature and device; float32 frames agree within 1e-4. bfloat16 and float16 run under
    autocast. Work per frame size is done on the first call with that size. ValueError for an unknown name,
    and for a network, device or dtype that the engine does not support; OSError for an engine that is not
    installed.
    """
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    if name == "auto" and isinstance(model, STMFNet):
        if device.type == "cuda":
            name = "cudagraph"
        elif isinstance(model.intermediate, FourFrameFlow):
            name = "eager"
    if name == "eager":
        if isinstance(model, STMFNet):
            return (CudaSTMFNet if device.type == "cuda" else FusedSTMFNet)(model, dtype)
        return model if dtype == torch.float32 else Autocast(model, dtype)
    if name not in (*ENGINES, "auto"):
        raise ValueError(f"expected an engine of {', '.join((*ENGINES, 'auto'))}; got {name!r}")
    if not isinstance(model, STMFNet):
        if name == "auto":
            return start("eager", model, dtype)
        raise ValueError(f"the engine {name} runs tweenlet's own networks, got {type(model).__name__}")
    if name == "cudagraph":
        if device.type != "cuda":
            raise ValueError(f"CUDA graphs run on a CUDA device, and the network is on {device}")
        return CudaGraphed(CudaSTMFNet(model, dtype))
    makers: dict[str, Callable[[STMFNet, torch.dtype], nn.Module]]
    makers = {"compile": Compiled, "onnxruntime": OnnxRuntime, "openvino": OpenVino, "auto": Auto}
    return makers[name](model, dtype)


def running(module: nn.Module) -> str:
    """The engine behind a module of :func:`start`; for "auto" the one that ran last, at first eager."""
    if isinstance(module, Auto):
        return module.chosen
    kinds = {CudaGraphed: "cudagraph", Compiled: "compile", OnnxRuntime: "onnxruntime", OpenVino: "openvino"}
    return next((name for kind, name in kinds.items() if isinstance(module, kind)), "eager")


def motion_finder(module: nn.Module) -> FusedSTMFNet | CudaSTMFNet | None:
    """The network that estimates motion for a module of :func:`start`; None if the module takes no motion."""
    running = module.network if isinstance(module, CudaGraphed) else module
    if isinstance(running, FusedSTMFNet | CudaSTMFNet) and isinstance(running.intermediate, FourFrameFlow):
        return running
    return None


def frame_encoder(module: nn.Module) -> FusedSTMFNet | None:
    """The network that encodes frames for a module of :func:`start`; None if the module takes no features."""
    if isinstance(module, FusedSTMFNet) and isinstance(module.intermediate, IntermediateFlow):
        return module
    return None


class Autocast(nn.Module):
    """A model in half precision, under autocast."""

    def __init__(self, model: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.model, self.dtype = model, dtype
        self.stride = int(getattr(model, "stride", 1))
        self.padding = getattr(model, "padding", "mirrored")
        self.config = getattr(model, "config", None)

    def forward(self, frames: Tensor, **options: Any) -> Tensor:
        """Frames (1, 4, 3, H, W) -> the frame between the middle two (1, 3, H, W)."""
        with torch.autocast(frames.device.type, self.dtype, enabled=self.dtype != torch.float32):
            frame: Tensor = self.model(frames, **options)
        return frame


class Compiled(Autocast):
    """A network by torch.compile, compiled once per frame size and cached."""

    def __init__(self, model: STMFNet, dtype: torch.dtype) -> None:
        super().__init__(model, dtype)
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = USERS_INDUCTOR or str(cache_folder("inductor"))
        self.model: nn.Module = torch.compile(model, dynamic=False)  # type: ignore[assignment]

    def forward(self, frames: Tensor, **options: Any) -> Tensor:
        """As the network's own; the time becomes a tensor, so that new times do not recompile."""
        if "time" in options:
            options["time"] = torch.as_tensor(options["time"], device=frames.device).reshape(-1)
        return super().forward(frames, **options)


class _OnnxEngine(nn.Module):
    """A network run from one ONNX file per frame size, on the CPU, in float32."""

    title: ClassVar[str]
    package: ClassVar[str]

    def __init__(self, model: STMFNet, dtype: torch.dtype) -> None:
        super().__init__()
        import_extra(self.package)
        device = next(model.parameters()).device
        if device.type != "cpu":
            raise ValueError(f"{self.title} runs on the CPU here, and the network is on {device}")
        if dtype != torch.float32:
            raise ValueError(f"{self.title} runs this network in float32 only, not in {dtype_name(dtype)}")
        self.network = (model,)  # a tuple, so that it is not registered as a submodule
        self.stride, self.padding, self.config = model.stride, model.padding, model.config
        self._digest = weights.digest(model)
        self._runs: dict[tuple[int, int], Callable[[dict[str, Any]], Any]] = {}

    def forward(self, frames: Tensor, time: float | Tensor | None = None) -> Tensor:
        """Frames (1, 4, 3, H, W) -> the frame between the middle two (1, 3, H, W)."""
        height, width = frames.shape[-2:]
        if (height, width) not in self._runs:
            self._runs[height, width] = self._prepare(height, width)
        return call(self._runs[height, width], self.network[0].takes_time, frames, time)

    def _load(self, path: Path) -> Callable[[dict[str, Any]], Any]:
        raise NotImplementedError

    def _prepare(self, height: int, width: int) -> Callable[[dict[str, Any]], Any]:
        """The network for one size, from the cache; exported now if the cached file is missing or damaged."""
        made_by = f"{source_hash()}-{version('torch').partition('+')[0]}"
        name = f"onnx/{self._digest[:32]}-{width}x{height}-{made_by}.onnx"
        path = cached_file(name)
        if path is not None:
            with suppress(ValueError):
                return self._load(path)
        path = cache_folder("onnx") / Path(name).name
        with atomic_write(path, shared=True) as partial:
            write(self.network[0], partial, (width, height))
        return self._load(path)


class OnnxRuntime(_OnnxEngine):
    """A network run by ONNX Runtime, with as many threads as torch."""

    title, package = "ONNX Runtime", "onnxruntime"

    def _load(self, path: Path) -> Callable[[dict[str, Any]], Any]:
        return Session(path, torch.get_num_threads()).run_first


class OpenVino(_OnnxEngine):
    """A network run by OpenVINO, with as many threads as torch.

    Float32 only: OpenVINO's bfloat16 would also round the positions that warps and splats use.
    """

    title, package = "OpenVINO", "openvino"

    def _load(self, path: Path) -> Callable[[dict[str, Any]], Any]:
        import openvino

        options = {
            "INFERENCE_PRECISION_HINT": "f32",
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "CACHE_DIR": str(cache_folder("openvino")),
        }
        try:
            compiled = openvino.Core().compile_model(path, "CPU", options)
        except RuntimeError as error:
            raise ValueError(f"OpenVINO cannot run {path}: {str(error)[-300:]}") from error
        return lambda inputs: compiled(inputs)[0].copy()


class Auto(nn.Module):
    """The fastest engine on this machine, by a race on the first frames of each class of size."""

    def __init__(self, model: STMFNet, dtype: torch.dtype) -> None:
        super().__init__()
        self.network, self.dtype = (model,), dtype
        self.stride, self.padding, self.config = model.stride, model.padding, model.config
        self._digest = weights.digest(model)
        self.chosen = "eager"
        self._started: dict[str, nn.Module] = {}

    def forward(self, frames: Tensor, **options: Any) -> Tensor:
        """Frames (1, 4, 3, H, W) -> the frame between the middle two (1, 3, H, W)."""
        key = self._key(frames)
        fastest = recall(key)
        if fastest is None:
            fastest = self._race(frames, **options)
            remember(key, fastest)
        try:
            frame: Tensor = self._engine(fastest)(frames, **options)
        except (ValueError, OSError):  # cached, but since uninstalled or broken
            remember(key, fastest := "eager")
            frame = self._engine(fastest)(frames, **options)
        self.chosen = fastest
        return frame

    def _engine(self, name: str) -> nn.Module:
        if name not in self._started:
            self._started[name] = start(name, self.network[0], self.dtype)
        return self._started[name]

    def _race(self, frames: Tensor, **options: Any) -> str:
        """The fastest engine whose frame agrees with eager's; eager unless another is clearly faster."""
        expected = self._engine("eager")(frames, **options)
        runners = ["eager"]
        for name in AUTO_CANDIDATES:
            with suppress(ValueError, OSError):
                frame = self._engine(name)(frames, **options)
                if float((frame - expected).abs().max()) <= TOLERANCE:
                    runners.append(name)
        seconds: dict[str, list[float]] = {name: [] for name in runners}
        for _ in range(ROUNDS if len(runners) > 1 else 0):
            for name in runners:
                began = time.perf_counter()
                self._engine(name)(frames, **options)
                seconds[name].append(time.perf_counter() - began)
        # pair by pair: the machine may be busier in one round than the next
        shares = {
            name: median(other / eager for other, eager in zip(seconds[name], seconds["eager"], strict=True))
            for name in runners[1:]
        }
        best = min(shares, key=lambda name: shares[name], default="eager")
        return best if shares.get(best, 1.0) <= WORTH else "eager"

    def _key(self, frames: Tensor) -> str:
        """Cache key of a choice: network, size to the nearest power of two, dtype, machine, code."""
        pixels = (frames.shape[-2] * frames.shape[-1]).bit_length()
        parts = [
            self._digest[:16],
            f"2^{pixels}",
            dtype_name(self.dtype),
            f"{torch.get_num_threads()} threads",
        ]
        device = frames.device
        parts.append(torch.cuda.get_device_name(device) if device.type == "cuda" else processor_name())
        parts += [f"code {source_hash()}"]
        parts += [f"{name} {_version(name)}" for name in ("torch", "onnxruntime", "openvino")]
        return ", ".join(parts)


def recall(key: str) -> str | None:
    """The cached choice for ``key``; None if there is none, or the cache cannot be read."""
    chosen = _choices().get(key)
    return chosen if chosen in ENGINES else None


def remember(key: str, engine: str) -> None:
    """Cache a choice; if that fails, the next run races again."""
    choices = json.dumps({**_choices(), key: engine}, indent=1)
    with suppress(OSError):
        write_bytes_atomically(cache_folder() / "engines.json", choices.encode(), shared=True)


def _choices() -> dict[str, Any]:
    try:
        choices = json.loads((cache_folder() / "engines.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return choices if isinstance(choices, dict) else {}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"
