"""Names: what is typed for a method, and the labels that come of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from onnx import helper
from torch import nn

from tweenlet.evaluation.baselines.classical import BASELINES
from tweenlet.evaluation.baselines.method import Baseline
from tweenlet.evaluation.baselines.names import methods
from tweenlet.evaluation.baselines.network import Network
from tweenlet.evaluation.baselines.onnx import Onnx
from tweenlet.network import checkpoint as weights
from tweenlet.network import official
from tweenlet.network.config import MINI, TINY
from tweenlet.network.stmfnet import STMFNet


def test_methods_come_by_name_or_path(
    save_onnx: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights, "load", lambda name: nn.Identity())
    checkpoint = tmp_path / "mine.safetensors"
    checkpoint.touch()
    mean = save_onnx("mean.onnx", [["b", 3, "h", "w"]] * 2, helper.make_node("Mean", ["x0", "x1"], ["out"]))
    monkeypatch.chdir(tmp_path)
    baselines = ["cp=cp {1} {out}", "net=mean.onnx", "path=os.path:join"]
    by_name = methods(["dis", "mine.safetensors", "mean.onnx", "default"], baselines=baselines)
    assert list(by_name) == ["dis", "mine.safetensors", "mean.onnx", "default", "cp", "net", "path"]
    assert by_name["dis"] is BASELINES["dis"]
    assert isinstance(by_name["mine.safetensors"], Network)
    assert isinstance(by_name["net"], Onnx)
    assert isinstance(by_name["cp"], Baseline)
    assert mean.name in by_name["mean.onnx"].description
    frames = torch.randint(0, 256, (4, 3, 20, 40)) / 255
    torch.testing.assert_close(by_name["cp"](frames), frames[1])
    torch.testing.assert_close(by_name["net"](frames), frames[1:3].mean(0))
    with pytest.raises(
        ValueError, match=r"expected a checkpoint or ONNX file or one of .*blend.*; got miniterpolate"
    ):
        methods(["miniterpolate"])


def test_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "load", lambda name: nn.Identity())
    monkeypatch.chdir(tmp_path)
    path = Path("runs/lr=1e-3/model.safetensors")
    path.parent.mkdir(parents=True)
    path.touch()
    other = Path("runs/other/model.safetensors").absolute()
    other.parent.mkdir()
    other.touch()
    assert list(methods([str(path), f"mine={path}", "flow=dis"])) == [path.name, "mine", "flow"]
    assert list(methods([str(path), f"{other}:bfloat16", "dis"])) == [
        "lr=1e-3/model.safetensors", "other/model.safetensors:bfloat16", "dis",
    ]  # fmt: skip
    assert methods([str(path)])[path.name].description == "the checkpoint model.safetensors"
    long = Path("x" * 90, "y" * 120 + ".safetensors")
    long.parent.mkdir(parents=True)
    long.touch()
    (label,) = methods([str(long)])
    assert len(label) == 100
    assert label.startswith("...y")
    assert label.endswith("yyy.safetensors")
    assert list(methods([f"wide={long}"])) == ["wide"]
    for names, baselines in (
        (["dis", "dis"], []),
        (["x=dis", "x=blend"], []),
        (["dis"], ["dis=cp {1} {out}"]),
    ):
        with pytest.raises(
            ValueError, match=r"two entrants are called (dis|x): give one another label, as in"
        ):
            methods(names, baselines=baselines)
    for label in ("", " ", "a\nb"):
        with pytest.raises(ValueError, match="expected a label of printable characters"):
            methods([f"{label}=dis"])
    with pytest.raises(FileNotFoundError, match=r"no such file: no\.pth, given as mini=no\.pth"):
        methods(["mini=no.pth"])
    with pytest.raises(ValueError, match=r"expected a baseline such as NAME=.*FILE\.onnx; got rife"):
        methods([], baselines=["rife"])


@pytest.mark.slow
def test_a_published_checkpoint_is_run_as_its_authors_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Padded to 128, and called as in publications, where it is the published network."""
    torch.manual_seed(0)
    model = STMFNet(replace(TINY, features=(32, 32, 32, 32))).eval()
    path = tmp_path / "tiny.pth"
    torch.save({"state_dict": official.to_official(model)}, path)
    (network,) = methods([str(path)]).values()
    assert isinstance(network, Network)
    assert network.interpolator.multiple == 128
    assert network.digest == Network(model).digest
    assert "padded to multiples of 128" in network.description
    torch.testing.assert_close(
        network(frames := torch.rand(4, 3, 32, 40)), Network(model, pad_to=128)(frames)
    )
    published = SimpleNamespace(config=MINI)
    monkeypatch.setattr(official, "convert", lambda path: published)
    monkeypatch.setattr("tweenlet.evaluation.baselines.names.Network", lambda model, *_, **__: model)
    assert methods([str(path), f"theirs={path}"]) == {"ST-MFNet Mini": published, "theirs": published}
