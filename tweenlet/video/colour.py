"""Colour: a picture's colour tags (matrix, range, primaries, transfer, chroma location) and pixel format."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import av
import numpy as np
from av.buffer import Buffer
from numpy.typing import NDArray

from tweenlet.video.chroma import location_of

FULL, LIMITED, UNSPECIFIED = 2, 1, 2  # AVCOL_RANGE_JPEG, AVCOL_RANGE_MPEG, AVCOL_SPC_UNSPECIFIED
_DEPTHS = (8, 9, 10, 12, 14, 16)
_LUMA_WEIGHTS = {  # AVColorSpace -> the weights of red and blue in luma (ITU-T H.273, table 4)
    1: (0.2126, 0.0722),  # BT.709
    4: (0.30, 0.11),  # FCC
    5: (0.299, 0.114),  # BT.601, 625 lines
    6: (0.299, 0.114),  # BT.601, 525 lines
    7: (0.212, 0.087),  # SMPTE 240M
    9: (0.2627, 0.0593),  # BT.2020
    10: (0.2627, 0.0593),  # BT.2020, constant luminance (taken as the line above)
}


@dataclass(frozen=True)
class Colour:
    """The colour tags of a picture, as FFmpeg numbers them (ITU-T H.273).

    ``chroma`` is the AVChromaLocation of subsampled chroma; 0 if untagged.
    """

    matrix: int = UNSPECIFIED
    range: int = 0
    primaries: int = UNSPECIFIED
    transfer: int = UNSPECIFIED
    chroma: int = 0

    @classmethod
    def of(cls, picture: av.VideoFrame) -> Colour:
        """The tags of a decoded picture; missing tags stay unspecified."""
        known_full = picture.format.name.startswith("yuvj") or is_rgb(picture.format)
        span = FULL if known_full else picture.color_range
        contradicts = picture.colorspace == 0 and not is_rgb(picture.format)  # as gray PNGs do
        matrix = UNSPECIFIED if contradicts else picture.colorspace
        return cls(matrix, span, picture.color_primaries, picture.color_trc, location_of(picture))

    def stamp(self, target: av.VideoFrame | av.VideoCodecContext) -> None:
        """Write the tags to a picture or encoder, except ``chroma``, which PyAV cannot set."""
        target.colorspace, target.color_range = self.matrix, self.range
        target.color_primaries, target.color_trc = self.primaries, self.transfer

    def full(self, gray: bool = False) -> bool:
        """Whether the range is full; if untagged, only gray pictures are."""
        return self.range == FULL or (gray and self.range != LIMITED)

    def equations(
        self, bits: int, height: int, gray: bool = False
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """``codes = forward @ rgb + offset`` for RGB in [0, 1]: (3, 3) and (3, 1); gray (1, 3) and (1, 1).

        Without a known matrix tag, BT.709 is assumed for 720 lines and more, else BT.601, as players do.
        """
        red, blue = _LUMA_WEIGHTS.get(self.matrix, _LUMA_WEIGHTS[1 if height >= 720 else 6])
        luma = np.array([red, 1 - red - blue, blue])
        rows = np.stack([luma, ([0, 0, 1] - luma) / (2 - 2 * blue), ([1, 0, 0] - luma) / (2 - 2 * red)])
        step, top = 2 ** (bits - 8), 2**bits - 1
        black, white, swing = (0, top, top) if self.full(gray) else (16 * step, 219 * step, 224 * step)
        forward, offset = rows * [[white], [swing], [swing]], np.array([[black], [128 * step], [128 * step]])
        return (forward[:1], offset[:1]) if gray else (forward, offset)


def bits_of(pixels: av.VideoFormat) -> int:
    """Bits per component of a pixel format, 8 to 16 (float counts as 16)."""
    bits = 8 if pixels.has_palette else max(component.bits for component in pixels.components)
    return next(depth for depth in _DEPTHS if depth >= min(bits, 16))


def is_rgb(pixels: av.VideoFormat) -> bool:
    """Whether a pixel format is RGB (or a palette)."""
    return bool(pixels.is_rgb or pixels.has_palette)


def is_gray(pixels: av.VideoFormat) -> bool:
    """Whether a pixel format is gray."""
    return not is_rgb(pixels) and sum(not c.is_alpha for c in pixels.components) == 1


def has_alpha(pixels: av.VideoFormat) -> bool:
    """Whether a pixel format has an alpha channel."""
    return any(component.is_alpha for component in pixels.components)


def side_data_of(picture: av.VideoFrame, name: str) -> bytes | None:
    """FFmpeg side data of one kind (DISPLAYMATRIX, ...) of a picture; None if absent."""
    try:
        data = picture.side_data.get(name)
    except ValueError:  # PyAV 18 does not know every kind (EXIF), and then shows none
        return None
    return None if data is None else bytes(cast(Buffer, data))
