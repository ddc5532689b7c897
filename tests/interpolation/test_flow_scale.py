"""Flow scale: large frames have their motion estimated on smaller ones, which follows larger motion."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import tweenlet
from tweenlet import video
from tweenlet.evaluation.metrics import psnr
from tweenlet.interpolation.flow_scale import parse_flow_scale
from tweenlet.interpolation.interpolator import Interpolator
from tweenlet.network import checkpoint
from tweenlet.network.config import MINI
from tweenlet.network.stmfnet import STMFNet

CLIP = Path(__file__).parents[1] / "assets/learning-area-elf.mp4"


@pytest.fixture(scope="module")
def network() -> STMFNet:
    return checkpoint.load("default")


def enlarged(frames: list[Tensor], factor: int) -> list[Tensor]:
    return [
        F.interpolate(frame[None], scale_factor=factor, mode="bicubic")[0].clamp(0, 1) for frame in frames
    ]


def clip_frames(count: int) -> list[Tensor]:
    with video.read(CLIP) as reader:
        return [torch.from_numpy(frame.rgb()) for frame, _ in zip(reader, range(count), strict=False)]


@pytest.mark.parametrize(
    ("size", "shrink"),
    [((1920, 1080), 1), ((2560, 1440), 2), ((3840, 2160), 2), ((7680, 4320), 4), ((15360, 8640), 4)],
)
def test_auto_depends_on_the_size(size: tuple[int, int], shrink: int) -> None:
    width, height = size
    assert parse_flow_scale("auto").shrink_for(height, width) == shrink
    assert parse_flow_scale("auto", supported=False).shrink_for(height, width) == 1


@pytest.mark.parametrize(("scale", "shrink"), [(1, 1), (1.0, 1), ("1", 1), (0.5, 2), (".5", 2), ("0.25", 4)])
def test_a_scale_may_be_a_number_or_its_text(scale: float | str, shrink: int) -> None:
    assert parse_flow_scale(scale).shrink_for(8, 8) == shrink


@pytest.mark.parametrize("scale", ["half", 0.3, 2, 0, "", None, "nan", [1]])
def test_other_scales_are_refused(scale: float | str) -> None:
    with pytest.raises(ValueError, match=r'expected a flow scale of "auto", 1, 0.5, 0.25; got'):
        parse_flow_scale(scale)


def test_networks_without_motion_of_their_own_are_refused() -> None:
    with pytest.raises(
        ValueError, match=r"expected a flow scale of 1, got 0.5: only networks of four frames"
    ):
        Interpolator(STMFNet(MINI), flow_scale=0.5)


@pytest.mark.parametrize("time", [0.5, 0.25])
def test_motion_is_that_of_smaller_frames(network: STMFNet, time: float) -> None:
    """Said again with the network's own methods and PyTorch's resizing."""
    frames = enlarged([frame[:, :64, :128] for frame in clip_frames(4)], 2)
    window, branch, at = torch.stack(frames)[None], network.intermediate, torch.full((1, 1, 1, 1), time)
    with torch.no_grad():
        motion = branch.motion(F.avg_pool2d(window[0], 2)[None], at)
        *parts, repeats = motion
        finest = F.interpolate(branch.finest(at, *parts), scale_factor=2, mode="bilinear")
        finest[:, :4] *= 2
        expected = branch.show(window, finest, repeats)[0][0]
        assert torch.allclose(network(window, motion, time=time)[0], expected, atol=1e-6)
    output = Interpolator(network, flow_scale=0.5).between(frames, Fraction(time))
    assert (output - expected).abs().max() < 1e-4


def test_a_stream_shows_what_single_frames_do(network: STMFNet) -> None:
    frames = clip_frames(4)
    halved = Interpolator(network, flow_scale=0.5)
    stream = list(halved(frames, cuts=False, repeats="ignore"))
    assert (stream[3] - halved.middle(frames).clamp(0, 1)).abs().max() < 1e-5
    assert (stream[3] - Interpolator(network, flow_scale=1).middle(frames).clamp(0, 1)).abs().max() > 1e-3


@pytest.mark.optional
def test_engines_that_take_no_motion_are_refused(network: STMFNet) -> None:
    pytest.importorskip("onnxruntime", reason="the extra onnxruntime is not installed")
    with pytest.raises(ValueError, match="by the engines eager, cudagraph and lite"):
        Interpolator(network, engine="onnxruntime", flow_scale=0.5)


@pytest.mark.parametrize("scale", [0.5, 0.25])
def test_tiles_show_what_the_whole_frame_does(network: STMFNet, scale: float) -> None:
    frames = [frame[:, :180] for frame in enlarged(clip_frames(4), 6)]
    whole = Interpolator(network, flow_scale=scale).middle(frames)
    made = Interpolator(network, flow_scale=scale, tile=384).middle(frames)
    assert whole.shape == made.shape == frames[0].shape
    assert (made - whole).abs().max() < 1e-4


def test_larger_motion_is_followed(network: STMFNet) -> None:
    """A quarter of the width between two frames."""
    step, height, width = 192, 384, 768
    noise = torch.rand(1, 3, height // 48 + 2, 32, generator=torch.manual_seed(5))
    wide = F.interpolate(noise, (height, width + 4 * step), mode="bicubic")[0].clamp(0, 1)
    frames = [wide[..., step * k : step * k + width] for k in (3, 2, 1, 0)]
    truth = wide[..., 3 * step // 2 :][..., step : width - step]
    full, half, quarter = (
        psnr(Interpolator(network, flow_scale=scale).middle(frames)[..., step:-step], truth)
        for scale in (1, 0.5, 0.25)
    )
    assert full < 15 < 30 < half < quarter


def test_functions_take_it(tmp_path: Path) -> None:
    for scale in (1, 0.5):
        tweenlet.interpolate_video(CLIP, tmp_path / f"{scale}.mkv", end=0.3, flow_scale=scale)
    assert (tmp_path / "1.mkv").read_bytes() != (tmp_path / "0.5.mkv").read_bytes()
    frames = np.stack([frame.numpy() for frame in clip_frames(3)])
    auto, whole, half = (tweenlet.interpolate(frames, flow_scale=scale) for scale in ("auto", 1, 0.5))
    assert np.array_equal(auto, whole)
    assert not np.array_equal(whole, half)
