"""What a video carries beside its pictures: sound, subtitles, attachments, chapters, names.

::

    source file ── demuxed a second time, without the video ──> packets up to a time ── Way ──> output

The packets are pulled only as far as the pictures have come: nothing piles up in memory, and nothing is muxed
before the first picture (which would open the encoder and write the header too early).
"""

from __future__ import annotations

import warnings
from collections.abc import Container
from contextlib import suppress
from fractions import Fraction

from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.stream import Stream
from av.subtitles.stream import SubtitleStream

from tweenlet.video.container import Place, open_container, start_of
from tweenlet.video.convert import Copy, Sound, Text, Way

_OF_THE_FILE = {"major_brand", "minor_version", "compatible_brands", "encoder", "duration"}


def copy_names(source: InputContainer, output: OutputContainer) -> None:
    """Copy the title, artist and so on of a file, but not what describes the old file itself."""
    output.metadata.update({k: v for k, v in source.metadata.items() if k.lower() not in _OF_THE_FILE})


class Tracks:
    """The streams of a video file beside its pictures: copied, or converted where the output asks for it."""

    def __init__(self, place: Place, output: OutputContainer, indices: Container[int]) -> None:
        """Open ``place`` anew and add its streams of these indices to ``output``, which has the film already.

        A stream that this kind of file can hold in no way is left out with a UserWarning.
        """
        self._name = place.name if place.path is None else place.path.name
        self._source = open_container(place)
        self._output = output
        self._start = start_of(self._source)
        self._ways: dict[int, Way] = {}
        try:
            for stream in self._source.streams:
                if stream.index in indices:
                    self._add(stream)
            self._copy_chapters()
        except BaseException:
            self._source.close()
            raise
        streams = [self._source.streams[index] for index in self._ways]
        self._packets = self._source.demux(streams) if streams else iter(())
        self._next = next(self._packets, None)

    def copy_until(self, time: Fraction | None) -> None:
        """Mux the packets that begin before a time in seconds; with None, all that are left."""
        while (packet := self._next) is not None:
            if packet.dts is not None and packet.time_base is not None:
                if time is not None and packet.dts * packet.time_base - self._start >= time:
                    return
                shift = round(self._start / packet.time_base)
                packet.dts -= shift
                packet.pts = packet.dts if packet.pts is None else packet.pts - shift
                self._output.mux(self._ways[packet.stream_index].convert(packet))
            self._next = next(self._packets, None)
        if time is None:
            for way in self._ways.values():
                self._output.mux(way.finish())

    def close(self) -> None:
        """Let go of the source file."""
        self._source.close()

    def _add(self, stream: Stream) -> None:
        if stream.type == "attachment" and self._output.format.name == "matroska":
            self._output.add_stream_from_template(stream).metadata.update(stream.metadata)
        elif stream.type in ("audio", "subtitle"):
            way = self._way(stream)
            if way is None:
                codec = "unknown" if stream.codec_context is None else stream.codec_context.name
                what = f"{stream.type} stream {stream.index} ({codec}) of {self._name}"
                warnings.warn(f"the {what} does not fit into this kind of file and is left out", stacklevel=6)
            else:
                way.stream.metadata.update(stream.metadata)
                way.stream.disposition = stream.disposition
                self._ways[stream.index] = way

    def _way(self, stream: Stream) -> Way | None:
        with suppress(ValueError):
            return Copy(stream, self._output)
        with suppress(ValueError):
            if isinstance(stream, AudioStream):
                return Sound(stream, self._output)
            if isinstance(stream, SubtitleStream):
                return Text(stream, self._output)
        return None

    def _copy_chapters(self) -> None:
        chapters = self._source.chapters()
        for chapter in chapters:
            shift = round(self._start / (chapter["time_base"] or Fraction(1)))
            chapter["start"] -= shift
            chapter["end"] -= shift
        self._output.set_chapters(chapters)
