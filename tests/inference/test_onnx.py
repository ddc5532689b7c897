"""Export: the file runs alone, says what it is, and is what the network is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from test_engines import CONFIGS, network

from tweenlet.bench.targets import moving_picture
from tweenlet.inference import onnx as export
from tweenlet.interpolation.interpolator import Interpolator
from tweenlet.network.config import TINY

pytest.importorskip("onnxscript", reason="the extra onnx is not installed")
pytestmark = [pytest.mark.long, pytest.mark.optional]
ONE = replace(TINY, features=(32,), kernel_size=1, scales=(1.0,), grid=(4,), texture=None)


def test_a_file_is_a_network_for_the_interpolator(tmp_path: Path) -> None:
    model = network(CONFIGS["four frames"])
    path = tmp_path / "default.onnx"
    assert export.export(model, path, (30, 20)) <= export.TOLERANCE
    assert [file.name for file in tmp_path.iterdir()] == ["default.onnx"]
    file_network = export.OnnxFile(path)
    assert (file_network.config, file_network.stride) == (model.config, model.stride)
    frames = moving_picture((30, 20), 4)
    torch.testing.assert_close(
        Interpolator(file_network).middle(frames), Interpolator(model).middle(frames), atol=1e-4, rtol=0
    )
    with pytest.raises(ValueError, match=r"ONNX Runtime cannot run .*default\.onnx"):
        Interpolator(file_network).middle(moving_picture((40, 30), 4))


def test_a_file_for_any_size(tmp_path: Path) -> None:
    model = network(ONE)
    assert export.export(model, tmp_path / "any.onnx", None) <= export.TOLERANCE
    interpolator = Interpolator(export.OnnxFile(tmp_path / "any.onnx"))
    for size in ((17, 31), (40, 9)):
        frames = moving_picture(size, 4)
        torch.testing.assert_close(
            interpolator.middle(frames), Interpolator(model).middle(frames), atol=1e-4, rtol=0
        )


def test_a_file_that_is_off_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = export.write

    def other(model, path, size):
        write(network(replace(ONE, dilation=1)), path, size)
        with torch.no_grad():
            model.fusion.final.path[-1].bias.add_(1)

    monkeypatch.setattr(export, "write", other)
    with pytest.raises(ValueError, match=r"off, more than 0\.0001: not written"):
        export.export(network(ONE), tmp_path / "off.onnx", (8, 8))
    assert not list(tmp_path.iterdir())


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such file"):
        export.OnnxFile(tmp_path / "none.onnx")
    (tmp_path / "notes.onnx").write_text("Buy milk.")
    with pytest.raises(ValueError, match=r"notes\.onnx is not an ONNX file that ONNX Runtime can run"):
        export.OnnxFile(tmp_path / "notes.onnx")


def test_a_network_with_an_unknown_operator_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = network(ONE)
    monkeypatch.setattr(type(model), "forward", lambda self, frames: torch.linalg.svd(frames[:, 1])[0])
    with pytest.raises(ValueError, match="cannot be exported to ONNX"):
        export.write(model, tmp_path / "svd.onnx", (8, 8))
