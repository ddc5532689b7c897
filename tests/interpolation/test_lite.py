"""The lite interpolator makes the frames that the network makes in PyTorch."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import tweenlet
from tweenlet import video
from tweenlet.inference.lite import GRAPHS
from tweenlet.inference.onnx import TOLERANCE
from tweenlet.interpolation.interpolator import Interpolator
from tweenlet.interpolation.lite import LiteInterpolator
from tweenlet.network import checkpoint
from tweenlet.network.config import DEFAULT, MINI, ModelConfig
from tweenlet.network.stmfnet import STMFNet
from tweenlet.runtime.json_file import read_json

pytest.importorskip("onnxruntime", reason="the extra lite is not installed")
pytestmark = pytest.mark.optional
CLIP = Path(__file__).parents[1] / "assets/learning-area-elf.mp4"

Pictures = list[NDArray[np.float32]]


@pytest.fixture(scope="module")
def pictures() -> Pictures:
    with video.read(CLIP) as reader:
        return [frame.rgb() for frame, _ in zip(reader, range(6), strict=False)]


@pytest.fixture(scope="module")
def lite() -> LiteInterpolator:
    return LiteInterpolator()


def tensors(pictures: Pictures) -> list[torch.Tensor]:
    return [torch.from_numpy(picture) for picture in pictures]


def test_the_graphs_are_those_of_the_default() -> None:
    assert ModelConfig.from_json(read_json(GRAPHS / "index.json")["config"]) == DEFAULT


@pytest.mark.parametrize("time", [Fraction(1, 2), Fraction(1, 3)])
@pytest.mark.parametrize("window", [(0, 1, 2, 3), (1, 1, 2, 2)])
def test_frames_are_those_of_pytorch(
    window: tuple[int, ...], time: Fraction, lite: LiteInterpolator, pictures: Pictures
) -> None:
    frames = [pictures[k][:, :90, :100] for k in window]
    output = lite.between(frames, time)
    expected = Interpolator(tweenlet.load("default")).between(tensors(frames), time)
    assert output.shape == (3, 90, 100)
    assert np.abs(output - expected.numpy()).max() < TOLERANCE
    assert np.abs(output - frames[1]).max() > 100 * TOLERANCE


@pytest.mark.parametrize("scale", [0.5, 0.25])
def test_flow_scales_are_those_of_pytorch(scale: float, pictures: Pictures) -> None:
    frames = [picture[:, :90, :100] for picture in pictures[:4]]
    output = LiteInterpolator(flow_scale=scale).between(frames)
    expected = Interpolator(tweenlet.load("default"), flow_scale=scale).middle(tensors(frames))
    assert np.abs(output - expected.numpy()).max() < TOLERANCE


@pytest.mark.slow
def test_tiles_show_what_the_whole_frame_shows(pictures: Pictures) -> None:
    frames = [np.tile(picture, (1, 4, 3)) for picture in pictures[:4]]
    for scale in (1, 0.5):
        whole = LiteInterpolator(flow_scale=scale).between(frames)
        tiled = LiteInterpolator(flow_scale=scale, tile=256).between(frames)
        assert whole.shape == tiled.shape == (3, 384, 432)
        assert np.abs(whole - tiled).max() < 1e-3


def test_a_stream_is_that_of_pytorch(lite: LiteInterpolator, pictures: Pictures) -> None:
    frames = [picture.transpose(1, 2, 0) for picture in pictures]
    output = tweenlet.interpolate(frames, factor=3, model=lite)
    expected = tweenlet.interpolate(frames, factor=3, model=Interpolator(tweenlet.load("default")))
    assert len(output) == len(expected) == 16
    assert np.abs(np.stack(output) - np.stack(expected)).max() < TOLERANCE


def test_a_video_is_made_by_the_engine_lite(tmp_path: Path) -> None:
    summary = tweenlet.interpolate_video(CLIP, tmp_path / "out.mp4", end=0.2, engine="lite")
    assert (summary.engine, summary.frames_in, summary.frames_out) == ("lite", 5, 9)


def test_what_it_cannot_run_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mini.safetensors"
    checkpoint.save(path, STMFNet(MINI))
    with pytest.raises(ValueError, match=r"another network than the default.*tweenlet\[torch\]"):
        LiteInterpolator(path)
    with pytest.raises(ValueError, match="no weights called 'small'; there are: "):
        LiteInterpolator("small")
    with pytest.raises(ValueError, match="expected tile to be"):
        LiteInterpolator(tile=100)
    with pytest.raises(ValueError, match="runs weights by name or path, got STMFNet"):
        tweenlet.interpolate_video(CLIP, tmp_path / "o.mp4", model=STMFNet(MINI), engine="lite")
    (tmp_path / "x.safetensors").write_bytes(b"not one")
    with pytest.raises(ValueError, match="not a valid safetensors file"):
        LiteInterpolator(tmp_path / "x.safetensors")
