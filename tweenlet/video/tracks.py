"""What a video carries beside its pictures: sound, subtitles, attachments, chapters, names; copied as it is.

::

    source file ── demuxed a second time, without the video ──> packets up to a time ──> output container

The packets are pulled only as far as the pictures have come: nothing piles up in memory, and nothing is muxed
before the first picture (which would open the encoder and write the header too early).
"""

from __future__ import annotations

import warnings
from fractions import Fraction
from pathlib import Path

import av

from tweenlet.video.read import open_container, start_of

_OF_THE_FILE = {"major_brand", "minor_version", "compatible_brands", "encoder", "duration"}


def copy_names(source: av.container.InputContainer, output: av.container.OutputContainer) -> None:
    """Copy the title, artist and so on of a file, but not what describes the old file itself."""
    output.metadata.update({k: v for k, v in source.metadata.items() if k.lower() not in _OF_THE_FILE})


class Tracks:
    """The streams of a video file beside the first picture stream, copied bit by bit into an output."""

    def __init__(self, path: Path, output: av.container.OutputContainer) -> None:
        """Open ``path`` anew and add its streams to ``output``, whose picture stream exists already.

        Raises ValueError for a sound stream that the output's kind of file cannot hold; for a subtitle stream
        that it cannot hold there is a UserWarning.
        """
        self._source = open_container(str(path), str(path), path, None)
        self._output = output
        self._start = start_of(self._source)
        self._copies: dict[int, av.stream.Stream] = {}
        try:
            for stream in self._source.streams:
                self._add(stream)
            self._copy_chapters()
        except BaseException:
            self._source.close()
            raise
        streams = [self._source.streams[index] for index in self._copies]
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
                packet.stream = self._copies[packet.stream_index]
                self._output.mux_one(packet)
            self._next = next(self._packets, None)

    def close(self) -> None:
        """Let go of the source file."""
        self._source.close()

    def _add(self, stream: av.stream.Stream) -> None:
        if stream.type == "attachment":
            if "matroska" in self._output.format.name:
                copy = self._output.add_stream_from_template(stream)
                copy.metadata.update(stream.metadata)
        elif stream.type in ("audio", "subtitle"):
            codec = "unknown" if stream.codec_context is None else stream.codec_context.name
            what = f"the {'sound' if stream.type == 'audio' else 'subtitle'} stream {stream.index} ({codec})"
            try:
                copy = self._output.add_stream_from_template(stream)
            except ValueError:
                if stream.type == "audio":
                    raise ValueError(
                        f"{what} cannot be copied into this kind of file: choose .mkv, or leave the sound out"
                    ) from None
                warnings.warn(f"{what} cannot be copied into this kind of file and is left out", stacklevel=4)
                return
            copy.metadata.update(stream.metadata)
            copy.disposition = stream.disposition
            self._copies[stream.index] = copy

    def _copy_chapters(self) -> None:
        chapters = self._source.chapters()
        for chapter in chapters:
            shift = round(self._start / (chapter["time_base"] or Fraction(1)))
            chapter["start"] -= shift
            chapter["end"] -= shift
        self._output.set_chapters(chapters)
