"""Codec parameters of a stream, which PyAV does not show, copied whole.

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
    """Add a stream to ``output`` that has the codec parameters of ``source``, whatever its codec is.

    PyAV's own way asks FFmpeg first, which denies what Matroska holds under the names of old Windows codecs
    (ADPCM, WMA, mu-law). Here only the writing of the header shows whether the output takes it.
    """
    stream = output.add_stream_from_template(_any_stream())
    BitStreamFilterContext("null", source, stream)
    stream.codec_context.codec_tag = "\0\0\0\0"  # the output's own name of the codec
    return stream


def _any_stream() -> AudioStream:
    return av.open(io.BytesIO(), "w", format="matroska").add_stream("pcm_s16le", 48000)
