"""Video: reads and writes streams of frames: video files, folders and lists of images, y4m on a pipe.

::

    read(source) ──> Reader ──> Frame, Frame, Frame ... ──> Writer.write ──> the complete file, or nothing
                       │          └ .rgb() on demand            ▲
                       └──── audio, subtitles, chapters, tags ──┘   (copied wherever the output can hold them)

A frame goes from the decoder to the encoder unchanged; only frames made by a network pass through RGB. Memory
use is constant: one frame is held back until its duration is known, and every frame is decoded once.

    reader.py            any source as a Reader           writer.py           a Writer for any output
    container.py         opening files, URLs, pipes       codecs.py           encoder, pixel format, options
    decoder.py           packets to pictures              headers.py          crop and pixel shape, patched in
    frame_times.py       pictures to timed Frames         streams.py          audio, subtitles, attachments
    rates.py             frame rate, stated durations     sinks.py            copying or converting one stream
    truncation.py        files cut short                  timestamps.py       packet timestamps made to rise
    notices.py           what is damaged or missing       codec_parameters.py streams PyAV refuses to copy
    programmes.py        MPEG-TS programmes               static_areas.py     exact codes where nothing moves
    ffv1_checksums.py    damage in FFV1                   images.py           still images, in and out
    frame.py, chroma.py  Y'CbCr to RGB and back, exactly  image_tags.py       ICC profile, EXIF
    orientation.py       rotation and mirroring           scene_detection.py  cuts and repeated frames

It may import :mod:`tweenlet.runtime` only.
"""

from __future__ import annotations

from tweenlet.video.frame import Frame
from tweenlet.video.frame_times import IMAGE_RATE
from tweenlet.video.notices import Notice
from tweenlet.video.reader import Reader, read
from tweenlet.video.writer import Writer, whole, write

__all__ = ["IMAGE_RATE", "Frame", "Notice", "Reader", "Writer", "read", "whole", "write"]
