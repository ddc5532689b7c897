"""Read and write streams of frames: video files, folders and lists of images, y4m on a pipe.

::

    read(source) ──> Reader ──> Frame, Frame, Frame ... ──> Writer.write ──> the file, whole or not at all
                       │          └ .rgb() only when asked      ▲
                       └──── sound, subtitles, chapters, tags ──┘   (copied, never re-encoded)

A frame goes from the decoder to the encoder as it is; only a picture made by a network passes through RGB.
Memory is constant: one frame is held for its duration to be known, and every frame is decoded once.
"""

from __future__ import annotations

from tweenlet.video.frame import Frame
from tweenlet.video.notices import Notice
from tweenlet.video.read import Reader, read
from tweenlet.video.times import IMAGE_RATE
from tweenlet.video.write import Writer, whole, write

__all__ = ["IMAGE_RATE", "Frame", "Notice", "Reader", "Writer", "read", "whole", "write"]
