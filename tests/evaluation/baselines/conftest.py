from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import Tensor

Shape = list[int | str]
WIDTH, HEIGHT, STEP = 160, 128, 8  # pixels; a step between two frames that lie two times apart


@pytest.fixture(scope="session")
def at() -> Callable[[int], Tensor]:
    """Views (3, HEIGHT, WIDTH) of a smooth, colourful picture, each half a STEP to the right of the last."""
    noise = np.random.default_rng(0).uniform(0, 1, (HEIGHT, 400, 3)).astype(np.float32)
    picture = cv2.GaussianBlur(noise, (0, 0), 4)
    picture = (picture - picture.min()) / (picture.max() - picture.min())
    scenery = torch.from_numpy((picture * 255).round() / 255).permute(2, 0, 1)

    def window(time: int) -> Tensor:
        left = 100 + time * STEP // 2
        return scenery[:, :, left : left + WIDTH]

    return window


@pytest.fixture(scope="session")
def moving(at: Callable[[int], Tensor]) -> Tensor:
    return torch.stack([at(time) for time in (0, 2, 4, 6)])


@pytest.fixture
def save_onnx(tmp_path: Path) -> Callable[..., Path]:
    """Writes an ONNX file: inputs x0, x1, ...; nodes, the last of which gives "out"; numbers they may use."""

    def save(name: str, inputs: list[Shape], *nodes: onnx.NodeProto, kind: int = TensorProto.FLOAT) -> Path:
        path = tmp_path / name
        declared = [helper.make_tensor_value_info(f"x{k}", kind, shape) for k, shape in enumerate(inputs)]
        out = helper.make_tensor_value_info("out", kind, [None] * 4)
        held = [
            helper.make_tensor("inner", TensorProto.INT64, [2], [1, 2]),
            helper.make_tensor("sizes", TensorProto.INT64, [2], [3, 3]),
            helper.make_tensor("one", TensorProto.INT64, [1], [1]),
            helper.make_tensor("times8", TensorProto.FLOAT, [4], [1, 1, 8, 8]),
            helper.make_tensor("gain", TensorProto.FLOAT, [1, 3, 1, 1], [1, 1, 1]),
        ]
        used = {name for node in nodes for name in node.input}
        graph = helper.make_graph(nodes, "baseline", declared, [out], [h for h in held if h.name in used])
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
        return path

    return save
