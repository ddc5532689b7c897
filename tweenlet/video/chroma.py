"""Subsampled chroma: sample positions, and a lossless pair of filters.

::

    co-sited (left, top)     luma    X   X   X   X   X   X       first  = c
                             chroma  c       c       c           second = cubic between c and the next c

    centred                  luma    X   X   X   X   X   X       first  = c - slope of c / 4
                             chroma    c       c       c         second = c + slope of c / 4

Pictures are upsampled to 4:4:4 on the way to RGB and downsampled on the way to an encoder. Downsampling is
the lifting step that inverts the interpolation: ``downsample(upsample(c))`` is ``c`` for every chroma plane,
and for any other plane the mean is preserved (the biorthogonal wavelets CDF 4.2 and 1.3).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import av
import numpy as np
from av.video.reformatter import Interpolation
from numpy.typing import NDArray

UNKNOWN_SITE, LEFT, CENTER, TOP_LEFT, TOP, BOTTOM_LEFT, BOTTOM = range(7)  # AVChromaLocation
_STRICT = Interpolation(1 << 11)  # SWS_STRICT: swscale refuses to guess what is not specified
_REACH = 2  # chroma rows beyond a band that its own rows depend on

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Subsampling:
    """Position of a picture's chroma samples relative to luma.

    ``across`` and ``down`` are log2 of the luma samples per chroma sample. With ``left`` and ``top``, a
    chroma sample is co-sited with the first of these luma samples; otherwise it is centred.
    """

    across: int
    down: int
    left: bool
    top: bool

    @classmethod
    def of(cls, pixels: av.VideoFormat, location: int) -> Subsampling:
        """The subsampling of a pixel format with an AVChromaLocation.

        Unspecified is taken as left, the default of H.264, HEVC, VP9 and AV1, or as the centre for JPEG.
        """
        if location == UNKNOWN_SITE:
            location = CENTER if pixels.name.startswith("yuvj") else LEFT
        return cls(
            across=(8 // pixels.chroma_width(8)).bit_length() - 1,
            down=(8 // pixels.chroma_height(8)).bit_length() - 1,
            left=location in (LEFT, TOP_LEFT, BOTTOM_LEFT),
            top=location in (TOP_LEFT, TOP),
        )

    @property
    def planes(self) -> str:
        """The name of the planar 8-bit pixel format."""
        ratio = {(0, 0): "444", (1, 0): "422", (1, 1): "420", (0, 1): "440", (2, 0): "411", (2, 2): "410"}
        return f"yuv{ratio[self.across, self.down]}p"

    def reach(self, rows: slice, height: int) -> slice:
        """Luma rows that the chroma of a band of luma rows depends on."""
        beyond = _REACH << self.down if self.down else 0
        return slice(max(0, rows.start - beyond), min(height, rows.stop + beyond))

    def rows(self, luma: slice) -> slice:
        """Chroma rows of a band of luma rows that begins on a chroma row."""
        return slice(luma.start >> self.down, -(-luma.stop >> self.down))

    def upsample(
        self,
        planes: list[NDArray[np.integer]],
        rows: slice,
        size: tuple[int, int],
        offset: np.float32,
        out: Floats,
    ) -> None:
        """Upsample two chroma planes to the luma samples of a band.

        Args:
            planes: Cb and Cr, whole.
            rows: the band, in luma rows of the picture; it begins on a chroma row.
            size: height and width of the luma plane.
            offset: number to subtract from every sample.
            out: (2, rows, width), filled here.

        """
        height, width = size
        outer = self.reach(rows, height)
        for plane, full in zip(planes, out, strict=True):
            part = np.subtract(plane[self.rows(outer)], offset, dtype=np.float32, casting="unsafe")
            if self.down:
                part = _upsample(part, self.down, outer.stop - outer.start, self.top)
                part = part[rows.start - outer.start : rows.stop - outer.start]
            if self.across:
                _upsample(part.T, self.across, width, self.left, full.T)
            else:
                full[:] = part

    def downsample(self, chroma: Floats, outer: slice, rows: slice) -> Floats:
        """The inverse: floats (2, outer rows, width) at luma samples to the chroma rows of a band.

        Args:
            chroma: Cb and Cr at the luma samples of ``outer``.
            outer: the luma rows given, at least :meth:`reach` of ``rows``.
            rows: the band, in luma rows of the picture; it begins on a chroma row.

        """
        if self.down:
            chroma = _downsample(chroma.transpose(1, 0, 2), self.down, self.top).transpose(1, 0, 2)
            begin = outer.start >> self.down
            inner = self.rows(rows)
            chroma = chroma[:, inner.start - begin : inner.stop - begin]
        if self.across:
            chroma = _downsample(chroma.transpose(2, 0, 1), self.across, self.left).transpose(1, 2, 0)
        return chroma


def location_of(picture: av.VideoFrame) -> int:
    """The AVChromaLocation of a picture, which PyAV does not expose but FFmpeg's scaler obeys.

    It is measured by the shift that the scaler applies to a ramp in a small copy with the same tag.
    """
    if picture.format.chroma_width(2) == 2 and picture.format.chroma_height(2) == 2:
        return UNKNOWN_SITE
    probe = picture.reformat(
        width=16, height=16, format="yuv420p", interpolation=Interpolation.POINT, threads=1
    )
    probe.colorspace = probe.color_range = probe.color_primaries = probe.color_trc = 1
    ramp = 64 + 16 * np.arange(8, dtype=np.uint8)
    for plane, values in zip(probe.planes[1:], (ramp, ramp[:, None]), strict=True):
        _samples(plane)[:, :8] = values
    try:
        full = probe.reformat(
            format="yuv444p", interpolation=Interpolation.BILINEAR | Interpolation.ACCURATE_RND | _STRICT,
            dst_colorspace=1, dst_color_range=1, dst_color_primaries=1, dst_color_trc=1, threads=1,
        )  # fmt: skip
    except av.ArgumentError:
        return UNKNOWN_SITE
    # sample 4 of the ramp, 128, lies on luma sample 8 (co-sited), 8.5 (centred) or 9 (bottom)
    across, down = _samples(full.planes[1])[8, 8], _samples(full.planes[2])[8, 8]
    table = {
        (0, 1): LEFT, (1, 1): CENTER, (0, 0): TOP_LEFT, (1, 0): TOP, (0, 2): BOTTOM_LEFT, (1, 2): BOTTOM,
    }  # fmt: skip
    return table.get((round((128 - int(across)) / 4), round((128 - int(down)) / 4)), UNKNOWN_SITE)


def _samples(plane: av.video.plane.VideoPlane) -> NDArray[np.uint8]:
    return np.ndarray((plane.height, plane.line_size), np.uint8, buffer=memoryview(plane))


def _upsample(chroma: Floats, octaves: int, size: int, cosited: bool, out: Floats | None = None) -> Floats:
    """Upsample along the first axis by 2**octaves, to ``size`` samples."""
    for octave in reversed(range(octaves)):
        length = -(-size >> octave)
        last = octave == 0 and out is not None
        full = cast(Floats, out) if last else np.empty_like(chroma, shape=(length, *chroma.shape[1:]))
        first, second = full[0::2], full[1::2]
        if cosited:
            first[:], second[:] = chroma, _between(chroma)[: len(second)]
        else:
            quarter = _quarter_slope(chroma, length)
            np.subtract(chroma, quarter, out=first)
            np.add(chroma[: len(second)], quarter[: len(second)], out=second)
        chroma = full
    return chroma


def _downsample(full: Floats, octaves: int, cosited: bool) -> Floats:
    """The inverse of :func:`_upsample`."""
    for _ in range(octaves):
        first, second = full[0::2], full[1::2]
        chroma = first.copy(order="K")
        pairs = len(second)
        if not cosited:
            chroma[:pairs] += second
            chroma[:pairs] *= 0.5
        elif pairs:
            detail = (second - _between(first)[:pairs]) * np.float32(0.25)
            chroma[:pairs] += detail
            chroma[1:] += detail[: len(chroma) - 1]
            chroma[0] += detail[0]
            if pairs < len(chroma):
                chroma[-1] += detail[-1]
        full = chroma
    return full


def _between(x: Floats) -> Floats:
    """Values halfway between neighbours, by cubic interpolation; the last sample is repeated."""
    n = len(x)
    beyond = np.concatenate([x[:1], x, x[-1:], x[-1:]])
    near: Floats = beyond[1 : n + 1] + beyond[2 : n + 2]
    far: Floats = beyond[:n] + beyond[3 : n + 3]
    near *= np.float32(9 / 16)
    far *= np.float32(1 / 16)
    near -= far
    return near


def _quarter_slope(x: Floats, length: int) -> Floats:
    """A quarter of the slope at each sample; zero at a last sample that covers a single one of ``length``."""
    beyond = np.concatenate([x[:1], x, x[-1:]])
    slope: Floats = beyond[2:] - beyond[:-2]
    slope *= np.float32(1 / 8)
    if length % 2:
        slope[-1] = 0
    return slope
