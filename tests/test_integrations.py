"""Other hosts: ComfyUI's node, VapourSynth's function, and an ONNX file that runs without tweenlet."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import tweenlet
import tweenlet.vapoursynth
from tweenlet.network import checkpoint as weights

INTEGRATIONS = Path(__file__).parent.parent / "integrations"


class AnyTime(nn.Module):
    takes_time = True

    def forward(self, frames: torch.Tensor, *, time: float | torch.Tensor) -> torch.Tensor:
        return frames[:, 1].lerp(frames[:, 2], float(time))


@pytest.fixture
def comfy(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """What ComfyUI has that nodes call: a progress bar, here a list of its updates."""
    updates: list[tuple[int, int]] = []

    class ProgressBar:
        def __init__(self, total: int) -> None:
            self.total = total

        def update_absolute(self, value: int) -> None:
            updates.append((value, self.total))

    package, utils = ModuleType("comfy"), ModuleType("comfy.utils")
    utils.ProgressBar = ProgressBar  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "comfy", package)
    monkeypatch.setitem(sys.modules, "comfy.utils", utils)
    return updates


def test_the_node_of_comfyui(comfy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "load", lambda name, device="cpu": AnyTime())
    path = INTEGRATIONS / "comfyui/__init__.py"
    spec = importlib.util.spec_from_file_location("custom_nodes.tweenlet", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert set(module.NODE_CLASS_MAPPINGS) == set(module.NODE_DISPLAY_NAME_MAPPINGS)
    for node in module.NODE_CLASS_MAPPINGS.values():
        inputs = node.INPUT_TYPES()
        values = {name: kind[1].get("default") if len(kind) > 1 else kind[0][0]
                 for name, kind in inputs["required"].items()}  # fmt: skip
        values["images"] = torch.arange(5.0).reshape(5, 1, 1, 1).expand(5, 24, 32, 3) / 5
        values |= {"model": "test", "cuts": False}
        images, fps = getattr(node(), node.FUNCTION)(**values)
        assert len(node.RETURN_TYPES) == len(node.RETURN_NAMES) == 2
        assert (images.shape, images.dtype, fps) == ((7, 24, 32, 3), torch.float32, 24.0)
        assert torch.equal(images[::3], values["images"][::2])
    assert comfy[-1] == (7, 7)


class Frame(list):
    """Planes, as arrays, and properties."""

    def __init__(self, planes: Any, props: dict[str, Any]) -> None:
        super().__init__(planes)
        self.props = props

    def copy(self) -> Frame:
        return Frame([plane.copy() for plane in self], dict(self.props))


class Clip:
    """As much of a VapourSynth clip as is used: slices, sums, products, formats."""

    def __init__(self, frames: list[Frame], fps: Fraction = Fraction(24), format: int = 0) -> None:
        self.frames, self.fps = frames, fps
        self.format = SimpleNamespace(id=format, color_family=1 if format else 0)
        self.height, self.width = frames[0][0].shape
        self.resize = SimpleNamespace(Bicubic=self._resized)

    def _resized(self, format: int, **options: int) -> Clip:
        self.asked = options
        return Clip(self.frames, self.fps, format)

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, part: slice) -> Clip:
        return Clip(self.frames[part], self.fps, self.format.id)

    def __add__(self, other: Clip) -> Clip:
        return Clip(self.frames + other.frames, self.fps, self.format.id)

    def __mul__(self, times: int) -> Clip:
        return Clip(self.frames * times, self.fps, self.format.id)

    def get_frame(self, number: int) -> Frame:
        return self.frames[number]


@pytest.fixture
def vapoursynth(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    def interleave(clips: list[Clip]) -> Clip:
        return Clip([frame for group in zip(*(c.frames for c in clips), strict=True) for frame in group])

    def modify(clip: Clip, clips: list[Clip], selector: Any) -> Clip:
        return Clip([selector(n, [c.frames[n] for c in clips]) for n in range(len(clip))])

    def assume(clip: Clip, fpsnum: int, fpsden: int) -> Clip:
        return Clip(clip.frames, Fraction(fpsnum, fpsden), clip.format.id)

    module = ModuleType("vapoursynth")
    std = SimpleNamespace(Interleave=interleave, ModifyFrame=modify, AssumeFPS=assume)
    module.__dict__.update(RGBS=0, RGB=0, YUV=1, core=SimpleNamespace(std=std))
    monkeypatch.setitem(sys.modules, "vapoursynth", module)
    return module


def clip(count: int = 5, cut: int | None = None, format: int = 0) -> Clip:
    frames = [
        Frame([np.full((24, 32), k / count, np.float32)] * 3, {"_Matrix": 1, "_SceneChangeNext": k == cut})
        for k in range(count)
    ]
    return Clip(frames, format=format)


def test_the_function_of_vapoursynth(vapoursynth) -> None:
    out = tweenlet.vapoursynth.interpolate(clip(), 3, model=AnyTime())
    assert (len(out), out.fps) == (15, 72)
    values = [float(frame[0][0, 0]) * 5 for frame in out.frames]
    np.testing.assert_allclose(values, [min(k / 3, 4) for k in range(15)], atol=1e-5)
    cut = tweenlet.vapoursynth.interpolate(clip(cut=1), 2, model=AnyTime())
    values = [float(frame[0][0, 0]) * 5 for frame in cut.frames]
    np.testing.assert_allclose(values, [0, 0.5, 1, 1, 2, 2.5, 3, 3.5, 4, 4], atol=1e-5)
    assert tweenlet.vapoursynth.interpolate(clip(format=7), 2, model=AnyTime()).format.id == 7


def test_the_script_takes_what_mpv_gives(vapoursynth, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "load", lambda name, device="cpu": AnyTime())
    shown: list[Clip] = []
    monkeypatch.setattr(Clip, "set_output", lambda self: shown.append(self), raising=False)
    given = {"video_in": Clip(clip().frames, Fraction(0)), "container_fps": 23.976}
    exec((INTEGRATIONS / "vapoursynth/double.vpy").read_text(), given)
    assert (len(shown[0]), shown[0].fps) == (10, Fraction(47952, 1000))


def test_what_vapoursynth_cannot_have_is_refused(vapoursynth, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="expected a factor of 2 or more"):
        tweenlet.vapoursynth.interpolate(clip(), 1, model=AnyTime())
    with pytest.raises(ValueError, match="constant rate"):
        tweenlet.vapoursynth.interpolate(Clip(clip().frames, Fraction(0)), model=AnyTime())
    monkeypatch.setitem(sys.modules, "vapoursynth", None)
    with pytest.raises(OSError, match="pip install vapoursynth"):
        tweenlet.vapoursynth.interpolate(clip())


@pytest.mark.long
@pytest.mark.optional
def test_an_exported_file_runs_without_tweenlet(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript", reason="the extra onnx is not installed")
    from tweenlet.inference.onnx import OneInput, export

    model = tweenlet.load("default")
    assert export(OneInput(model), tmp_path / "default.onnx", (64, 48)) <= 1e-4
    x, y = np.meshgrid(np.arange(60), np.arange(44))
    frames = []
    for k in range(4):
        wave = 128 + 100 * np.sin((x + 2 * k) / 5) * np.cos(y / 7)
        frames.append(np.repeat(wave.astype(np.uint8)[..., None], 3, 2))
        Image.fromarray(frames[-1]).save(tmp_path / f"{k}.png")
    script = INTEGRATIONS / "onnx/run.py"
    assert "tweenlet" not in script.read_text().partition('"""\n\n')[2]
    names = ["default.onnx", *(f"{k}.png" for k in range(4)), "middle.png"]
    subprocess.run([sys.executable, script, *names], cwd=tmp_path, check=True, timeout=300)
    middle = np.asarray(Image.open(tmp_path / "middle.png"), np.float32)
    interpolator = tweenlet.Interpolator(model)
    own = interpolator.middle([torch.from_numpy(f / np.float32(255)).permute(2, 0, 1) for f in frames])
    assert _output_in_vs_mlrt(tmp_path / "default.onnx", 64, 64) == [1, 3, 64, 64]
    assert middle.shape == (44, 60, 3)
    assert abs(middle / 255 - own.permute(1, 2, 0).numpy()).mean() < 0.01


def _output_in_vs_mlrt(path: Path, height: int, width: int) -> list[int]:
    """The output's shape as vs-mlrt asks for it: the input's is set, the output's forgotten, and what ONNX
    Runtime then tells is taken for the size of the clip.
    """
    onnx, onnxruntime = importlib.import_module("onnx"), importlib.import_module("onnxruntime")
    model = onnx.load(path)
    (given,), (frame,) = model.graph.input, model.graph.output
    given.type.tensor_type.shape.dim[2].dim_value = height
    given.type.tensor_type.shape.dim[3].dim_value = width
    for dim in frame.type.tensor_type.shape.dim[2:]:
        if dim.HasField("dim_value"):
            dim.ClearField("dim_value")
    del model.graph.value_info[:]
    inferred = onnx.shape_inference.infer_shapes(model).SerializeToString()
    session = onnxruntime.InferenceSession(inferred, providers=["CPUExecutionProvider"])
    return session.get_outputs()[0].shape
