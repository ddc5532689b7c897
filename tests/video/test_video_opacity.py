"""Opacity goes through where the output holds it, and is named where it does not."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from tweenlet import interpolate_pair, interpolate_video, video
from tweenlet.video import Encoding

HEIGHT, WIDTH, COUNT = 48, 64, 4


class Blend(nn.Module):
    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        return (frames[:, 1] + frames[:, 2]) / 2


def pictures() -> list[np.ndarray]:
    """RGBA in 8 bits: a gradient whose opacity rises to the right, and from frame to frame."""
    x, y = np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT))
    return [
        np.stack([2 * x + 60, y + 40, 0 * x + 100 + 8 * k, 2 * x + 20 * k], -1).astype(np.uint8)
        for k in range(COUNT)
    ]


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    with av.open(str(tmp_path / "clip.mov"), "w") as output:
        stream = output.add_stream("qtrle", 10)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "argb"
        for picture in pictures():
            output.mux(
                stream.encode(av.VideoFrame.from_ndarray(picture, format="rgba").reformat(format="argb"))
            )
        output.mux(stream.encode(None))
    return tmp_path / "clip.mov"


def double(source: Path, name: str, **ask: object):
    target = source.with_name(name)
    return target, interpolate_video(source, target, model=Blend(), cuts=False, repeats="ignore", **ask)


def alphas(path: Path) -> list[np.ndarray]:
    with video.read(path) as reader:
        return [frame.rgba() for frame in reader]


def expected() -> list[np.ndarray]:
    real = [picture.transpose(2, 0, 1).astype(np.float32) / 255 for picture in pictures()]
    made = [(a + b) / 2 for a, b in pairwise(real)]
    return [frame for pair in zip(real, [*made, real[-1]], strict=True) for frame in pair][:-1]


@pytest.mark.parametrize(
    ("name", "encoding", "pixels"),
    [
        ("out.mov", {}, "yuva444p12le"), ("out.mkv", {"codec": "ffv1"}, "yuva444p"),
        ("out.mkv", {"codec": "prores"}, "yuva444p12le"), ("out", {}, "rgba"),
    ],
)  # fmt: skip
def test_opacity_is_kept(clip: Path, name: str, encoding: dict[str, str], pixels: str) -> None:
    target, summary = double(clip, name, encoding=Encoding(**encoding))
    is_lossy = encoding.get("codec") == "ffv1"  # Y'CbCr is not lossless, and people expect ffv1 to be
    assert [notice.kind for notice in summary.notices] == ["output"] * is_lossy
    with video.read(target) as reader:
        assert reader.first.picture.format.name == pixels
    out = alphas(target)
    assert len(out) == 7
    for got, wanted in zip(out, expected(), strict=True):
        assert np.abs(got[3] - wanted[3]).max() < 0.02
        assert np.abs(got[:3] - wanted[:3]).mean() < 0.02


def test_webm_holds_opacity_beside_its_pictures(clip: Path) -> None:
    target, summary = double(clip, "out.webm")
    assert not summary.notices
    with av.open(str(target)) as container:
        assert container.streams.video[0].metadata["ALPHA_MODE"] == "1"
        packets = [packet for packet in container.demux(video=0) if packet.size]
        assert all(packet.has_sidedata("matroska_block_additional") for packet in packets)
    for got, wanted in zip(alphas(target), expected(), strict=True):
        assert np.abs(got[3] - wanted[3]).max() < 0.03
    _, again = double(target, "again.mov")
    assert not again.notices


@pytest.mark.parametrize("name", ["out.mp4", "out.mkv", "%02d.jpg"])
def test_what_cannot_hold_it_is_named(clip: Path, name: str) -> None:
    _, summary = double(clip, name)
    (notice,) = summary.notices
    assert str(notice).startswith("transparency is left out: ProRes (.mov)")


def test_pictures_and_pairs_keep_it(tmp_path: Path) -> None:
    (tmp_path / "frames").mkdir()
    for number, picture in enumerate(pictures()):
        Image.fromarray(picture).save(tmp_path / "frames" / f"{number}.png")
    target, summary = double(tmp_path / "frames", "dense")
    assert not summary.notices
    for got, wanted in zip(alphas(target), expected(), strict=True):
        np.testing.assert_allclose(got, wanted, atol=0.005)
    names = [tmp_path / "frames" / f"{k}.png" for k in range(2)]
    interpolate_pair(*names, tmp_path / "between.png", model=Blend())
    between = np.asarray(Image.open(tmp_path / "between.png"), np.float32).transpose(2, 0, 1) / 255
    np.testing.assert_allclose(between, expected()[1], atol=0.005)
