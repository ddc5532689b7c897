"""Encoding: the user's choices for pictures and sound, and the encoders' options for them."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import cast

import av

from tweenlet.video.colour import bits_of, has_alpha, is_gray, is_rgb

SOFTWARE = {
    "h264": "libx264", "hevc": "libx265", "av1": "libsvtav1", "vp9": "libvpx-vp9", "prores": "prores_ks",
    "ffv1": "ffv1",
}  # fmt: skip
"""Codec -> default encoder."""
CONTAINERS = {
    "h264": ("mp4", "mov", "matroska"),
    "hevc": ("mp4", "mov", "matroska"),
    "av1": ("mp4", "matroska", "webm"),
    "vp9": ("webm", "matroska", "mp4"),
    "prores": ("mov", "matroska"),
    "ffv1": ("matroska",),
}
"""Codec -> containers for it."""
AUDIO = {"aac": ("mp4", "mov", "matroska"), "opus": ("webm", "matroska", "mp4")}
"""Audio codec -> containers for it."""
_QUALITY = {
    "libx264": "crf", "libx265": "crf", "libsvtav1": "crf", "libvpx-vp9": "crf", "h264_nvenc": "cq",
    "hevc_nvenc": "cq", "av1_nvenc": "cq", "h264_qsv": "global_quality", "hevc_qsv": "global_quality",
    "av1_qsv": "global_quality", "vp9_qsv": "global_quality", "h264_vaapi": "qp", "hevc_vaapi": "qp",
    "av1_vaapi": "qp", "h264_videotoolbox": "q:v", "hevc_videotoolbox": "q:v", "h264_amf": "qp_i",
}  # fmt: skip
"""Encoder -> its option for constant quality (crf)."""
TRANSPARENT = ("prores_ks", "ffv1", "libvpx-vp9")
"""Encoders that store opacity in a way players support."""
_PRESET = {"libvpx-vp9": "cpu-used"}
_LOSSLESS_OR_FIXED = ("prores_ks", "ffv1")


@dataclass(frozen=True)
class Encoding:
    """Choices for an output; None leaves a choice to the container and the source.

    Raises:
        ValueError: an unknown codec or encoder, or a choice that it does not support.

    """

    codec: str | None = None
    """h264, hevc, av1, vp9, prores or ffv1."""
    encoder: str | None = None
    """Name of an FFmpeg encoder, such as hevc_nvenc."""
    crf: float | None = None
    """Constant quality: lower is better; 16 to 28 for x264."""
    preset: str | None = None
    """Preset of the encoder: its trade-off between speed and size."""
    pixels: str | None = None
    """Pixel format, such as yuv420p."""
    audio: str | None = None
    """"copy", where the container allows it; "aac", "opus" or "none"."""

    def __post_init__(self) -> None:
        if self.codec is not None and self.codec not in SOFTWARE:
            raise ValueError(f"expected a codec of {', '.join(SOFTWARE)}, got {self.codec}")
        if self.audio not in (None, "copy", "none", *AUDIO):
            raise ValueError(f"expected audio to be copy, {', '.join(AUDIO)} or none, got {self.audio}")
        if self.crf is not None and not 0 <= self.crf <= 63:
            raise ValueError(f"expected a crf from 0 to 63, got {self.crf:g}")
        if self.encoder is not None:
            codec = _codec_of(self.encoder)
            if self.codec not in (None, codec):
                raise ValueError(f"{self.encoder} encodes {codec}, not {self.codec}")

    @property
    def is_default(self) -> bool:
        """Whether all choices about pictures are None."""
        return (self.codec, self.encoder, self.crf, self.preset, self.pixels) == (None,) * 5

    def chosen_encoder(self) -> tuple[str, str] | None:
        """(codec, encoder) if either is chosen."""
        if self.encoder is not None:
            return _codec_of(self.encoder), self.encoder
        return None if self.codec is None else (self.codec, SOFTWARE[self.codec])

    def options(self, encoder: str) -> dict[str, str]:
        """The options for an encoder."""
        options = {}
        if self.crf is not None:
            if encoder not in _QUALITY:
                raise ValueError(f"{encoder} has no crf")
            options[_QUALITY[encoder]] = f"{self.crf:g}"
        if self.preset is not None:
            if encoder in _LOSSLESS_OR_FIXED:
                raise ValueError(f"{encoder} has no presets")
            options[_PRESET.get(encoder, "preset")] = self.preset
        return options

    def check_container(self, container: str, suffix: str) -> None:
        """Raise ValueError if a container does not support the choices."""
        chosen = self.chosen_encoder()
        if chosen is not None and container not in CONTAINERS.get(chosen[0], (container,)):
            raise ValueError(f"{suffix} files hold no {chosen[0]}: expected one of {_suffixes(chosen[0])}")
        if self.audio in AUDIO and container not in AUDIO[self.audio]:
            raise ValueError(
                f"{suffix} files hold no {self.audio} here: choose another --audio, or kind of file"
            )


FINE = Fraction(1, 90000)
"""A time base as fine as those of videos with a variable rate."""


def nearest_pixels(encoder: str, pixels: str) -> str:
    """The encoder's pixel format that preserves most of another: opacity first, then chroma, then bits."""
    target = av.VideoFormat(pixels)

    def loss(name: str) -> tuple[float, ...]:
        own = av.VideoFormat(name)
        across, down = (max(0, s(own) - s(target)) for s in (_across, _down))
        fewer = max(0, bits_of(target) - bits_of(own))
        return (
            has_alpha(target) and not has_alpha(own), is_rgb(own), is_gray(own), across + down, fewer,
            has_alpha(own) and not has_alpha(target), bits_of(own), -_across(own) - _down(own),
        )  # fmt: skip

    names = [
        f.name
        for f in cast("list[av.VideoFormat]", av.Codec(encoder, "w").video_formats or [])
        if f.name.startswith(("yuv", "nv12", "p010")) and not f.name.startswith(("yuvj", "yuyv", "nv2"))
        and "msb" not in f.name and bits_of(f) in (8, 9, 10, 12, 14, 16)
    ]  # fmt: skip
    return pixels if pixels in names or not names else min(names, key=loss)


def check_encoder(encoder: str, pixels: str, size: tuple[int, int], options: dict[str, str]) -> None:
    """Open an encoder on trial; ValueError, with its name, if it fails, for example without its device."""
    trial = cast(av.VideoCodecContext, av.CodecContext.create(encoder, "w"))
    known = [f.name for f in av.Codec(encoder, "w").video_formats or []]
    if known and pixels not in known:
        raise ValueError(f"{encoder} takes no {pixels}: expected one of {', '.join(known[:12])}")
    trial.width, trial.height, trial.pix_fmt = *size, pixels
    trial.time_base, trial.framerate, trial.options = FINE, Fraction(25), options
    level = av.logging.get_level()
    av.logging.set_level(av.logging.ERROR)  # so that FFmpeg logs why
    try:
        with av.logging.Capture() as lines:
            trial.open()
    except (av.FFmpegError, ValueError) as error:
        said = {k: v for k, v in options.items() if k in ("preset", "cpu-used", *_QUALITY.values())}
        asked = ", ".join(f"{k} {v}" for k, v in said.items())
        reason = lines[0][2].strip() if lines else getattr(error, "strerror", None) or error
        raise ValueError(f"{encoder} cannot be used here with {asked or pixels}: {reason}") from None
    finally:
        av.logging.set_level(level)


def _codec_of(encoder: str) -> str:
    try:
        codec = av.Codec(encoder, "w")
    except av.codec.codec.UnknownCodecError:
        raise ValueError(f"this FFmpeg has no encoder {encoder}") from None
    if codec.type != "video":
        raise ValueError(f"{encoder} is no encoder of video")
    return str(codec.canonical_name)


def _across(pixels: av.VideoFormat) -> int:
    return 0 if is_rgb(pixels) else 16 // max(1, pixels.chroma_width(16)) - 1


def _down(pixels: av.VideoFormat) -> int:
    return 0 if is_rgb(pixels) else 16 // max(1, pixels.chroma_height(16)) - 1


def _suffixes(codec: str) -> str:
    names = {"mp4": ".mp4", "mov": ".mov", "matroska": ".mkv", "webm": ".webm"}
    return ", ".join(names[container] for container in CONTAINERS[codec])
