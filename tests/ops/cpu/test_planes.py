"""Planes of codes: native code has numpy's results to the bit, and numpy those of the plain formulas."""

from __future__ import annotations

import sys
from collections.abc import Callable

import av
import numpy as np
import pytest

from tweenlet.ops import dispatch
from tweenlet.ops.cpu import planes as native
from tweenlet.video import colour as colours
from tweenlet.video.colour import Colour, bits_of
from tweenlet.video.conversion import from_rgb, planes_of, to_rgb
from tweenlet.video.native import native_planes
from tweenlet.video.static_areas import copy_static_areas

pytestmark = pytest.mark.skipif(not dispatch.has_native(), reason="no C compiler")

FORMATS = [
    "yuv420p", "yuvj420p", "yuv422p", "yuv440p", "yuv444p", "nv12", "yuva420p",
    "yuv420p10le", "yuv422p10le", "yuv444p10le", "p010le", "yuv420p12le",
]  # fmt: skip
SIZES = [(64, 48), (33, 25), (34, 27), (1, 1), (1, 2), (2, 1), (3, 5), (131, 130)]
LOCATIONS = {"left": 1, "center": 2, "topleft": 3, "top": 4}
COLOURS = [Colour(1, 1), Colour(6, 2), Colour(9, 1), Colour(7, 2)]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The native functions called."""
    names: list[str] = []

    def counted(name: str) -> Callable[..., object]:
        function = getattr(native, name)
        return lambda *arguments: (names.append(name), function(*arguments))[1]

    for name in ("ycbcr_to_rgb", "rgb_to_ycbcr", "BlockComparison"):
        monkeypatch.setattr(native, name, counted(name))
    return names


def random_picture(
    pixels: str, size: tuple[int, int], colour: Colour, draw: np.random.Generator
) -> av.VideoFrame:
    picture = av.VideoFrame(*size, pixels)
    for view in planes_of(picture):
        view[:] = draw.integers(0, 1 << bits_of(picture.format), view.shape)
    colour.stamp(picture)
    return picture


def copies(picture: av.VideoFrame) -> list[np.ndarray]:
    return [plane.copy() for plane in planes_of(picture)]


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("name", LOCATIONS)
@pytest.mark.parametrize("pixels", FORMATS)
def test_conversion_is_that_of_numpy_to_the_bit(monkeypatch, calls, pixels, name, size):
    draw = np.random.default_rng(0)
    for tags in COLOURS:
        colour = Colour(tags.matrix, 2 if "j" in pixels else tags.range, chroma=LOCATIONS[name])
        monkeypatch.setattr(colours, "location_of", lambda _, place=colour.chroma: place)
        picture = random_picture(pixels, size, colour, draw)
        for clip in (False, True):
            with dispatch.override("reference"):
                expected = to_rgb(picture, clip=clip)
            np.testing.assert_array_equal(to_rgb(picture, clip=clip), expected, strict=True)
        rgb = draw.normal(0.5, 0.4, (3, *size[::-1])).astype(np.float32)
        with dispatch.override("reference"):
            expected = copies(from_rgb(rgb, pixels, colour))
        for plane, other in zip(copies(from_rgb(rgb, pixels, colour)), expected, strict=True):
            np.testing.assert_array_equal(plane, other, strict=True)
    assert calls == ["ycbcr_to_rgb", "ycbcr_to_rgb", "rgb_to_ycbcr"] * len(COLOURS)


def upsampled(plane: np.ndarray, length: int, cosited: bool) -> np.ndarray:
    """Samples along the first axis at luma's positions, one after the other."""
    at = [plane[min(max(k, 0), len(plane) - 1)] for k in range(-1, len(plane) + 2)]
    full = []
    for y in range(length):
        before, here, after, beyond = at[y // 2 : y // 2 + 4]
        if cosited:
            full.append((9 * (here + after) - before - beyond) / 16 if y % 2 else here)
        elif y % 2 == 0 and y + 1 == length:
            full.append(here)
        else:
            full.append(here + (after - before) / 8 * (1 if y % 2 else -1))
    return np.array(full)


@pytest.mark.parametrize("pixels", ["yuv420p", "yuv420p10le", "yuv444p"])
@pytest.mark.parametrize("name", LOCATIONS)
def test_conversion_is_that_of_the_formulas(monkeypatch, calls, pixels, name):
    draw = np.random.default_rng(0)
    monkeypatch.setattr(colours, "location_of", lambda _: LOCATIONS[name])
    for size in ((34, 28), (33, 25)):
        for tags in COLOURS:
            colour = Colour(tags.matrix, tags.range, chroma=LOCATIONS[name])
            picture = random_picture(pixels, size, colour, draw)
            luma, *chroma = (plane.astype(np.float64) for plane in planes_of(picture))
            if "420" in pixels:
                chroma = [upsampled(plane, size[1], "top" in name) for plane in chroma]
                chroma = [upsampled(plane.T, size[0], "left" in name).T for plane in chroma]
            matrix, offset = colour.equations(bits_of(picture.format), size[1])
            codes = np.stack([luma, *chroma]).reshape(3, -1)
            rgb = np.linalg.solve(matrix, codes - offset).reshape(3, *size[::-1])
            np.testing.assert_allclose(to_rgb(picture, clip=False), rgb, rtol=0, atol=1e-6)
            np.testing.assert_allclose(to_rgb(picture), rgb.clip(0, 1), rtol=0, atol=1e-6)
            again = from_rgb(rgb, pixels, colour)
            for plane, other in zip(planes_of(picture), planes_of(again), strict=True):
                np.testing.assert_array_equal(plane, other)
    assert set(calls) == {"ycbcr_to_rgb", "rgb_to_ycbcr"}


@pytest.mark.parametrize("size", [(96, 64), (97, 63), (20, 9), (3, 5), (1, 1)], ids=str)
@pytest.mark.parametrize(
    "pixels", ["yuv420p", "yuv422p", "yuv444p", "yuv410p", "yuv420p10le", "yuv444p16le", "gray", "gbrp"]
)
def test_static_areas_are_those_of_numpy(calls, pixels, size):
    copied = set()
    for seed in range(12):
        draw = np.random.default_rng(seed)
        before, after, middle = (random_picture(pixels, size, Colour(1, 1), draw) for _ in range(3))
        top = (1 << bits_of(before.format)) - 1
        error, where = draw.choice([1, 2, 8, 40]) * (top + 1 >> 8), draw.integers(0, 64, 2)
        for first, second, new in zip(*map(planes_of, (before, after, middle)), strict=True):
            first[:] = np.clip(first.astype(int) >> draw.integers(0, 8), 0, top)
            second[:] = first
            second[where[0] :, where[1] :] += 1
            errors = draw.integers(-error, error + 1, first.shape)
            new[:] = np.clip(first.astype(int) + errors, 0, top)
            new[-1:, -1:] = first[-1:, -1:] // 2
        own = copies(middle)
        with dispatch.override("reference"):
            copy_static_areas(middle, before, after)
        expected = copies(middle)
        for plane, original in zip(planes_of(middle), own, strict=True):
            plane[:] = original
        copy_static_areas(middle, before, after)
        for plane, other in zip(copies(middle), expected, strict=True):
            np.testing.assert_array_equal(plane, other)
        copied.add(any((a != b).any() for a, b in zip(own, expected, strict=True)))
    assert size[0] < 90 or copied == {False, True}
    assert set(calls) == {"BlockComparison"}


def test_formats_with_more_bits_or_less_chroma_and_empty_pictures_stay_with_numpy(calls):
    for pixels in ("yuv420p16le", "yuv411p", "yuv410p", "gray", "rgb24"):
        picture = from_rgb(np.full((3, 8, 8), 0.5, np.float32), pixels, Colour(1, 1))
        np.testing.assert_allclose(to_rgb(picture), 0.5, atol=0.01)
    with pytest.raises(ValueError, match="unpack"):
        from_rgb(np.zeros((3, 0, 4), np.float32), "yuv420p", Colour(1, 1))
    assert calls == []


def test_planes_of_other_sizes_types_or_strides_are_refused():
    luma, chroma = np.zeros((4, 6), np.uint8), np.zeros((2, 3), np.uint8)
    matrix, offset = np.eye(3, dtype=np.float32), np.zeros(3, np.float32)
    sites = (True, True), (False, False)
    assert native.ycbcr_to_rgb([luma, chroma, chroma], matrix, offset, *sites, True).shape == (3, 4, 6)
    for wrong in (luma, chroma.astype(np.uint16), np.zeros((2, 6), np.uint8)[:, ::2]):
        with pytest.raises(ValueError, match=r"expected planes of sizes .* with adjacent pixels of one type"):
            native.ycbcr_to_rgb([luma, chroma, wrong], matrix, offset, *sites, True)
    with pytest.raises(ValueError, match=r"expected RGB of shape \(3, 4, 6\)"):
        native.rgb_to_ycbcr(
            np.zeros((3, 4, 4), np.float32), [luma, chroma, chroma], matrix, offset, *sites, 255
        )
    with pytest.raises(ValueError, match=r"expected a matrix \(3, 3\) and an offset of 3"):
        native.ycbcr_to_rgb([luma, chroma, chroma], matrix[:2], offset, *sites, True)
    with pytest.raises(ValueError, match=r"expected a grid of \(1, 1\) blocks"):
        native.BlockComparison([luma] * 3, (8, 8)).copy(np.ones((2, 1), np.int32))


def test_native_code_is_not_waited_for(monkeypatch):
    assert native_planes() is native
    dispatch.library.cache_clear()
    assert native_planes() is None
    assert dispatch.has_native()
    assert native_planes() is native
    monkeypatch.delitem(sys.modules, "tweenlet.ops.dispatch")
    assert native_planes() is None
