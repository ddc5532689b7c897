"""ONNX files: every way to take the frames, sizes that must be padded, and what does not fit."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import onnx
import pytest
import torch
from onnx import TensorProto, helper

from tweenlet.evaluation.baselines.onnx import Onnx
from tweenlet.inference.onnx import OneInput, export
from tweenlet.network.config import RIFE, FlowLevel, IntermediateFlowConfig
from tweenlet.network.stmfnet import STMFNet

Shape = list[int | str]
ANY: Shape = ["b", 3, "h", "w"]
SaveOnnx = Callable[..., Path]

GAIN = helper.make_node("Mul", ["mean", "gain"], ["out"])
MEAN_OF_TWO = [
    helper.make_node("Gather", ["x0", "inner"], ["two"], axis=1),
    helper.make_node("ReduceMean", ["two", "one"], ["mean"], keepdims=0),
    GAIN,
]
HALVES = helper.make_node("Split", ["x0", "sizes"], ["left", "right"], axis=1)


@pytest.mark.parametrize(
    ("inputs", "nodes", "mean_of"),
    [
        ([["b", 4, 3, "h", "w"]], MEAN_OF_TWO, [1, 2]),
        ([[1, 4, 3, "h", "w"]], MEAN_OF_TWO, [1, 2]),
        ([["b", 6, "h", "w"]], [HALVES, helper.make_node("Mean", ["left", "right"], ["out"])], [1, 2]),
        ([ANY] * 2, [helper.make_node("Mean", ["x0", "x1"], ["out"])], [1, 2]),
        ([ANY] * 4, [helper.make_node("Mean", ["x0", "x1", "x2", "x3"], ["out"])], [0, 1, 2, 3]),
    ],
    ids=["five", "one by one", "six channels", "two inputs", "four inputs"],
)
def test_an_onnx_file_is_a_method(
    inputs: list[Shape], nodes: list[onnx.NodeProto], mean_of: list[int], save_onnx: SaveOnnx
) -> None:
    frames = torch.rand(3, 4, 3, 21, 35)
    network = Onnx(save_onnx("mean.onnx", inputs, *nodes))
    torch.testing.assert_close(network(frames[0]), frames[0, mean_of].mean(0))
    torch.testing.assert_close(network.batch(frames), frames[:, mean_of].mean(1))


def test_twelve_channels_are_the_four_frames_in_order(save_onnx: SaveOnnx) -> None:
    picked = helper.make_node("Gather", ["x0", "picked"], ["out"], axis=1)
    third = helper.make_node("Constant", [], ["picked"], value=helper.make_tensor("", 7, [3], [6, 7, 8]))
    frames = torch.rand(4, 3, 21, 35)
    network = Onnx(save_onnx("third.onnx", [["b", 12, "h", "w"]], third, picked))
    assert torch.equal(network(frames), frames[2])


def test_our_own_export_is_a_method(tmp_path: Path) -> None:
    """Of a network that takes a time, as an input or as a plane: half-way."""
    pytest.importorskip("onnxscript")
    branch = IntermediateFlowConfig((FlowLevel(4, 8, 1), FlowLevel(2, 8, 1)), encoder=(8, 2), context=3)
    model = STMFNet(replace(RIFE, intermediate=branch)).eval()
    frames = torch.rand(4, 3, 64, 96)
    with torch.inference_mode():
        expected = model(frames[None], time=0.5)[0]
    for network in (model, OneInput(model)):
        export(network, tmp_path / "rife.onnx", (96, 64))
        torch.testing.assert_close(Onnx(tmp_path / "rife.onnx")(frames), expected, atol=1e-4, rtol=0)


def test_an_onnx_file_knows_itself(
    save_onnx: SaveOnnx, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save_onnx("mean.onnx", [["b", 4, 3, "h", "w"]], *MEAN_OF_TWO)
    network = Onnx(path)
    assert network.parameters == 3  # the gain; not the numbers of frames
    assert "ONNX Runtime" in network.description
    (tmp_path / "mean.onnx.data").write_bytes(b"weights")
    assert len(network.digest) == 64
    assert network.digest != Onnx(save_onnx("same.onnx", [["b", 4, 3, "h", "w"]], *MEAN_OF_TWO)).digest
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert Onnx(path).parameters == 0


@pytest.mark.parametrize(
    "nodes",
    [
        [
            helper.make_node("SpaceToDepth", ["x0"], ["deep"], blocksize=16),
            helper.make_node("DepthToSpace", ["deep"], ["out"], blocksize=16),
        ],
        [
            helper.make_node("AveragePool", ["x0"], ["low"], kernel_shape=[8, 8], strides=[8, 8]),
            helper.make_node("Resize", ["low", "", "times8"], ["out"], mode="nearest"),
        ],
    ],
    ids=["refuses", "answers with another size"],
)
def test_sizes_that_an_onnx_file_does_not_take_are_padded(
    nodes: list[onnx.NodeProto], save_onnx: SaveOnnx, capfd: pytest.CaptureFixture[str]
) -> None:
    unused = helper.make_node("Shape", ["x1"], ["unused"])
    network = Onnx(save_onnx("stride.onnx", [ANY, ANY], unused, *nodes))
    blocks = torch.rand(4, 3, 3, 5).repeat_interleave(8, -1).repeat_interleave(8, -2)
    for height, width in ((24, 40), (16, 33), (21, 35)):
        frames = blocks[..., :height, :width]
        made = network(frames)
        assert made.shape == (3, height, width)
        torch.testing.assert_close(made[:, :16, :32], frames[1, :, :16, :32])
    assert not capfd.readouterr().err


def test_an_onnx_file_of_one_size_takes_what_can_be_padded_to_it(save_onnx: SaveOnnx) -> None:
    path = save_onnx("fixed.onnx", [[1, 3, 32, 48]] * 2, helper.make_node("Mean", ["x0", "x1"], ["out"]))
    frames = torch.rand(4, 3, 30, 44)
    torch.testing.assert_close(Onnx(path)(frames), frames[1:3].mean(0))
    with pytest.raises(
        ValueError, match=r"fixed.onnx takes 48x32 only: got frames of 64x40, tried .*up to 128; "
    ):
        Onnx(path)(torch.rand(4, 3, 40, 64))


def test_onnx_files_that_do_not_fit(
    save_onnx: SaveOnnx, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    same = helper.make_node("Identity", ["x0"], ["out"])
    with pytest.raises(FileNotFoundError, match="no such file"):
        Onnx(tmp_path / "nothing.onnx")
    (tmp_path / "text.onnx").write_text("no network")
    with pytest.raises(ValueError, match="not an ONNX file that ONNX Runtime can run"):
        Onnx(tmp_path / "text.onnx")
    grey = save_onnx("grey.onnx", [["b", 1, "h", "w"]], same)
    with pytest.raises(ValueError, match=r"does not fit: expected an input of .* got \[\('x0', \['b', 1"):
        Onnx(grey)
    whole = save_onnx("bytes.onnx", [["b", 6, "h", "w"]], same, kind=TensorProto.UINT8)
    with pytest.raises(ValueError, match=r"all float; got .*tensor\(uint8\)"):
        Onnx(whole)
    six = save_onnx("six.onnx", [["b", 6, "h", "w"]], same)
    with pytest.raises(ValueError, match=r"has the shape \(1, 6, 16, 16\), expected \(1, 3, 16, 16\)"):
        Onnx(six)(torch.rand(4, 3, 16, 16))
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(OSError, match=r"ONNX Runtime is not installed: pip install 'tweenlet\[onnx\]'"):
        Onnx(six)
