"""Codecs: the encoder and pixel format of an output, from its container, depth, size and colours."""

from __future__ import annotations

import os
import re
import struct
from dataclasses import dataclass, field, replace
from fractions import Fraction
from math import ceil
from typing import cast

import av
from av.stream import Disposition

from tweenlet.video.chroma import LEFT
from tweenlet.video.colour import LIMITED, Colour, bits_of, has_alpha, is_gray, is_rgb, side_data_of
from tweenlet.video.encoding import TRANSPARENT, Encoding, check_encoder, nearest_pixels
from tweenlet.video.headers import PLACEHOLDER, Shape
from tweenlet.video.reader import Reader

os.environ.setdefault("SVT_LOG", "1")  # SVT-AV1 prints errors only; it reads this once, at its first encoder

KINDS = {
    ".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm", ".y4m": "yuv4mpegpipe",
}  # fmt: skip
DEFAULT = Encoding()
"""No choices: the container and the source decide."""
_H264 = {
    "crf": "16",
    "preset": "faster",
    "bf": "0",
}  # B-frames round up: a quarter step brighter, visible as flicker
_HEVC = {"crf": "16", "preset": "fast"}
_VP9 = {"crf": "20", "b": "0", "row-mt": "1", "cpu-used": "4", "deadline": "good"}
_AV1 = {"crf": "20", "preset": "9"}
_FFV1 = {"level": "3", "slices": "4", "slicecrc": "1"}
SMALLEST_SLICED = 8
"""Smallest side, in pixels, of pictures that FFV1 is asked to divide into slices."""
_TRANSPARENT = {"mov": "prores", "webm": "vp9"}
"""Container -> default codec for a source with opacity."""
_USUAL = {"libx264": _H264, "libx265": _HEVC, "libvpx-vp9": _VP9, "libsvtav1": _AV1, "ffv1": _FFV1}
_HDR10: dict[
    str, tuple[str, str, str, list[str]]
] = {  # option, names of its two parts, what else stands there
    "libx264": ("x264-params", "mastering-display", "cll", []),
    "libx265": ("x265-params", "hdr10=1:master-display", "max-cll", ["log-level=error"]),
    "libsvtav1": ("svtav1-params", "mastering-display", "content-light", []),
}


@dataclass(frozen=True)
class Codec:
    """An encoder, configured for one output."""

    container: str
    encoder: str
    pixels: str
    colour: Colour
    options: dict[str, str] = field(default_factory=dict)
    container_options: dict[str, str] = field(default_factory=dict)
    tag: str = ""
    shape: Shape = field(default_factory=Shape)
    """Displayed shape of the picture."""

    @property
    def completes_header(self) -> bool:
        """Whether the header needs more than PyAV passes to a muxer; H.264 and HEVC carry pixel shape."""
        is_cropped = bool(self.shape.right or self.shape.bottom)
        carries_aspect = self.container in ("mp4", "mov") or self.encoder in ("libx264", "libx265")
        return is_cropped or not (carries_aspect or self.shape.is_plain)

    @property
    def size(self) -> tuple[int, int]:
        """Encoded width and height, in pixels."""
        return self.shape.width + self.shape.right, self.shape.height + self.shape.bottom

    @property
    def siting(self) -> int:
        """AVChromaLocation of 4:2:0 chroma; 0 for other formats."""
        return self.colour.chroma if self.pixels.startswith("yuv420p") else 0

    @property
    def keeps_alpha(self) -> bool:
        """Whether opacity is kept."""
        return has_alpha(av.VideoFormat(self.pixels))

    @property
    def has_side_pictures(self) -> bool:
        """Whether opacity is stored in separate pictures, as in WebM."""
        return self.keeps_alpha and self.encoder == "libvpx-vp9"

    @property
    def fixed_rate(self) -> bool:
        """Whether the file holds only pictures, at a fixed rate (y4m)."""
        return self.container == "yuv4mpegpipe"

    @property
    def max_rate(self) -> int | None:
        """Highest frame rate that the file's timestamps can resolve; None = no limit."""
        return 1000 if self.container in ("matroska", "webm") else None

    def warnings(self, template: Reader, name: str) -> list[str]:
        """Warnings about losses of the pictures of ``template`` in the file ``name``."""
        source, target = template.first.picture.format, av.VideoFormat(self.pixels)
        losses = []
        fewer = tuple(map(max, _subsampling(source), _subsampling(target))) != _subsampling(source)
        if fewer and not (is_rgb(source) or is_gray(source)):
            kept = {(2, 2): "4:2:0", (2, 1): "4:2:2"}.get(_subsampling(target), "less")
            losses.append(f"{name}: chroma is reduced to {kept}, which {self.encoder} is given")
        if bits_of(target) < template.bits:
            losses.append(f"{name}: {template.bits} bits are reduced to {bits_of(target)}")
        if is_rgb(source) and self.encoder == "ffv1":
            losses.append(f"{name}: RGB is converted to Y'CbCr, which is not lossless")
        kinds = ("MASTERING_DISPLAY_METADATA", "CONTENT_LIGHT_LEVEL")
        has_hdr10 = any(side_data_of(template.first.picture, kind) is not None for kind in kinds)
        if has_hdr10 and self.encoder not in _HDR10:
            losses.append(f"{name}: HDR10 metadata is left out, which {self.encoder} does not carry")
        return losses

    @property
    def counts_decoding_time(self) -> bool:
        """Whether the file's duration is in decoding times, which end early with a variable rate."""
        return self.container in ("mp4", "mov")

    @property
    def _all_options(self) -> dict[str, str]:
        return self.options | {"chroma_sample_location": str(self.siting)}

    def create_encoder(self, like: av.VideoStream) -> av.VideoCodecContext:
        """Create an encoder configured like that of a stream from :meth:`add_to`."""
        own = like.codec_context
        encoder = cast(av.VideoCodecContext, av.CodecContext.create(self.encoder, "w"))
        encoder.width, encoder.height, encoder.pix_fmt = own.width, own.height, own.pix_fmt
        encoder.time_base, encoder.framerate = own.time_base, own.framerate
        encoder.bit_rate, encoder.bit_rate_tolerance = own.bit_rate or 0, own.bit_rate_tolerance or 0
        encoder.flags, encoder.options = own.flags, self._all_options
        if own.sample_aspect_ratio is not None:
            encoder.sample_aspect_ratio = own.sample_aspect_ratio
        self.colour.stamp(encoder)
        if self.tag:
            encoder.codec_tag = self.tag
        return encoder

    def add_to(
        self, output: av.container.OutputContainer, template: Reader, rate: Fraction
    ) -> av.VideoStream:
        """Add the picture stream to an output, with ``template``'s size, tags, pixel shape and rotation."""
        stream = cast(av.VideoStream, output.add_stream(self.encoder, rate, self._all_options))
        stream.width, stream.height = self.size
        stream.pix_fmt = self.pixels
        self.colour.stamp(stream.codec_context)
        if self.tag:
            stream.codec_context.codec_tag = self.tag
        if template.stream is not None:
            stream.codec_context.sample_aspect_ratio = self.shape.aspect
            stream.metadata.update(_stream_metadata(template, template.stream, rate))
            stream.disposition = template.stream.disposition | Disposition.default
        if self.has_side_pictures:
            stream.metadata["alpha_mode"] = "1"
        if self.completes_header:
            name = "handler_name" if self.counts_decoding_time else "title"
            title = "" if self.counts_decoding_time else stream.metadata.get("title", "")
            stream.metadata[name] = PLACEHOLDER + title
        if not self.fixed_rate:
            turn = side_data_of(template.first.picture, "DISPLAYMATRIX")
            if turn is not None:
                stream.set_display_matrix(struct.unpack("9i", turn))
            elif template.first.picture.rotation:
                stream.set_display_rotation(template.first.picture.rotation)
        return stream


def choose_codec(suffix: str, template: Reader, encoding: Encoding = DEFAULT) -> Codec:
    """The encoder of a file: as chosen, else H.264 for 8 bits, HEVC for more; VP9 or AV1 in .webm; raw .y4m.

    Raises ValueError for an unknown suffix, and for choices that exclude each other.
    """
    codec = _choose_codec(suffix, template, encoding)
    codec = replace(codec, shape=_shape(codec, template))
    if not encoding.is_default:
        check_encoder(codec.encoder, codec.pixels, codec.size, codec.options)
    if codec.container in ("matroska", "webm"):
        options = codec.container_options | {
            "fflags": "+bitexact"
        }  # no random IDs, so that a job always gives the same file
        if codec.completes_header:
            options["write_crc32"] = "0"
        codec = replace(codec, container_options=options)
    return codec


def _shape(codec: Codec, template: Reader) -> Shape:
    """Displayed shape of the picture: padded by one where subsampled chroma in H.264 or HEVC requires it."""
    aspect = template.stream.sample_aspect_ratio if template.stream is not None else None
    width, height, aspect = template.width, template.height, aspect or Fraction(1)
    if codec.fixed_rate and template.orientation.sideways:
        width, height, aspect = height, width, 1 / aspect
    if codec.encoder not in ("libx264", "libx265"):
        return Shape(width, height, aspect=aspect)
    across, down = _subsampling(av.VideoFormat(codec.pixels))
    return Shape(width, height, -width % across, -height % down, aspect)


def _stream_metadata(template: Reader, stream: av.VideoStream, rate: Fraction) -> dict[str, str]:
    """Metadata of a stream to keep."""
    tags = {k.lower(): v for m in (stream.container.metadata, stream.metadata) for k, v in m.items()}
    names = {k: v for k, v in stream.metadata.items() if k in ("language", "title", "stereo_mode")}
    code = tags.get("timecode", "")
    parts = re.fullmatch(r"(\d\d:\d\d:\d\d)([:;.])(\d\d)", code)
    if parts and rate >= 1:
        source_rate = template.rate or rate
        passed = ceil(template.clip.start * source_rate)
        begin, frame = _later(parts[1], int(parts[3]), passed, source_rate, parts[2] != ":")
        drops = (rate / Fraction(30000, 1001)).denominator == 1
        names["timecode"] = f"{begin}{parts[2] if drops else ':'}{int(frame * rate / source_rate):02d}"
    return names


def _later(clock: str, frame: int, passed: int, rate: Fraction, drops: bool) -> tuple[str, int]:
    """The time code ``passed`` frames after hh:mm:ss and a frame: the same way, hh:mm:ss and a frame.

    ``drops``: the first numbers of each minute are left out (2 of 30, 4 of 60), but of every tenth minute.
    """
    whole = round(rate)
    hours, minutes, seconds = map(int, clock.split(":"))
    minutes += 60 * hours
    left_out = whole // 15 if drops and whole in (30, 60) else 0
    number = (60 * minutes + seconds) * whole + frame - left_out * (minutes - minutes // 10) + passed
    tens, rest = divmod(number, 600 * whole - 9 * left_out)
    number += left_out * (9 * tens + max(0, rest - left_out) // (60 * whole - left_out))
    seconds, frame = divmod(number, whole)
    return f"{seconds // 3600 % 24:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}", frame


def _choose_codec(suffix: str, template: Reader, encoding: Encoding) -> Codec:
    codec = _usual_codec(suffix, template)
    transparent = template.is_transparent
    if transparent and encoding.chosen_encoder() is None and codec.container in _TRANSPARENT:
        encoding = replace(encoding, codec=_TRANSPARENT[codec.container])
    encoding.check_container(codec.container, suffix)
    if encoding.is_default:
        return codec
    if codec.fixed_rate:
        raise ValueError("y4m holds pictures as they are: nothing can be chosen about their encoding")
    name, encoder = encoding.chosen_encoder() or ("", codec.encoder)
    options, tag = codec.options, codec.tag
    if encoder != codec.encoder:
        options = _USUAL.get(encoder, {})
        if encoder in _HDR10:
            options = options | _hdr10(template.first.picture, encoder)
        tag = "hvc1" if name == "hevc" and codec.container_options else ""
    source_pixels = _pixels(template)
    if transparent and encoder in TRANSPARENT:
        source_pixels = "yuva420p" if encoder == "libvpx-vp9" else source_pixels.replace("yuv", "yuva")
    pixels = encoding.pixels or nearest_pixels(encoder, source_pixels)
    _check_pixels(pixels)
    if encoder == "libvpx-vp9" and codec.container in ("mp4", "mov") and pixels.startswith("yuv440"):
        raise ValueError(f"{suffix} files hold no VP9 in {pixels}, which .mkv and .webm do")
    options = options | encoding.options(encoder)
    if encoder == "libvpx-vp9" and has_alpha(av.VideoFormat(pixels)):
        options = options | {"auto-alt-ref": "0"}  # it does not do both at once
    if encoder == "ffv1" and min(template.width, template.height) < SMALLEST_SLICED:
        options = options | {"slices": "1"}
    if encoder == "prores_ks":
        options = options | {"profile": "4" if "444" in pixels else "3", "vendor": "apl0"}
    return replace(codec, encoder=encoder, pixels=pixels, options=options, tag=tag)


def _check_pixels(name: str) -> None:
    try:
        pixels = av.VideoFormat(name)
    except ValueError:
        raise ValueError(f"expected a pixel format such as yuv420p, got {name}") from None
    if not name.startswith(("yuv", "nv12", "p010", "gray")):
        raise ValueError(f"expected a pixel format of Y'CbCr, such as yuv444p10le, got {pixels.name}")


def _usual_codec(suffix: str, template: Reader) -> Codec:
    container = KINDS.get(suffix.lower())
    if container is None:
        raise ValueError(
            f"cannot write {suffix} files: expected {' '.join(KINDS)}, a folder, "
            "or a pattern of images such as out/%05d.png"
        )
    colour = _colour(template)
    deep = template.bits > 8
    if container == "yuv4mpegpipe":
        return Codec(container, "wrapped_avframe", _pixels(template), colour, {}, {"strict": "-1"})
    if container == "webm":
        if (
            deep and min(template.width, template.height) >= 16
        ):  # SVT-AV1 takes no smaller ones, and VP9 8 bits only
            options = _AV1 | _hdr10(template.first.picture, "libsvtav1")
            return Codec(container, "libsvtav1", "yuv420p10le", colour, options)
        pixels = re.sub(r"1\dle$", "", _pixels(template))
        return Codec(container, "libvpx-vp9", pixels, colour, _VP9)
    faststart = {} if container == "matroska" else {"movflags": "+faststart" + _phone_metadata_flag(template)}
    if (
        deep and min(template.width, template.height) >= 64
    ):  # in smaller pictures x265 writes past its buffers
        pixels, options = (
            _pixels(template, container == "matroska"),
            _HEVC | _hdr10(template.first.picture, "libx265"),
        )
        return Codec(container, "libx265", pixels, colour, options, faststart, "hvc1" if faststart else "")
    options = _H264 | _hdr10(template.first.picture, "libx264")
    return Codec(
        container, "libx264", _pixels(template, container == "matroska", top=10), colour, options, faststart
    )


def _colour(template: Reader) -> Colour:
    """Colour tags of Y'CbCr converted from a source: its own, else BT.709 with left-sited chroma."""
    source, colour = template.first.picture.format, template.colour
    if _subsampling(source) == (1, 1):
        colour = replace(colour, chroma=LEFT)
    still = is_rgb(source) or (is_gray(source) and template.stream is None)
    return replace(colour, matrix=1, range=LIMITED) if still else colour


def _phone_metadata_flag(template: Reader) -> str:
    """Muxer flag that keeps the metadata of phones and cameras, if there is any: with it, some players do not
    find the title.
    """
    names = {} if template.stream is None else template.stream.container.metadata
    return "+use_metadata_tags" if any(k.startswith("com.") or k in ("make", "model") for k in names) else ""


def _pixels(template: Reader, whole: bool = True, top: int = 12) -> str:
    """The Y'CbCr format nearest to the source's.

    ``whole``: convert RGB without chroma subsampling. ``top``: most bits that the encoder takes.
    """
    source = template.first.picture.format
    still = is_rgb(source) or is_gray(source)
    across, down = (1, 1) if is_rgb(source) and whole else (2, 2) if still else _subsampling(source)
    planes = {(2, 2): "yuv420p", (2, 1): "yuv422p"}.get((across, down), "yuv444p")
    if template.bits == 8:
        return planes
    return f"{planes}{min(10 if still or template.bits <= 10 else 12, top)}le"


def _subsampling(pixels: av.VideoFormat) -> tuple[int, int]:
    return min(2, 16 // pixels.chroma_width(16)), min(2, 16 // pixels.chroma_height(16))


def _hdr10(picture: av.VideoFrame, encoder: str) -> dict[str, str]:
    """Encoder option with a picture's HDR10 metadata, which PyAV cannot pass otherwise."""
    option, display, light, params = _HDR10[encoder]
    mastering = side_data_of(picture, "MASTERING_DISPLAY_METADATA")
    if mastering is not None:
        *pairs, has_primaries, has_luminance = struct.unpack("22i", mastering[:88])
        values = [Fraction(n, d) if d else Fraction(0) for n, d in zip(pairs[::2], pairs[1::2], strict=True)]
        if has_primaries and has_luminance:
            rx, ry, gx, gy, bx, by, wx, wy, low, high = _format_hdr10_values(values, encoder)
            params = [*params, f"{display}=G({gx},{gy})B({bx},{by})R({rx},{ry})WP({wx},{wy})L({high},{low})"]
    level = side_data_of(picture, "CONTENT_LIGHT_LEVEL")
    if level is not None:
        params = [*params, "{}={},{}".format(light, *struct.unpack("2I", level[:8]))]
    return {option: ":".join(params)} if params else {}


def _format_hdr10_values(values: list[Fraction], encoder: str) -> list[str]:
    """Coordinates and luminances in decimal for SVT-AV1, in integer steps for the others."""
    if encoder == "libsvtav1":
        return [f"{float(value):.5f}" for value in values]
    return [str(round(value * (50_000 if i < 8 else 10_000))) for i, value in enumerate(values)]
