"""Engines: each gives the frames of the network as it is written; and what is remembered, and refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tweenlet.bench.targets import moving_picture
from tweenlet.inference import engines
from tweenlet.inference import onnx as export
from tweenlet.inference.cuda import CudaGraphed, CudaSTMFNet
from tweenlet.inference.fused import FusedSTMFNet
from tweenlet.interpolation.interpolator import Interpolator
from tweenlet.network import checkpoint as weights
from tweenlet.network.config import TINY, FlowLevel, IntermediateFlowConfig, ModelConfig
from tweenlet.network.stmfnet import STMFNet
from tweenlet.runtime.cache import cache_folder, cached_file

WIDTH, HEIGHT = 44, 26


def intermediate(four_frames: bool) -> ModelConfig:
    """A small network that takes a time."""
    levels = (FlowLevel(4, 4, 1), FlowLevel(2, 4, 1))
    branch = IntermediateFlowConfig(levels, encoder=(4, 2), context=3, four_frames=four_frames)
    return ModelConfig(scales=(1.0,), features=None, flow=None, grid=None, texture=None, intermediate=branch)


CONFIGS = {
    "mini": replace(TINY, features=(32,), kernel_size=2, kernel_hidden=4),
    "flow": replace(TINY, features=None, scales=(1.0,), grid=(4,), texture=None, flow=(4, 4)),
    "two frames": intermediate(four_frames=False),
    "four frames": intermediate(four_frames=True),
}
"""Between them every operation of the family, in as few layers as can be."""


FLAT = CONFIGS["flow"]
"""Without anything that looks at the whole frame."""


def network(config: ModelConfig) -> STMFNet:
    torch.manual_seed(0)
    model = STMFNet(config).eval()
    for parameter in model.parameters():
        if parameter.requires_grad and not parameter.any():  # what starts silent would hide what is wrong
            nn.init.normal_(parameter, std=0.02)
    return model


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def cache(shared_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache that the tests share: each network is exported once."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(shared_cache))
    return shared_cache / "tweenlet"


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "tweenlet"


@pytest.mark.optional
@pytest.mark.long
@pytest.mark.parametrize("config", CONFIGS)
def test_every_engine_gives_the_same_frames(config: str, cache: Path) -> None:
    pytest.importorskip("onnxscript", reason="the extra onnx is not installed")
    model = network(CONFIGS[config])
    frames = moving_picture((WIDTH, HEIGHT), 5)
    windows = [frames[:4], frames[1:]]
    plain = Interpolator(model)
    expected = [plain.middle(window) for window in windows]
    for name in ("onnxruntime", "openvino"):
        pytest.importorskip(name, reason=f"the extra for {name} is not installed")
        fast = Interpolator(model, engine=name)
        assert engines.running(fast.model) == name
        for window, reference in zip(windows, expected, strict=True):
            middle = fast.middle(window)
            assert middle.shape == (3, HEIGHT, WIDTH)
            torch.testing.assert_close(middle, reference, atol=export.TOLERANCE, rtol=0)
    assert len(list((cache / "onnx").glob(f"{weights.digest(model)[:32]}-*.onnx"))) == 1


@pytest.mark.optional
@pytest.mark.long
def test_what_other_code_exported_is_not_run(empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    monkeypatch.setattr(engines, "write", lambda model, path, size: path.write_bytes(b"whole"))
    monkeypatch.setattr(engines.OnnxRuntime, "_load", lambda *_: lambda inputs: inputs["frames"][:, 1])
    model, frames = network(CONFIGS["mini"]), moving_picture((WIDTH, HEIGHT), 4)
    for code in ("before", "after", "after"):
        monkeypatch.setattr(engines, "source_hash", lambda code=code: code)
        Interpolator(model, engine="onnxruntime").middle(frames)
    assert len(list((empty_cache / "onnx").iterdir())) == 2


@pytest.mark.optional
@pytest.mark.long
@pytest.mark.filterwarnings("ignore:no cache on disk")
@pytest.mark.parametrize("read_only", [False, True])
def test_a_damaged_file_in_the_cache_is_written_again(
    read_only: bool, empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")

    def load(_: object, path: Path) -> Callable[[dict[str, np.ndarray]], np.ndarray]:
        if path.read_bytes() != b"whole":
            raise ValueError("damaged")
        return lambda inputs: inputs["frames"][:, 1]

    monkeypatch.setattr(engines, "write", lambda model, path, size: path.write_bytes(b"whole"))
    monkeypatch.setattr(engines.OnnxRuntime, "_load", load)
    model, frames = network(CONFIGS["mini"]), moving_picture((WIDTH, HEIGHT), 4)
    Interpolator(model, engine="onnxruntime").middle(frames)
    (file,) = (empty_cache / "onnx").iterdir()
    file.write_bytes(b"who")
    if read_only:
        monkeypatch.setattr(os, "access", lambda *_, **__: False)
    made = Interpolator(model, engine="onnxruntime").middle(frames)
    torch.testing.assert_close(made, frames[1])
    assert file.read_bytes() == (b"who" if read_only else b"whole")


@pytest.mark.long
def test_compile_gives_the_same_frames(empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the last step, which makes machine code of the graph and takes minutes."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "elsewhere")
    compile_whole = torch.compile
    monkeypatch.setattr(torch, "compile", lambda *a, **k: compile_whole(*a, **k, backend="aot_eager"))
    model = network(CONFIGS["four frames"])
    frames = moving_picture((24, 12), 4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of torch, about itself
        compiled = Interpolator(model, engine="compile")
        made = compiled.middle(frames)
    assert engines.running(compiled.model) == "compile"
    torch.testing.assert_close(made, Interpolator(model).middle(frames), atol=export.TOLERANCE, rtol=0)
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(empty_cache / "inductor")


class Counted(nn.Module):
    """An engine that was started, and takes no time."""

    def __init__(self, model: nn.Module, output: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.network, self.made, self.calls = (model,), output, 0

    def forward(self, frames: Tensor, **options: object) -> Tensor:
        self.calls += 1
        return self.made(frames)


def started(monkeypatch: pytest.MonkeyPatch, **output: Callable[[Tensor], Tensor]) -> dict[str, int]:
    """Engines replaced by ones that compute nothing; how often each was started."""
    starts = dict.fromkeys(output, 0)

    def start(name: str, model: nn.Module, dtype: torch.dtype = torch.float32) -> nn.Module:
        starts[name] += 1
        if name == "auto":
            return engines.Auto(model, dtype)
        return Counted(model, output[name])

    monkeypatch.setattr(engines, "start", start)
    return starts


def slow(frames: Tensor) -> Tensor:
    torch.linalg.svd(torch.eye(200))
    return frames[:, 1]


def quick(frames: Tensor) -> Tensor:
    return frames[:, 1]


def wrong(frames: Tensor) -> Tensor:
    return frames[:, 1] + 0.1


def absent(frames: Tensor) -> Tensor:
    raise OSError("not installed")


FRAMES = torch.rand(1, 4, 3, 8, 8)


@pytest.mark.parametrize(
    ("onnxruntime", "openvino", "chosen"),
    [(quick, absent, "onnxruntime"), (wrong, quick, "openvino"), (wrong, absent, "eager")],
)
def test_auto_takes_the_fastest_that_is_right_and_remembers(
    onnxruntime, openvino, chosen: str, empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts = started(monkeypatch, eager=slow, onnxruntime=onnxruntime, openvino=openvino)
    model = network(TINY)
    for _ in range(2):
        auto = engines.Auto(model, torch.float32)
        torch.testing.assert_close(auto(FRAMES), FRAMES[:, 1], atol=1e-6, rtol=0)
        assert engines.running(auto) == chosen
    assert list(json.loads((empty_cache / "engines.json").read_text()).values()) == [chosen]
    assert sum(starts.values()) == 4  # three in the race, and what was remembered
    engines.Auto(network(replace(TINY, dilation=2)), torch.float32)(
        FRAMES
    )  # the same tensors, another network
    assert len(json.loads((empty_cache / "engines.json").read_text())) == 2


def test_auto_stays_with_eager_where_nothing_is_clearly_faster(
    empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started(monkeypatch, eager=quick, onnxruntime=slow, openvino=slow)
    engines.Auto(network(TINY), torch.float32)(FRAMES)
    assert list(json.loads((empty_cache / "engines.json").read_text()).values()) == ["eager"]


@pytest.mark.parametrize(
    ("config", "by"), [(FLAT, "openvino"), (TINY, "eager"), (CONFIGS["four frames"], "eager")]
)
def test_tiles_that_must_agree_run_eager(
    config: ModelConfig, by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = moving_picture((320, 32), 4)
    started(monkeypatch, eager=quick, openvino=wrong)
    made = Interpolator(network(config), engine="openvino", tile=256).middle(frames)
    torch.testing.assert_close(made, frames[1] + (0.1 if by == "openvino" else 0.0))


def test_what_was_remembered_may_be_gone(empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started(monkeypatch, eager=quick, onnxruntime=quick, openvino=absent)
    auto = engines.Auto(network(TINY), torch.float32)
    engines.remember(auto._key(FRAMES), "openvino")
    assert torch.equal(auto(FRAMES), FRAMES[:, 1])
    assert engines.recall(auto._key(FRAMES)) == engines.running(auto) == "eager"


@pytest.mark.parametrize("broken", ["", "[1]", "{", '{"key": "abacus"}', '{"key": 3}', "\udcff"])
def test_a_broken_memory_is_no_memory(broken: str, empty_cache: Path) -> None:
    cache_folder()
    (empty_cache / "engines.json").write_bytes(broken.encode(errors="surrogateescape"))
    assert engines.recall("key") is None
    engines.remember("key", "openvino")
    assert engines.recall("key") == "openvino"


@pytest.mark.filterwarnings("ignore:no cache on disk")
def test_a_cache_that_cannot_be_written_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert tmp_path not in cache_folder().parents
    engines.remember("key", "eager")
    assert engines.recall("key") == "eager"


@pytest.mark.filterwarnings("ignore:no cache on disk")
def test_a_cache_that_can_only_be_read_is_read(empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = cache_folder() / "made.so"
    there.write_text("")
    monkeypatch.setattr(os, "access", lambda *_, **__: False)
    assert cached_file("made.so") == there
    assert cached_file("other.so") is None
    assert empty_cache not in cache_folder().parents


def test_what_an_engine_does_not_take_is_said(cache: Path) -> None:
    model = network(TINY)
    with pytest.raises(
        ValueError, match="expected an engine of eager, cudagraph, compile, onnxruntime, openvino, auto"
    ):
        Interpolator(model, engine="steam")
    for name in ("onnxruntime", "openvino"):
        pytest.importorskip(name)
        with pytest.raises(ValueError, match="in float32 only, not in bfloat16"):
            Interpolator(model, engine=name, dtype=torch.bfloat16)
        with pytest.raises(ValueError, match="on meta"):
            engines.start(name, network(TINY).to("meta"))
        with pytest.raises(ValueError, match="tweenlet's own networks, got Identity"):
            engines.start(name, nn.Identity())
    assert isinstance(engines.start("auto", same := nn.Identity()), nn.Identity)
    assert engines.start("auto", same) is same
    assert isinstance(engines.start("auto", network(CONFIGS["four frames"])), FusedSTMFNet)


def test_a_graph_needs_a_cuda_device() -> None:
    with pytest.raises(ValueError, match="CUDA graphs run on a CUDA device, and the network is on cpu"):
        Interpolator(network(TINY), engine="cudagraph")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_on_a_device_auto_is_a_graph_and_gives_the_same_frames() -> None:
    model, frames = network(CONFIGS["four frames"]), moving_picture((WIDTH, HEIGHT), 5)
    eager, auto = (Interpolator(model, device="cuda", engine=name) for name in ("eager", "auto"))
    assert isinstance(eager.model, CudaSTMFNet)
    assert isinstance(auto.model, CudaGraphed)
    assert engines.running(auto.model) == "cudagraph"
    for window in (frames[:4], frames[1:]):
        torch.testing.assert_close(auto.middle(window), eager.middle(window), atol=export.TOLERANCE, rtol=0)


def test_an_engine_that_is_not_installed_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("openvino", "onnx"):
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(OSError, match=r"OpenVINO is not installed: pip install 'tweenlet\[openvino\]'"):
        Interpolator(network(TINY), engine="openvino")
    with pytest.raises(OSError, match=r"pip install 'tweenlet\[onnx\]'"):
        export.write(network(TINY), Path("x.onnx"), (8, 8))


@pytest.mark.long
@pytest.mark.optional
def test_openvino_reports_nothing_to_its_makers() -> None:
    pytest.importorskip("openvino", reason="the extra openvino is not installed")
    program = (
        "from tweenlet.runtime.extras import import_extra; import_extra('openvino')\n"
        "from openvino.tools.ovc.main import tm; print(tm.__name__)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "openvino.tools.ovc.telemetry_stub\n"


def test_a_digest_is_of_config_and_tensors() -> None:
    model, other = network(TINY), network(replace(TINY, dilation=2))
    assert weights.digest(model) == weights.digest(network(TINY))
    assert weights.digest(model) != weights.digest(other)
    with torch.no_grad():
        model.features.bottom.small.reduce[0].weight[0] += 1
    assert weights.digest(model) != weights.digest(network(TINY))
