"""Video: reads and writes streams of frames: video files, folders and lists of images, y4m on a pipe.

::

    read(source) ──> Reader ──> Frame, Frame, Frame ... ──> Writer.write ──> the complete file, or nothing
                       │          └ .rgb() on demand            ▲
                       └──── audio, subtitles, chapters, tags ──┘   (copied wherever the output can hold them)

A frame goes from the decoder to the encoder unchanged; only frames made by a network pass through RGB. Memory
use is constant: one frame is held back until its duration is known, and every frame is decoded once.

    in    input.py             the reader of a name            container.py     opening files, URLs, pipes
          reader.py            a stream of frames              truncation.py    files cut short
          decoder.py           packets to pictures             rates.py         frame rate, stated durations
          frame_times.py       pictures to timed Frames        ffv1_checksums.py  damage in FFV1
          programmes.py        MPEG-TS programmes              deinterlacing.py  two fields to a picture
          notices.py           what is damaged or missing
    frame frame.py, conversion.py, colour.py, chroma.py        Y'CbCr to RGB and back without loss
          orientation.py       rotation, mirroring             static_areas.py  exact codes in static areas
          scene_detection.py   cuts, repeated frames           opacity.py         alpha, in and out
          native.py            compiled code, where loaded
    image images.py            still images, in and out        image_tags.py     ICC profile, EXIF
    out   output.py            the writer for a name           writer.py        what all writers share
          video_writer.py      one video file, y4m             image_writer.py  numbered images
          picture_encoder.py   pictures to packets             journal.py       segments of a job under way
          codecs.py            encoder and pixel format        headers.py       crop and pixel shape
          encoding.py          the user's choices of these     retiming.py, tempo.py   slower, faster
          streams.py           audio, subtitles, chapters      sinks.py, audio.py, subtitles.py   one stream
          timestamps.py        repairs packet timestamps       codec_parameters.py   what PyAV cannot copy

It may import :mod:`tweenlet.runtime` only; native.py hands it compiled code that is already loaded.
"""

from __future__ import annotations

from tweenlet.video.encoding import Encoding
from tweenlet.video.frame import Frame
from tweenlet.video.frame_times import IMAGE_RATE
from tweenlet.video.input import read
from tweenlet.video.notices import Notice
from tweenlet.video.output import keeps_alpha, write
from tweenlet.video.reader import Reader
from tweenlet.video.writer import Writer, write_files

__all__ = [
    "IMAGE_RATE",
    "Encoding",
    "Frame",
    "Notice",
    "Reader",
    "Writer",
    "keeps_alpha",
    "read",
    "write",
    "write_files",
]
