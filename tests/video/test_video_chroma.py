"""Subsampled chroma: where it lies, and that it comes back from RGB to the code value."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from scene import scene

from tweenlet.video import chroma
from tweenlet.video import colour as colours
from tweenlet.video.colour import Colour, bits_of
from tweenlet.video.conversion import convert_picture, from_rgb, to_rgb

LOCATIONS = {"left": 1, "center": 2, "topleft": 3, "top": 4}
FORMATS = [
    "yuv420p", "yuvj420p", "yuv422p", "yuv440p", "yuv411p", "yuv410p", "yuv444p", "yuva420p",
    "yuv420p10le", "yuv422p10le", "yuv420p12le", "yuv420p16le",
]  # fmt: skip


def planes_of(picture: av.VideoFrame) -> list[np.ndarray]:
    """The visible part of each plane but alpha; writing into it changes the picture."""
    kind = np.dtype(np.uint8 if bits_of(picture.format) == 8 else np.uint16)
    return [
        np.ndarray((p.height, p.line_size // kind.itemsize), kind, memoryview(p))[:, : p.width]
        for p in picture.planes[:3]
    ]


def picture_of(planes: list[np.ndarray], pixels: str, size: tuple[int, int], colour: Colour) -> av.VideoFrame:
    picture = av.VideoFrame(*size, pixels)
    for view, values in zip(planes_of(picture), planes, strict=True):
        view[:] = values
    colour.stamp(picture)
    return picture


def clip_of(path: Path, picture: av.VideoFrame, options: dict[str, str], codec: str = "libx264") -> Path:
    with av.open(str(path), "w") as output:
        stream = output.add_stream(codec, 25, options)
        stream.width, stream.height, stream.pix_fmt = picture.width, picture.height, picture.format.name
        for i in range(3):
            picture.pts, picture.time_base = i, Fraction(1, 25)
            output.mux(stream.encode(picture))
        output.mux(stream.encode(None))
    return path


def ramp(size: int = 48) -> list[np.ndarray]:
    """Planes of 4:2:0 whose Cb rises by 4 to the right and whose Cr rises by 4 downwards, a chroma sample."""
    steps = 28 + 4 * np.arange(size)
    return [np.full((2 * size, 2 * size), 128), np.tile(steps, (size, 1)), np.tile(steps[:, None], (1, size))]


@pytest.mark.parametrize("location", [0, 1, 2, 3])
def test_the_location_that_a_stream_is_tagged_with(tmp_path, location):
    params = f"chromaloc={location - 1}" if location else "annexb=1"
    picture = picture_of(ramp(), "yuv420p", (96, 96), Colour(1, 1))
    path = clip_of(tmp_path / "clip.mp4", picture, {"qp": "1", "x264-params": params})
    with av.open(str(path)) as container:
        decoded = next(container.decode(video=0))
    assert Colour.of(decoded).chroma == (location or 1)  # H.264 without a tag says left


def test_what_has_no_location():
    assert chroma.location_of(av.VideoFrame(64, 48, "yuv420p")) == 0
    assert chroma.location_of(av.VideoFrame(64, 48, "rgb24")) == 0
    assert chroma.location_of(av.VideoFrame(64, 48, "gray")) == 0


@pytest.mark.parametrize(
    ("name", "right", "below"), [("left", 0, 0.5), ("center", 0.5, 0.5), ("topleft", 0, 0), ("top", 0.5, 0)]
)
def test_chroma_lies_where_its_location_says(monkeypatch, name, right, below):
    monkeypatch.setattr(colours, "location_of", lambda _: LOCATIONS[name])
    picture = picture_of(ramp(), "yuv420p", (96, 96), Colour(1, 1))
    full = planes_of(convert_picture(picture, "yuv444p", Colour(1, 1)))
    place = np.arange(8, 88)
    expected = [28 + 2 * (place - shift) for shift in (right, below)]
    np.testing.assert_allclose(full[1][40, 8:88], expected[0], atol=0.51)
    np.testing.assert_allclose(full[2][8:88, 40], expected[1], atol=0.51)


@pytest.mark.parametrize("size", [(64, 48), (33, 25), (1, 1), (2, 3), (130, 131)])
@pytest.mark.parametrize("name", LOCATIONS)
@pytest.mark.parametrize("pixels", FORMATS)
def test_any_planes_come_back_to_the_code(monkeypatch, pixels, name, size):
    colour = Colour(1, 2 if "j" in pixels else 1, chroma=LOCATIONS[name])
    monkeypatch.setattr(colours, "location_of", lambda _: colour.chroma)
    draw = np.random.default_rng(0)
    picture = av.VideoFrame(*size, pixels)
    for view in planes_of(picture):
        view[:] = draw.integers(0, 1 << bits_of(picture.format), view.shape)
    colour.stamp(picture)
    again = from_rgb(to_rgb(picture, clip=False), pixels, colour)
    for before, after in zip(planes_of(picture), planes_of(again), strict=True):
        np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("colour", [Colour(1, 1), Colour(6, 1), Colour(9, 1), Colour(1, 2), Colour(5, 2)])
def test_matrix_and_range_make_no_difference_to_that(colour):
    picture = from_rgb(scene(2, 64, 48), "yuv420p", colour)
    again = from_rgb(to_rgb(picture), "yuv420p", colour)
    for before, after in zip(planes_of(picture), planes_of(again), strict=True):
        np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("cosited", [False, True])
@pytest.mark.parametrize("length", [16, 17])
def test_downsampling_keeps_the_mean_and_takes_what_is_too_fine_away(cosited, length):
    subsampling = chroma.Subsampling(across=1, down=0, left=cosited, top=False)
    rows = slice(0, 1)
    flat = np.full((2, 1, length), 3, np.float32)
    np.testing.assert_allclose(subsampling.downsample(flat, rows, rows), 3, atol=1e-6)
    finest = (flat + np.where(np.arange(length) % 2, 1, -1)).astype(np.float32)
    inside = subsampling.downsample(finest, rows, rows)[..., 2:-2]
    np.testing.assert_allclose(inside, 3, atol=1e-6)
