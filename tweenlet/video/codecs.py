"""Which encoder and pixel format an output gets: by the kind of file, the depth, the size and the colours."""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import cast

import av

from tweenlet.video.frame import LIMITED, Colour, is_gray, is_rgb, side_data_of
from tweenlet.video.read import Reader

KINDS = {
    ".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm", ".y4m": "yuv4mpegpipe",
}  # fmt: skip
_H264 = {"crf": "16", "preset": "fast", "bf": "0"}  # B-frames round up: a quarter step brighter, flicker
_HEVC = {"crf": "16", "preset": "fast"}
_VP9 = {"crf": "20", "b": "0", "row-mt": "1", "cpu-used": "4", "deadline": "good"}
_AV1 = {"crf": "20", "preset": "9"}


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
        stream = cast(av.VideoStream, output.add_stream(self.encoder, rate, dict(self.options)))
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
            return Codec(container, "libsvtav1", "yuv420p10le", colour, _AV1)
        return Codec(container, "libvpx-vp9", _pixels(like), colour, _VP9)
    faststart = {} if container == "matroska" else {"movflags": "+faststart"}
    if deep and min(like.width, like.height) >= 64:  # in smaller pictures x265 writes past its buffers
        pixels, options = _pixels(like, even=True), _HEVC | {"x265-params": _hdr_params(like.first.picture)}
        return Codec(container, "libx265", pixels, colour, options, faststart, "hvc1" if faststart else "")
    return Codec(container, "libx264", _pixels(like, even=True, top=10), colour, _H264, faststart)


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


def _hdr_params(picture: av.VideoFrame) -> str:
    """HDR10 side data of a picture in the words of x265 (x265 takes it no other way)."""
    params = ["log-level=error"]
    mastering = side_data_of(picture, "MASTERING_DISPLAY_METADATA")
    if mastering is not None:
        *pairs, has_primaries, has_luminance = struct.unpack("22i", mastering[:88])
        values = [Fraction(n, d) if d else Fraction(0) for n, d in zip(pairs[::2], pairs[1::2], strict=True)]
        if has_primaries and has_luminance:
            rx, ry, gx, gy, bx, by, wx, wy = (round(v * 50000) for v in values[:8])
            low, high = (round(v * 10000) for v in values[8:])
            params += [
                "hdr10=1",
                f"master-display=G({gx},{gy})B({bx},{by})R({rx},{ry})WP({wx},{wy})L({high},{low})",
            ]
    light = side_data_of(picture, "CONTENT_LIGHT_LEVEL")
    if light is not None:
        params.append("max-cll={},{}".format(*struct.unpack("2I", light[:8])))
    return ":".join(params)
