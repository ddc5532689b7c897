"""Codec parameters of a stream, which PyAV does not show: copied whole, or read off a header written for it.

::

    stream ── add_parameters ──> another file, also where PyAV itself would refuse the codec
    stream ── chroma_location ─> in-memory Matroska header ──> where its chroma samples lie
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import av
from av.bitstream import BitStreamFilterContext
from av.container import OutputContainer
from av.stream import Stream

if TYPE_CHECKING:
    from av.audio.stream import AudioStream

UNKNOWN, LEFT, CENTER, TOP_LEFT, TOP = range(5)  # AVChromaLocation
_SITINGS = {(1, 2): LEFT, (2, 2): CENTER, (1, 1): TOP_LEFT, (2, 1): TOP}
_HORIZONTAL, _VERTICAL = b"\x55\xb7\x81", b"\x55\xb8\x81"  # Matroska's ChromaSiting elements of one byte


def add_parameters(source: Stream, output: OutputContainer) -> Stream:
    """Add a stream to ``output`` that has the codec parameters of ``source``, whatever its codec is.

    PyAV's own way asks FFmpeg first, which denies what Matroska holds under the names of old Windows codecs
    (ADPCM, WMA, mu-law). Here only the writing of the header shows whether the output takes it.
    """
    stream = output.add_stream_from_template(_any_stream())
    BitStreamFilterContext("null", source, stream)
    stream.codec_context.codec_tag = "\0\0\0\0"  # the output's own name of the codec
    return stream


def chroma_location(stream: Stream) -> int:
    """Where the chroma samples of a video stream lie, as FFmpeg numbers it: LEFT, CENTER, TOP_LEFT, TOP, or
    UNKNOWN.
    """
    header = io.BytesIO()
    try:
        with av.open(header, "w", format="matroska") as output:
            copy = add_parameters(stream, output)
            if stream.codec_context.name == "rawvideo":
                copy.codec_context.codec_tag = "I420"  # Matroska asks for one, and it may be any
            output.start_encoding()
    except (av.FFmpegError, ValueError):
        return UNKNOWN
    written = header.getvalue()
    across, down = (written.find(element) + 3 for element in (_HORIZONTAL, _VERTICAL))
    if across < 3 or down < 3:
        return UNKNOWN
    return _SITINGS.get((written[across], written[down]), UNKNOWN)


def _any_stream() -> AudioStream:
    return av.open(io.BytesIO(), "w", format="matroska").add_stream("pcm_s16le", 48000)
