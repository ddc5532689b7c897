"""Opacity: read and write the alpha of pictures.

::

    yuva, gbrap: the fourth plane        rgba, ya8, palettes ... ── rgba, 8 or 16 bits ──> the fourth channel
"""

from __future__ import annotations

from typing import cast

import av
import numpy as np
from numpy.typing import NDArray

from tweenlet.video.chroma import Floats
from tweenlet.video.colour import FULL, Colour, bits_of, has_alpha


def can_be_transparent(picture: av.VideoFrame) -> bool:
    """Whether a picture has an alpha channel, even if fully opaque."""
    return bool(has_alpha(picture.format) or picture.format.has_palette)


def read_alpha(picture: av.VideoFrame) -> Floats:
    """The opacity (H, W) of a picture, from 0 to 1; 1 everywhere if it has no alpha channel."""
    if not can_be_transparent(picture):
        return np.ones((picture.height, picture.width), np.float32)
    bits = bits_of(picture.format)
    if _has_plane(picture):
        return _plane(picture)[:, : picture.width].astype(np.float32) / np.float32(2**bits - 1)
    name, top = ("rgba", 255) if bits == 8 else ("rgba64le", 65535)
    packed = cast("NDArray[np.integer]", picture.reformat(format=name).to_ndarray())
    return packed[..., 3].astype(np.float32) / np.float32(top)


def write_alpha(picture: av.VideoFrame, alpha: NDArray[np.floating]) -> None:
    """Write an opacity (H, W), from 0 to 1, to a planar picture with alpha, such as yuva444p10le."""
    top = np.float32(2 ** bits_of(picture.format) - 1)
    _plane(picture)[:, : picture.width] = np.rint(alpha.clip(0, 1).astype(np.float32) * top)


def pack_rgba(rgb: NDArray[np.floating], alpha: NDArray[np.floating], pixels: str) -> av.VideoFrame:
    """Pack RGB (3, H, W) and opacity (H, W), from 0 to 1, into a picture such as rgba or rgba64be."""
    deep = "64" in pixels
    top, kind = (65535, np.uint16) if deep else (255, np.uint8)
    values = np.concatenate([rgb, alpha[None]]).clip(0, 1).astype(np.float32) * np.float32(top)
    packed = np.ascontiguousarray(np.rint(values).astype(kind).transpose(1, 2, 0))
    picture = av.VideoFrame.from_ndarray(packed, format="rgba64le" if deep else "rgba")
    Colour(range=FULL).stamp(picture)
    return picture if picture.format.name == pixels else picture.reformat(format=pixels)


def _has_plane(picture: av.VideoFrame) -> bool:
    return picture.format.name.startswith(("yuva", "gbrap")) and not picture.format.name.endswith("be")


def _plane(picture: av.VideoFrame) -> NDArray[np.integer]:
    plane = picture.planes[3]
    kind = np.dtype(np.uint8 if bits_of(picture.format) == 8 else np.uint16)
    return np.ndarray((plane.height, plane.line_size // kind.itemsize), kind, buffer=memoryview(plane))
