"""Load: the interpolator of a model, by PyTorch, or by ONNX Runtime if PyTorch is not installed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tweenlet.interpolation.lite import LiteInterpolator
from tweenlet.runtime.extras import import_extra, is_installed

if TYPE_CHECKING:
    import torch
    from torch import nn

    from tweenlet.interpolation.interpolator import Interpolator

LITE = "lite"
"""The engine that runs the default network without PyTorch."""


def choose_engine(engine: str | None) -> str:
    """Resolve an engine: None, and "auto" without PyTorch, depend on what is installed.

    Raises:
        OSError: neither PyTorch nor ONNX Runtime is installed.

    """
    if engine not in (None, "auto"):
        return engine
    if is_installed("torch"):
        return engine or "eager"
    if is_installed("onnxruntime"):
        return LITE
    raise OSError(
        "nothing that runs a network is installed: pip install 'tweenlet[torch]', or 'tweenlet[lite]', a "
        "quarter of its size"
    )


def load_device(engine: str, device: str | torch.device | None) -> torch.device | None:
    """The device for an engine; None where pictures are arrays. ValueError for one it does not support."""
    if engine == LITE:
        if device is not None and str(device) != "cpu":
            raise ValueError(f"the lite engine runs on the CPU: for {device} pip install 'tweenlet[torch]'")
        return None
    import_extra("torch")
    from tweenlet.runtime.devices import resolve_device

    return resolve_device(device)


def load_interpolator(
    model: str | Path | nn.Module,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype = "float32",
    engine: str | None = None,
    tile: int | str | None = "auto",
    flow_scale: float | str = "auto",
) -> Interpolator | LiteInterpolator:
    """Load an interpolator; arguments and errors are those of :func:`tweenlet.interpolate_video`."""
    engine = choose_engine(engine)
    place = load_device(engine, device)
    if place is None:
        if not isinstance(model, (str, Path)):
            raise ValueError(f"the lite engine runs weights by name or path, got {type(model).__name__}")
        if str(dtype).removeprefix("torch.") != "float32":
            raise ValueError(f"the lite engine runs in float32: for {dtype} pip install 'tweenlet[torch]'")
        return LiteInterpolator(model, tile=tile, flow_scale=flow_scale)
    from tweenlet.interpolation.interpolator import Interpolator
    from tweenlet.network import checkpoint

    network = checkpoint.load(model, device=place) if isinstance(model, (str, Path)) else model
    return Interpolator(network, device=place, dtype=dtype, engine=engine, tile=tile, flow_scale=flow_scale)
