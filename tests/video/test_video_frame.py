"""Colour: known values, and every pixel format there and back."""

from __future__ import annotations

import av
import numpy as np
import pytest
from scene import scene

from tweenlet.video.colour import Colour, bits_of
from tweenlet.video.conversion import convert_picture, from_rgb, to_rgb

LIMITED_709 = Colour(matrix=1, range=1)
FORMATS = [
    "yuv420p", "yuvj420p", "yuv422p", "yuv444p", "yuv440p", "yuv411p", "yuv410p", "nv12", "nv21", "uyvy422",
    "yuva420p", "yuv420p10le", "yuv422p10le", "yuv444p10le", "yuv444p12le", "yuv420p16le", "p010le",
    "yuva444p10le", "gray", "gray10le", "gray16be", "ya8", "rgb24", "bgr24", "rgba", "bgra", "gbrp",
    "gbrp10le", "gbrap", "rgb48be", "rgba64le",
]  # fmt: skip


def planes_of(picture: av.VideoFrame) -> list[np.ndarray]:
    """What is seen of each plane, without the padding of its lines."""
    kind = np.uint8 if bits_of(picture.format) == 8 else np.uint16
    lines = [np.frombuffer(p, kind).reshape(p.height, -1) for p in picture.planes]
    return [line[:, : p.width].astype(float) for line, p in zip(lines, picture.planes, strict=True)]


@pytest.mark.parametrize(
    ("colour", "rgb", "codes"),
    [  # ITU-R BT.709-6 and BT.601-7, 8 bits; full range as in JFIF
        (Colour(1, 1), (1, 1, 1), (235, 128, 128)),
        (Colour(1, 1), (0, 0, 0), (16, 128, 128)),
        (Colour(1, 1), (1, 0, 0), (63, 102, 240)),
        (Colour(1, 1), (0, 1, 0), (173, 42, 26)),
        (Colour(1, 1), (0, 0, 1), (32, 240, 118)),
        (Colour(6, 1), (1, 0, 0), (81, 90, 240)),
        (Colour(5, 2), (1, 0, 0), (76, 85, 255)),
        (Colour(9, 1), (1, 0, 0), (74, 97, 240)),
    ],
)
def test_known_colours(colour, rgb, codes):
    picture = from_rgb(np.full((3, 4, 4), 1, np.float32) * np.reshape(rgb, (3, 1, 1)), "yuv444p", colour)
    assert tuple(plane[0, 0] for plane in planes_of(picture)) == codes
    got = to_rgb(picture)
    assert (got.shape, got.dtype) == ((3, 4, 4), np.float32)
    assert np.abs(got[:, 0, 0] - rgb).max() < 1.5 / 219


@pytest.mark.parametrize("size", [(32, 24), (33, 25)])
@pytest.mark.parametrize("span", [1, 2])
@pytest.mark.parametrize("pixels", FORMATS)
def test_there_and_back(pixels, span, size):
    colour = Colour(matrix=1, range=span)
    first = from_rgb(scene(3, *size), pixels, colour)
    assert (first.format.name, first.width, first.height) == (pixels, *size)
    rgb = to_rgb(first)
    assert rgb.shape == (3, size[1], size[0])
    assert rgb.min() >= 0
    assert rgb.max() <= 1
    second = from_rgb(rgb, pixels, colour)
    luma, again = planes_of(first)[0], planes_of(second)[0]
    unit = 2 ** (bits_of(first.format) - 8)
    assert abs(luma.mean() - again.mean()) < 0.1 * unit


@pytest.mark.parametrize("height", [480, 720])
def test_without_a_matrix_tag_it_is_what_players_take(height):
    rgb = scene(0, 16, height)
    named = from_rgb(rgb, "yuv444p", Colour(matrix=1 if height == 720 else 6, range=1))
    plain = from_rgb(rgb, "yuv444p", Colour(range=1))
    for a, b in zip(planes_of(named), planes_of(plain), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("source", "target"), [("yuvj420p", "yuv420p"), ("yuv420p", "yuv444p"), ("gray", "yuv420p")]
)
def test_luma_of_a_fitted_frame_is_untouched(source, target):
    colour = Colour(matrix=6, range=2)
    picture = from_rgb(scene(1, 32, 24), source, colour)
    fitted = convert_picture(picture, target, colour)
    assert fitted.format.name == target
    np.testing.assert_array_equal(planes_of(picture)[0], planes_of(fitted)[0])


def test_another_matrix_or_range_is_converted():
    picture = from_rgb(scene(1, 32, 24), "yuv444p", LIMITED_709)
    for pixels, colour in [("yuv444p", Colour(5, 2)), ("yuv420p", Colour(6, 1)), ("yuvj444p", Colour(1, 2))]:
        assert np.abs(to_rgb(convert_picture(picture, pixels, colour)) - to_rgb(picture)).mean() < 2.5 / 255


def test_fitting_changes_nothing_where_nothing_is_to_change():
    picture = from_rgb(scene(1, 32, 24), "yuv420p", LIMITED_709)
    assert convert_picture(picture, "yuv420p", LIMITED_709) is picture


def test_values_outside_are_clipped():
    picture = from_rgb(
        np.array([-0.5, 0.5, 1.5], np.float32).reshape(3, 1, 1).repeat(2, 1), "rgb24", LIMITED_709
    )
    np.testing.assert_allclose(to_rgb(picture)[:, 0, 0], [0, 0.5, 1], atol=0.5 / 255)


@pytest.mark.parametrize("array", [np.zeros((3, 4)), np.zeros((4, 4, 3)), np.zeros((3, 4, 4), np.uint8)])
def test_arrays_that_are_no_pictures(array):
    with pytest.raises(ValueError, match=r"expected a float picture of shape \(3, H, W\)"):
        from_rgb(array, "yuv420p", LIMITED_709)
