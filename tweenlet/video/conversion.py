"""Conversion: exact conversion between decoded pictures and RGB, in both directions.

::

    decoder's picture ── layout ──> Y'CbCr 4:4:4, same depth ── matrix ──> RGB (3, H, W), float in [0, 1]
    encoder's picture <─ layout ─── Y'CbCr 4:4:4, same depth <─ matrix ─── RGB (3, H, W), float in [0, 1]

swscale's own matrices shift the mean: its default flags by a whole step of luma, its full range by half a
step of chroma. Here it only changes the layout (planes, byte order, depth); matrix, range and chroma
resampling (:mod:`tweenlet.video.chroma`) are float arithmetic. A round trip without clipping restores the
same codes in all planes. All of it is written in numpy here; native code does the usual formats in a
quarter of the time (:mod:`tweenlet.video.native`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from types import ModuleType

import av
import numpy as np
from av.video.plane import VideoPlane
from av.video.reformatter import Interpolation
from numpy.typing import NDArray

from tweenlet.video.chroma import Floats, Subsampling
from tweenlet.video.colour import FULL, LIMITED, Colour, bits_of, is_gray, is_rgb
from tweenlet.video.native import native_planes

_ACCURATE = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
_BAND = 64  # rows per band: intermediates stay in the cache, in half the time


def planes_of(picture: av.VideoFrame) -> list[NDArray[np.integer]]:
    """Views of a planar picture's codes, without alpha: (H, W) each, smaller for chroma."""
    bits = bits_of(picture.format)
    return [_view(plane, bits)[:, : plane.width] for plane in picture.planes[:3]]


def to_rgb(picture: av.VideoFrame, clip: bool = True) -> Floats:
    """Convert any decoded picture to float32 (3, H, W), RGB in [0, 1]; alpha is left out.

    Many Y'CbCr codes are out of RGB's gamut, for example next to small saturated text. Without ``clip`` they
    keep values outside [0, 1], and :func:`from_rgb` restores exactly the same codes.
    """
    if is_rgb(picture.format):
        bits = bits_of(picture.format)
        packed = _change_layout(picture, "rgb24" if bits == 8 else "rgb48le").to_ndarray()
        top = np.float32(255 if bits == 8 else 65535)
        return np.ascontiguousarray(packed.transpose(2, 0, 1), np.float32) / top
    colour = Colour.of(picture)
    planes = _Planes.of(picture, colour)
    native = planes.native()
    if native is not None:
        matrix, offset = _inverse(colour, planes.bits, picture.height, planes.gray)
        compiled: Floats = native.ycbcr_to_rgb(
            planes_of(planes.picture), *_float32(matrix, offset), *planes.sites, clip
        )
        return compiled
    rgb = np.empty((3, picture.height, picture.width), np.float32)
    for rows, values in _rgb_bands(planes, colour, clip):
        rgb[:, rows] = values
    return rgb


def to_rgb8(picture: av.VideoFrame) -> NDArray[np.uint8]:
    """Convert any decoded picture to uint8 (H, W, 3), RGB: :func:`to_rgb`, rounded."""
    if is_rgb(picture.format) and bits_of(picture.format) == 8:
        return np.asarray(_change_layout(picture, "rgb24").to_ndarray(), np.uint8)
    packed = np.empty((picture.height, picture.width, 3), np.uint8)
    if is_rgb(picture.format):
        packed[:] = np.rint(to_rgb(picture) * 255).transpose(1, 2, 0)
        return packed
    colour = Colour.of(picture)
    for rows, values in _rgb_bands(_Planes.of(picture, colour), colour, clip=True):
        values *= 255
        packed[rows] = np.rint(values, out=values).transpose(1, 2, 0)
    return packed


def _rgb_bands(planes: _Planes, colour: Colour, clip: bool) -> Iterator[tuple[slice, Floats]]:
    """Yield RGB (3, rows, W) of a Y'CbCr picture band by band, or (1, rows, W) of a gray one."""
    back, offset = _inverse(colour, planes.bits, planes.picture.height, planes.gray)
    for rows in planes.bands():
        values = planes.read(rows, offset)
        values[0] *= np.float32(back[0, 0])
        if not planes.gray:
            values = _mix_rgb(values[0], values[1], values[2], back.astype(np.float32))
        if clip:
            np.clip(values, 0, 1, out=values)
        yield rows, values


@lru_cache
def _inverse(
    colour: Colour, bits: int, height: int, gray: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """``rgb = matrix @ (codes - offset)``: (3, 3) and (3, 1); for gray (1, 1) both. Not to be changed."""
    forward, offset = colour.equations(bits, height, gray)
    back = 1 / forward.sum(axis=1, keepdims=True) if gray else np.linalg.inv(forward)
    return back.astype(np.float64), offset


def _mix_rgb(luma: Floats, blue: Floats, red: Floats, back: Floats) -> Floats:
    """RGB from scaled luma and the colour differences, of which red and blue depend on one each."""
    rgb = np.empty((3, *luma.shape), np.float32)
    np.multiply(red, back[0, 2], out=rgb[0])
    np.multiply(blue, back[2, 1], out=rgb[2])
    blue *= back[1, 1]
    red *= back[1, 2]
    np.add(blue, red, out=rgb[1])
    rgb += luma
    return rgb


def from_rgb(rgb: NDArray[np.floating], pixels: str, colour: Colour) -> av.VideoFrame:
    """The inverse of :func:`to_rgb`: float (3, H, W) to a picture with a pixel format and colour tags.

    Values out of the format's range are clipped. Raises ValueError for any other array.
    """
    if rgb.ndim != 3 or rgb.shape[0] != 3 or not np.issubdtype(rgb.dtype, np.floating):
        raise ValueError(f"expected a float picture of shape (3, H, W), got {rgb.dtype} {rgb.shape}")
    _, height, width = rgb.shape
    target = av.VideoFormat(pixels)
    if is_rgb(target):
        return _change_layout(_pack_rgb(rgb, bits_of(target), replace(colour, matrix=0, range=FULL)), pixels)
    planes = _Planes.empty(target, width, height, colour)
    forward, offset = colour.equations(planes.bits, height, gray=planes.gray)
    native = planes.native()
    if native is not None:
        values = np.ascontiguousarray(rgb, np.float32)
        top = 2**planes.bits - 1
        native.rgb_to_ycbcr(values, planes_of(planes.picture), *_float32(forward, offset), *planes.sites, top)
        return _change_layout(planes.picture, pixels)

    def codes(rows: slice) -> Floats:
        values = rgb[:, rows].astype(np.float32).reshape(3, -1)
        return (_multiply(forward, values) + offset.astype(np.float32)).reshape(len(forward), -1, width)

    planes.write(codes)
    return _change_layout(planes.picture, pixels)


def convert_picture(picture: av.VideoFrame, pixels: str, colour: Colour) -> av.VideoFrame:
    """Convert a decoded picture for an encoder: unchanged if format and colours agree; by layout only if the
    colours agree (RGB, gray, or Y'CbCr of one matrix and range); else through float RGB.
    """
    target, own = av.VideoFormat(pixels), Colour.of(picture)
    rgb, gray = is_rgb(target), is_gray(target)
    if is_rgb(picture.format) != rgb or is_gray(picture.format) != gray:
        return from_rgb(to_rgb(picture, clip=False), pixels, colour)
    ours, theirs = (c.equations(8, picture.height, gray) for c in (own, colour))
    if not rgb and not all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True)):
        return from_rgb(to_rgb(picture, clip=False), pixels, colour)
    if picture.format.name == pixels:
        return picture
    if rgb or Subsampling.of(picture.format, own.chroma) == Subsampling.of(target, colour.chroma):
        return _change_layout(picture, pixels)
    source = _Planes.of(picture, own)
    planes = _Planes.empty(target, picture.width, picture.height, colour)
    scale = np.float32(2.0 ** (planes.bits - source.bits))
    planes.write(lambda rows: source.read(rows) * scale)
    return _change_layout(planes.picture, pixels)


@dataclass(frozen=True)
class _Planes:
    """A planar Y'CbCr or gray picture in native byte order, read and written at luma resolution."""

    picture: av.VideoFrame
    bits: int
    subsampling: Subsampling

    @classmethod
    def of(cls, picture: av.VideoFrame, colour: Colour) -> _Planes:
        native, bits, subsampling = _native(picture.format, _is_odd(picture), colour.chroma)
        same = _planar_name(picture.format) == native
        return cls(picture if same else _change_layout(picture, native), bits, subsampling)

    @classmethod
    def empty(cls, pixels: av.VideoFormat, width: int, height: int, colour: Colour) -> _Planes:
        native, bits, subsampling = _native(pixels, bool(width % 2 or height % 2), colour.chroma)
        picture = av.VideoFrame(width, height, native)
        colour.stamp(picture)
        return cls(picture, bits, subsampling)

    @property
    def gray(self) -> bool:
        return len(self.picture.planes) == 1

    @property
    def sites(self) -> tuple[tuple[bool, bool], tuple[bool, bool]]:
        """Whether chroma is halved, and whether it is co-sited: down and across."""
        sub = self.subsampling
        return (sub.down > 0, sub.across > 0), (sub.top, sub.left)

    def native(self) -> ModuleType | None:
        """The compiled code that converts these planes; None if there is none."""
        if len(self.picture.planes) < 3 or self.subsampling.across > 1 or self.subsampling.down > 1:
            return None
        kernels = native_planes()
        return kernels if kernels is not None and self.bits <= kernels.EXACT_BITS else None

    def bands(self) -> Iterator[slice]:
        height = self.picture.height
        step = _BAND if self.subsampling.down < 2 else height
        for top in range(0, height, step):
            yield slice(top, min(top + step, height))

    def read(self, rows: slice, offset: NDArray[np.float64] | None = None) -> Floats:
        """The codes of a band minus offsets (3, 1), as floats (3, rows, width); for gray (1, ...)."""
        luma, *chroma = planes_of(self.picture)
        width = self.picture.width
        rows = slice(*rows.indices(self.picture.height))
        codes = np.empty((1 + len(chroma), rows.stop - rows.start, width), np.float32)
        zero = np.zeros((3, 1)) if offset is None else offset
        np.subtract(luma[rows], np.float32(zero[0, 0]), out=codes[0], dtype=np.float32, casting="unsafe")
        if chroma:
            size = self.picture.height, width
            self.subsampling.upsample(chroma, rows, size, np.float32(zero[1, 0]), codes[1:])
        return codes

    def write(self, codes: Callable[[slice], Floats]) -> None:
        """Fill the planes from a function that returns the codes of any rows, like :meth:`read`."""
        luma, *chroma = planes_of(self.picture)
        top = np.float32(2**self.bits - 1)
        for rows in self.bands():
            outer = self.subsampling.reach(rows, self.picture.height)
            values = codes(outer)
            luma[rows] = np.rint(
                np.clip(values[0, rows.start - outer.start :][: rows.stop - rows.start], 0, top)
            )
            if chroma:
                halved = self.subsampling.downsample(values[1:], outer, rows)
                np.rint(np.clip(halved, 0, top, out=halved), out=halved)
                for plane, part in zip(chroma, halved, strict=True):
                    plane[self.subsampling.rows(rows)] = part


def _native(pixels: av.VideoFormat, odd: bool, location: int) -> tuple[str, int, Subsampling]:
    """The native planar format of the same samples, their bits, and the chroma subsampling."""
    bits, subsampling = bits_of(pixels), Subsampling.of(pixels, location)
    name = _format_name("gray" if is_gray(pixels) else subsampling.planes, bits)
    if odd and _planar_name(pixels) != name and not is_gray(pixels):
        # for odd sizes swscale loses the last chroma samples when interleaving, but not from 4:4:4
        return _format_name("yuv444p", bits), bits, replace(subsampling, across=0, down=0)
    return name, bits, subsampling


def _planar_name(pixels: av.VideoFormat) -> str:
    """A pixel format's name without range and alpha plane."""
    return pixels.name.replace("yuvj", "yuv").replace("yuva", "yuv")


def _is_odd(picture: av.VideoFrame) -> bool:
    return bool(picture.width % 2 or picture.height % 2)


def _pack_rgb(rgb: NDArray[np.floating], bits: int, colour: Colour) -> av.VideoFrame:
    name, top, kind = ("rgb24", 255, np.uint8) if bits == 8 else ("rgb48le", 65535, np.uint16)
    values = np.clip(rgb, 0, 1).astype(np.float32)
    packed = np.rint(values * np.float32(top)).astype(kind).transpose(1, 2, 0)
    picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(packed), format=name)
    colour.stamp(picture)
    return picture


def _multiply(matrix: NDArray[np.floating], flat: NDArray[np.float32]) -> NDArray[np.float32]:
    """``matrix @ flat`` for three rows and many columns, twenty times as fast as BLAS."""
    product: NDArray[np.float32] = np.einsum("ij,jk->ik", matrix.astype(np.float32), flat)
    return product


def _float32(*arrays: NDArray[np.float64]) -> Iterator[Floats]:
    return (array.astype(np.float32) for array in arrays)


def _format_name(planes: str, bits: int) -> str:
    return planes if bits == 8 else f"{planes}{bits}le"


def _view(plane: VideoPlane, bits: int) -> NDArray[np.integer]:
    kind = np.dtype(np.uint8 if bits == 8 else np.uint16)
    return np.ndarray((plane.height, plane.line_size // kind.itemsize), kind, buffer=memoryview(plane))


def _change_layout(picture: av.VideoFrame, pixels: str) -> av.VideoFrame:
    """Change the pixel layout only: matrix and range agree on both sides, so swscale keeps colours."""
    if picture.format.name == pixels:
        return picture
    colour = Colour.of(picture)
    span = FULL if colour.full(is_gray(picture.format)) else LIMITED
    laid = picture.reformat(
        format=pixels, interpolation=_ACCURATE, src_colorspace=1, dst_colorspace=1,
        src_color_range=span, dst_color_range=span, threads=1,
    )  # fmt: skip
    colour.stamp(laid)
    return laid
