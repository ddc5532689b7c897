"""Images: find, decode and encode still images."""

from __future__ import annotations

import io
import re
import shutil
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import cast

import av
import numpy as np
from numpy.typing import NDArray

from tweenlet.runtime.extras import import_extra
from tweenlet.video.colour import FULL, Colour, bits_of, has_alpha, is_gray
from tweenlet.video.conversion import convert_picture, from_rgb, to_rgb
from tweenlet.video.frame import Frame
from tweenlet.video.image_tags import ImageTags, add_tags, open_header, read_tags, strip_png_profile
from tweenlet.video.opacity import pack_rgba
from tweenlet.video.orientation import UPRIGHT, Orientation
from tweenlet.video.suffixes import WRITABLE_IMAGES


def is_image(path: Path) -> bool:
    """Whether the suffix is that of a PNG, JPEG, TIFF or WebP file."""
    return path.suffix.lower() in WRITABLE_IMAGES


def is_animated(path: Path) -> bool:
    """Whether an image file is an animated PNG (APNG), which is read as a video.

    Not with an ICC profile: PyAV 18 crashes on one that has a name.
    """
    return _has_several_pictures(path, "PNG") and read_tags(path).icc is None


def _has_several_pictures(path: Path, kind: str = "WEBP") -> bool:
    import_extra("PIL.Image")  # without it nothing is known of an image
    try:
        with open_header(path) as image:
            return image.format == kind and bool(getattr(image, "is_animated", False))
    except (OSError, ValueError, SyntaxError):
        return False


def is_glob(path: Path) -> bool:
    """Whether a name is a glob: it contains *, ? or [, and no file has this name."""
    return any(c in path.name for c in "*?[") and not path.exists()


def natural_key(path: Path) -> list[tuple[int, str]]:
    """Sorting key for natural order, in which frame10 comes after frame9."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", path.name)]


def list_images(location: Path, suffixes: Sequence[str] = WRITABLE_IMAGES) -> list[Path]:
    """The images of a folder, or of a glob in the last part of a path, in natural order.

    Files ._NAME, written by macOS beside NAME, are left out.
    """
    if location.is_dir():
        files = location.iterdir()
    else:
        if not location.parent.is_dir():
            raise FileNotFoundError(f"no such folder: {location.parent}")
        files = location.parent.glob(location.name)
    images = (
        p for p in files if p.suffix.lower() in suffixes and p.is_file() and not p.name.startswith("._")
    )
    return sorted(images, key=natural_key)


def gaps_in_numbers(paths: Sequence[Path]) -> list[tuple[int, str, str]]:
    """Where numbered names skip numbers: index of the image after a gap, and the names on either side.

    Names must be numbered throughout, and otherwise the same; numbers usually rise by the smallest step.
    """
    parts = [re.fullmatch(r"(.*?)(\d+)(\D*)", path.name) for path in paths]
    frames = {(match[1], match[3]) for match in parts if match}
    if len(paths) < 3 or None in parts or len(frames) != 1:
        return []
    numbers = [int(match[2]) for match in parts if match]
    steps = [after - before for before, after in pairwise(numbers)]
    usual = min(steps)
    if usual < 1 or 2 * steps.count(usual) <= len(steps):
        return []
    return [(k + 1, paths[k].name, paths[k + 1].name) for k, step in enumerate(steps) if step != usual]


def decode_image(path: Path) -> av.VideoFrame:
    """Decode the first picture of an image file, upright, at its own depth.

    Raises FileNotFoundError if it does not exist, ValueError if it cannot be decoded.
    """
    if not path.exists():
        raise FileNotFoundError(f"no such file: {path}")
    tags = read_tags(path)
    try:
        picture = _decode_by_pillow(path) if tags.jpeg_in_tiff else _decode(path, tags)
    except (av.FFmpegError, StopIteration, IndexError, OSError):
        if path.suffix.lower() == ".webp" and _has_several_pictures(path):
            raise ValueError(
                f"{path} is an animated WebP, which cannot be read: convert it to APNG"
            ) from None
        raise ValueError(f"{path} is not an image that can be read") from None
    if tags.orientation == UPRIGHT:
        return picture
    rgb = tags.orientation.upright(to_rgb(picture))
    planes = "gray" if is_gray(picture.format) else "rgb"
    pixels = {"gray": ("gray", "gray16le"), "rgb": ("rgb24", "rgb48le")}[planes][bits_of(picture.format) > 8]
    return from_rgb(rgb, pixels, Colour(range=FULL))


def _decode(path: Path, tags: ImageTags) -> av.VideoFrame:
    source: str | io.BytesIO = f"file:{path}"
    if tags.icc:  # PyAV 18 frees a PNG's named profile twice
        source = io.BytesIO(strip_png_profile(path.read_bytes()))
    with av.open(source, "r", metadata_errors="replace") as container:
        return next(container.decode(video=0))


def _decode_by_pillow(path: Path) -> av.VideoFrame:
    with import_extra("PIL.Image").open(path) as image:
        gray = image.mode == "L"
        pixels = np.asarray(image if gray else image.convert("RGB"))
    picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="gray" if gray else "rgb24")
    Colour(range=FULL).stamp(picture)
    return picture


class ImageEncoder:
    """Writes PNG, JPEG, TIFF or WebP files of one depth: 16 bits if the format has them, else 8."""

    def __init__(
        self, suffix: str, bits: int, orientation: Orientation = UPRIGHT, alpha: bool = False
    ) -> None:
        """``orientation`` is that of the pictures, which are written upright; ``alpha`` writes their opacity
        if the format has it.
        """
        self._suffix, self._orientation = suffix.lower(), orientation
        deep = bits > 8
        self._codec, self._pixels, self._gray, self._options = {
            ".png": (
                "png", "rgb48be" if deep else "rgb24", "gray16be" if deep else "gray",
                {"pred": "paeth", "compression_level": "3"},
            ),
            ".tif": ("tiff", "rgb48le" if deep else "rgb24", "gray16le" if deep else "gray", {}),
            ".jpg": ("mjpeg", "yuvj444p", "yuvj444p", {"qmin": "2", "qmax": "2"}),
            ".webp": ("libwebp", "bgra", "bgra", {"lossless": "1"}),
        }[{".jpeg": ".jpg", ".tiff": ".tif"}.get(self._suffix, self._suffix)]  # fmt: skip

        self.keeps_alpha = alpha and self._suffix not in (".jpg", ".jpeg")
        if self.keeps_alpha:
            names = {"rgb48be": "rgba64be", "rgb48le": "rgba64le", "rgb24": "rgba"}
            self._pixels = self._gray = names.get(self._pixels, self._pixels)

    def write(
        self, picture: Frame | NDArray[np.floating], target: Path, sources: Sequence[Frame] = ()
    ) -> None:
        """Write one image; a frame from a file of this format is copied byte for byte.

        Args:
            picture: a frame, or RGB (3, H, W) in [0, 1].
            target: the file to write.
            sources: the frames on either side of a new picture. It gets the tags (ICC profile, EXIF) of the
                first one's file, and is gray if all of them are.

        """
        sources = (picture,) if isinstance(picture, Frame) else sources
        source = sources[0].path if sources else None
        tags = ImageTags() if source is None else read_tags(source)
        if isinstance(picture, Frame) and self._can_copy(picture, tags):
            shutil.copyfile(cast(Path, source), target)
            return
        pixels = self._gray if sources and all(is_gray(f.picture.format) for f in sources) else self._pixels
        data = self._encode(picture, pixels)
        target.write_bytes(add_tags(data, tags, gray=is_gray(av.VideoFormat(pixels))))

    def _can_copy(self, frame: Frame, tags: ImageTags) -> bool:
        same = frame.path is not None and frame.path.suffix.lower() == self._suffix
        upright = tags.orientation == self._orientation == UPRIGHT
        return same and upright and (self.keeps_alpha or not has_alpha(frame.picture.format))

    def _encode(self, picture: Frame | NDArray[np.floating], pixels: str) -> bytes:
        colour = Colour(matrix=5, range=FULL)
        if self.keeps_alpha:
            if isinstance(picture, Frame):
                picture = picture.rgba()
            if len(picture) == 3:
                picture = np.concatenate([picture, np.ones_like(picture[:1])])
            upright = self._orientation.upright(picture)
            image = pack_rgba(upright[:3], upright[3], pixels)
        elif isinstance(picture, Frame) and self._orientation == UPRIGHT:
            image = convert_picture(picture.picture, pixels, colour)
        else:
            rgb = picture.rgb() if isinstance(picture, Frame) else picture
            image = from_rgb(self._orientation.upright(rgb), pixels, colour)
        encoder = cast(av.VideoCodecContext, av.CodecContext.create(self._codec, "w"))
        encoder.width, encoder.height, encoder.pix_fmt = image.width, image.height, pixels
        encoder.time_base, encoder.options = Fraction(1), self._options
        colour.stamp(encoder)
        image.pict_type, image.pts = 0, 0
        return b"".join(bytes(p) for p in [*encoder.encode(image), *encoder.encode(None)])
