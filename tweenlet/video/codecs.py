"""Which encoder and pixel format an output gets: by the kind of file, the depth, the size and the colours."""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import cast

import av

from tweenlet.video.frame import LIMITED, Colour, is_gray, is_rgb, side_data_of
from tweenlet.video.parameters import chroma_location
from tweenlet.video.read import Reader

KINDS = {
    ".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm", ".y4m": "yuv4mpegpipe",
}  # fmt: skip
_H264 = {"crf": "16", "preset": "fast", "bf": "0"}  # B-frames round up: a quarter step brighter, flicker
_HEVC = {"crf": "16", "preset": "fast"}
_VP9 = {"crf": "20", "b": "0", "row-mt": "1", "cpu-used": "4", "deadline": "good"}
_AV1 = {"crf": "20", "preset": "9"}
_HDR10: dict[
    str, tuple[str, str, str, list[str]]
] = {  # option, names of its two parts, what else stands there
    "libx264": ("x264-params", "mastering-display", "cll", []),
    "libx265": ("x265-params", "hdr10=1:master-display", "max-cll", ["log-level=error"]),
    "libsvtav1": ("svtav1-params", "mastering-display", "content-light", []),
}


@dataclass(frozen=True)
class Codec:
    """An encoder, set up for one output."""

    container: str
    encoder: str
    pixels: str
    colour: Colour
    options: dict[str, str] = field(default_factory=dict)
    container_options: dict[str, str] = field(default_factory=dict)
    tag: str = ""
    siting: int = 0
    """Where the samples of 4:2:0 chroma lie, as :func:`chroma_location` numbers it."""

    @property
    def fixed_rate(self) -> bool:
        """Whether the file holds pictures at a fixed rate and nothing else (y4m)."""
        return self.container == "yuv4mpegpipe"

    @property
    def counts_decoding_time(self) -> bool:
        """Whether the file's length is counted in decoding times, which end early where the rate varies."""
        return self.container in ("mp4", "mov")

    def add_to(self, output: av.container.OutputContainer, like: Reader, rate: Fraction) -> av.VideoStream:
        """Add the picture stream to an output, with the size, tags, pixel shape and rotation of ``like``."""
        options = self.options | {"chroma_sample_location": str(self.siting)}
        stream = cast(av.VideoStream, output.add_stream(self.encoder, rate, options))
        sideways = self.fixed_rate and like.turns % 2 == 1
        stream.width, stream.height = (like.height, like.width) if sideways else (like.width, like.height)
        stream.pix_fmt = self.pixels
        self.colour.stamp(stream.codec_context)
        if self.encoder == "libsvtav1":
            os.environ.setdefault("SVT_LOG", "1")  # errors only; it takes this no other way
        if self.tag:
            stream.codec_context.codec_tag = self.tag
        if like.stream is not None:
            if like.stream.sample_aspect_ratio:
                stream.codec_context.sample_aspect_ratio = like.stream.sample_aspect_ratio
            stream.metadata.update(
                {k: v for k, v in like.stream.metadata.items() if k in ("language", "title")}
            )
        if not self.fixed_rate:
            turn = side_data_of(like.first.picture, "DISPLAYMATRIX")
            if turn is not None:
                stream.set_display_matrix(struct.unpack("9i", turn))
            elif like.first.picture.rotation:
                stream.set_display_rotation(like.first.picture.rotation)
        return stream


def choose_codec(suffix: str, like: Reader) -> Codec:
    """The encoder for a kind of file: H.264 for 8 bits, HEVC for more; .webm VP9 and AV1; .y4m raw pictures.

    Raises ValueError for a suffix that is not known.
    """
    codec = _choose_codec(suffix, like)
    halved = codec.pixels.startswith("yuv420p") and not is_rgb(like.first.picture.format)
    return replace(codec, siting=chroma_location(like.stream)) if halved and like.stream else codec


def _choose_codec(suffix: str, like: Reader) -> Codec:
    container = KINDS.get(suffix.lower())
    if container is None:
        raise ValueError(
            f"cannot write {suffix} files: expected {' '.join(KINDS)}, a folder, "
            "or a pattern of images such as out/%05d.png"
        )
    colour = (
        replace(like.colour, matrix=1, range=LIMITED) if is_rgb(like.first.picture.format) else like.colour
    )
    deep = like.bits > 8
    if container == "yuv4mpegpipe":
        return Codec(container, "wrapped_avframe", _pixels(like), colour, {}, {"strict": "-1"})
    if container == "webm":
        if deep:
            options = _AV1 | _hdr10(like.first.picture, "libsvtav1")
            return Codec(container, "libsvtav1", "yuv420p10le", colour, options)
        return Codec(container, "libvpx-vp9", _pixels(like), colour, _VP9)
    faststart = {} if container == "matroska" else {"movflags": "+faststart"}
    if deep and min(like.width, like.height) >= 64:  # in smaller pictures x265 writes past its buffers
        pixels, options = _pixels(like, even=True), _HEVC | _hdr10(like.first.picture, "libx265")
        return Codec(container, "libx265", pixels, colour, options, faststart, "hvc1" if faststart else "")
    options = _H264 | _hdr10(like.first.picture, "libx264")
    return Codec(container, "libx264", _pixels(like, even=True, top=10), colour, options, faststart)


def _pixels(like: Reader, even: bool = False, top: int = 12) -> str:
    """The Y'CbCr format next to the source's.

    ``even``: halved chroma goes with even sizes only. ``top``: the most bits that the encoder takes.
    """
    source = like.first.picture.format
    still = is_rgb(source) or is_gray(source)
    across, down = (2, 2) if still else _subsampling(source)
    if even and (like.width % across or like.height % down):
        across, down = 1, 1
    planes = {(2, 2): "yuv420p", (2, 1): "yuv422p"}.get((across, down), "yuv444p")
    if like.bits == 8:
        return planes
    return f"{planes}{min(10 if still or like.bits <= 10 else 12, top)}le"


def _subsampling(pixels: av.VideoFormat) -> tuple[int, int]:
    return min(2, 16 // pixels.chroma_width(16)), min(2, 16 // pixels.chroma_height(16))


def _hdr10(picture: av.VideoFrame, encoder: str) -> dict[str, str]:
    """The option by which an encoder learns a picture's HDR10 data (from PyAV it takes them no other way)."""
    option, display, light, params = _HDR10[encoder]
    mastering = side_data_of(picture, "MASTERING_DISPLAY_METADATA")
    if mastering is not None:
        *pairs, has_primaries, has_luminance = struct.unpack("22i", mastering[:88])
        values = [Fraction(n, d) if d else Fraction(0) for n, d in zip(pairs[::2], pairs[1::2], strict=True)]
        if has_primaries and has_luminance:
            rx, ry, gx, gy, bx, by, wx, wy, low, high = _in_units(values, encoder)
            params = [*params, f"{display}=G({gx},{gy})B({bx},{by})R({rx},{ry})WP({wx},{wy})L({high},{low})"]
    level = side_data_of(picture, "CONTENT_LIGHT_LEVEL")
    if level is not None:
        params = [*params, "{}={},{}".format(light, *struct.unpack("2I", level[:8]))]
    return {option: ":".join(params)} if params else {}


def _in_units(values: list[Fraction], encoder: str) -> list[str]:
    """Coordinates and luminances as SVT-AV1 reads them, decimal, or as the others do, in whole steps."""
    if encoder == "libsvtav1":
        return [f"{float(value):.5f}" for value in values]
    return [str(round(value * (50_000 if i < 8 else 10_000))) for i, value in enumerate(values)]
