"""Codec parameters: copy those of a stream, which PyAV does not expose.

::

    stream ── add_parameters ──> another file, also where PyAV itself would refuse the codec
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


def add_parameters(source: Stream, output: OutputContainer) -> Stream:
    """Add a stream to ``output`` with the codec parameters of ``source``, for any codec.

    PyAV asks FFmpeg first, which rejects old Windows codecs (ADPCM, WMA, mu-law) that Matroska holds. Here,
    writing the header shows whether the output accepts the stream.
    """
    stream = output.add_stream_from_template(_any_stream())
    BitStreamFilterContext("null", source, stream)
    stream.codec_context.codec_tag = "\0\0\0\0"  # the output's own name of the codec
    return stream


def _any_stream() -> AudioStream:
    return av.open(io.BytesIO(), "w", format="matroska").add_stream("pcm_s16le", 48000)
