"""Made frames have the codes of the real ones where nothing moves, and their own where something does."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from tweenlet import interpolate_video
from tweenlet.video.colour import Colour, bits_of
from tweenlet.video.conversion import from_rgb, planes_of
from tweenlet.video.static_areas import copy_static_areas


class Blend(torch.nn.Module):
    """The mean of the two frames in the middle, with an error beside edges as networks make them."""

    stride = 1

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        mean = frames[:, 1:3].mean(1)
        return mean + 0.05 * (mean.roll(1, -1) - mean)


def text(size: tuple[int, int] = (96, 64)) -> np.ndarray:
    """Small saturated text on white, (H, W, 3) uint8: much of it lies outside RGB once chroma is halved."""
    image = Image.new("RGB", size, (255, 255, 255))
    draw = ImageDraw.Draw(image)
    for row, ink in enumerate([(220, 0, 0), (0, 0, 220), (200, 0, 200), (0, 140, 0)]):
        draw.text((3, 3 + 15 * row), "Error: text", fill=ink)
    return np.array(image)


def write_clip(path: Path, pictures: list[np.ndarray], pixels: str, colour: Colour) -> Path:
    with av.open(str(path), "w") as output:
        stream = output.add_stream("ffv1", 25)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = pixels
        colour.stamp(stream.codec_context)
        for i, picture in enumerate(pictures):
            frame = from_rgb(picture.transpose(2, 0, 1).astype(np.float32) / 255, pixels, colour)
            frame.pts, frame.time_base = i, Fraction(1, 25)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def doubled(source: Path, target: Path, **options: object) -> list[list[np.ndarray]]:
    """The planes of every frame after interpolation into y4m, which loses nothing."""
    interpolate_video(source, target, model=Blend(), overwrite=True, **options)
    with av.open(str(target)) as container:
        return [[plane.astype(int) for plane in planes_of(f)] for f in container.decode(video=0)]


@pytest.mark.parametrize("size", [(96, 64), (95, 63)])
@pytest.mark.parametrize("colour", [Colour(1, 1), Colour(6, 2), Colour(9, 1)])
@pytest.mark.parametrize("pixels", ["yuv420p", "yuv422p", "yuv444p", "yuv420p10le"])
def test_a_still_picture_stays_the_same_to_the_code(tmp_path, pixels, colour, size):
    source = write_clip(tmp_path / "in.mkv", [text(size)] * 3, pixels, colour)
    first, *others = doubled(source, tmp_path / "out.y4m")
    assert len(others) == 4
    for other in others:
        for a, b in zip(first, other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_text_beside_what_moves_stays_the_same_to_the_code(tmp_path):
    pictures = [text() for _ in range(3)]
    for i, picture in enumerate(pictures):
        picture[24:40, 8 * i : 16 + 8 * i] = (30, 90, 60)
    frames = doubled(write_clip(tmp_path / "in.mkv", pictures, "yuv420p", Colour(1, 1)), tmp_path / "out.y4m")
    for before, middle, after in zip(frames[::2], frames[1::2], frames[2::2], strict=False):
        for scale, a, b, c in zip((1, 2, 2), before, middle, after, strict=True):
            rows, columns = np.s_[48 // scale :], np.s_[56 // scale :]
            np.testing.assert_array_equal(a[rows], b[rows])
            np.testing.assert_array_equal(a[:, columns], b[:, columns])
            assert not np.array_equal(a, c)
        assert np.abs(middle[0] - before[0])[24:40, :40].mean() > 2


def test_noisy_text_keeps_its_colour(tmp_path):
    """Where codes differ by noise, they come back by way of RGB, also those outside it."""
    draw = np.random.default_rng(0)
    pictures = [np.clip(text() + draw.normal(0, 1, (64, 96, 1)), 0, 255).astype(np.uint8) for _ in range(3)]

    class Mean(Blend):
        def forward(self, frames: torch.Tensor) -> torch.Tensor:
            return frames[:, 1:3].mean(1)

    source = write_clip(tmp_path / "in.mkv", pictures, "yuv420p", Colour(1, 1))
    interpolate_video(source, tmp_path / "out.y4m", model=Mean(), repeats="ignore")
    with av.open(str(tmp_path / "out.y4m")) as container:
        frames = [[plane.astype(float) for plane in planes_of(f)] for f in container.decode(video=0)]
    for before, made, after in zip(frames[:-2:2], frames[1::2], frames[2::2], strict=True):
        for a, b, c in zip(before, made, after, strict=True):
            assert np.abs(b - (a + c) / 2).max() <= 1


def flat(pixels: str, size: tuple[int, int] = (64, 64)) -> Callable[[], av.VideoFrame]:
    def make() -> av.VideoFrame:
        picture = av.VideoFrame(*size, pixels)
        for plane in planes_of(picture):
            plane[:] = 100 << (bits_of(picture.format) - 8)
        return picture

    return make


@pytest.mark.parametrize("pixels", ["yuv420p", "yuv444p", "yuv420p10le", "gray"])
def test_what_passes_between_two_equal_areas_is_left_alone(pixels):
    make = flat(pixels)
    before, after, middle = make(), make(), make()
    unit = 1 << (bits_of(middle.format) - 8)
    planes_of(after)[0][0, 0] += unit  # the pictures are not equal all over
    planes_of(middle)[0][:] += unit
    planes_of(middle)[0][30, 40] += 12 * unit  # a spark, far from it
    copy_static_areas(middle, before, after)
    luma = planes_of(middle)[0]
    assert (luma[16:, :32] == 100 * unit).all()
    assert luma[30, 40] == 113 * unit
    assert (luma[16:40, 32:56] >= 101 * unit).all()


def test_what_changes_from_one_picture_to_the_next_is_left_alone():
    make = flat("yuv420p")
    before, after, middle = make(), make(), make()
    for plane, later in zip(planes_of(middle), planes_of(after), strict=True):
        plane[:] += 1
        later[:] += 2
    copy_static_areas(middle, before, after)
    assert all((plane == 101).all() for plane in planes_of(middle))
