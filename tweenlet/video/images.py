"""Still images as frames: finding them, decoding one, and encoding one."""

from __future__ import annotations

import re
import shutil
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import numpy as np
from numpy.typing import NDArray

from tweenlet.video.frame import FULL, Colour, Frame, fit, from_rgb, has_alpha, upright

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp")


def is_image(path: Path) -> bool:
    """Whether the name is one of a PNG, JPEG, TIFF or WebP file."""
    return path.suffix.lower() in SUFFIXES


def is_glob(path: Path) -> bool:
    """Whether a name is a pattern of names: it has a *, ? or [, and nothing exists that is called so."""
    return any(c in path.name for c in "*?[") and not path.exists()


def natural(path: Path) -> list[tuple[int, str]]:
    """A sorting key under which frame10 comes after frame9."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", path.name)]


def list_images(place: Path) -> list[Path]:
    """The images of a folder, or those that a glob in the last part of a path names, in natural order."""
    if place.is_dir():
        found = place.iterdir()
    else:
        if not place.parent.is_dir():
            raise FileNotFoundError(f"no such folder: {place.parent}")
        found = place.parent.glob(place.name)
    return sorted((p for p in found if is_image(p) and p.is_file()), key=natural)


def decode_image(path: Path) -> av.VideoFrame:
    """The first picture of an image file, at its own depth.

    Raises FileNotFoundError where there is none, ValueError for a file that cannot be decoded.
    """
    if not path.exists():
        raise FileNotFoundError(f"no such file: {path}")
    try:
        with av.open(f"file:{path}", "r", metadata_errors="replace") as container:
            return next(container.decode(video=0))
    except (av.FFmpegError, StopIteration, IndexError):
        raise ValueError(f"{path} is not an image that can be read") from None


class ImageEncoder:
    """Pictures into PNG, JPEG, TIFF or WebP files of one depth: 16 bits where the kind has them, else 8."""

    def __init__(self, suffix: str, bits: int, turns: int = 0) -> None:
        """``turns``: quarter turns counter-clockwise, by which the pictures are written upright."""
        self._suffix, self._turns = suffix.lower(), turns
        self._codec, self._pixels, self._options = {
            ".png": ("png", "rgb48be" if bits > 8 else "rgb24", {"pred": "paeth", "compression_level": "3"}),
            ".tif": ("tiff", "rgb48le" if bits > 8 else "rgb24", {}),
            ".jpg": ("mjpeg", "yuvj444p", {"qmin": "2", "qmax": "2"}),
            ".webp": ("libwebp", "bgra", {"lossless": "1"}),
        }[{".jpeg": ".jpg", ".tiff": ".tif"}.get(self._suffix, self._suffix)]

    def write(self, picture: Frame | NDArray[np.floating], target: Path) -> None:
        """Write one image: a frame that came from a file of this kind is copied byte by byte."""
        colour = Colour(matrix=5, range=FULL)
        if not isinstance(picture, Frame):
            image = from_rgb(upright(picture, self._turns), self._pixels, colour)
        elif self._turns:
            image = from_rgb(upright(picture.rgb(), self._turns), self._pixels, colour)
        elif picture.path is not None and self._same_kind(picture.path, picture.picture):
            shutil.copyfile(picture.path, target)
            return
        else:
            image = fit(picture.picture, self._pixels, colour)
        encoder = cast(av.VideoCodecContext, av.CodecContext.create(self._codec, "w"))
        encoder.width, encoder.height, encoder.pix_fmt = image.width, image.height, self._pixels
        encoder.time_base, encoder.options = Fraction(1), self._options
        colour.stamp(encoder)
        image.pict_type, image.pts = 0, 0
        target.write_bytes(b"".join(bytes(p) for p in [*encoder.encode(image), *encoder.encode(None)]))

    def _same_kind(self, path: Path, picture: av.VideoFrame) -> bool:
        return path.suffix.lower() == self._suffix and not has_alpha(picture.format)
