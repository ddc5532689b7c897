"""Output: the writer for the name of an output.

::

    name.mp4, .mkv ... ──> VideoWriter        folder, out/%05d.png ──> ImageWriter      "-" ──> y4m on stdout
"""

from __future__ import annotations

import os
import re
from fractions import Fraction
from os import PathLike
from pathlib import Path

from tweenlet.runtime.folders import check_free, check_writable_folder
from tweenlet.video.codecs import DEFAULT, choose_codec
from tweenlet.video.encoding import Encoding
from tweenlet.video.image_writer import ImageWriter
from tweenlet.video.images import is_image, list_images
from tweenlet.video.reader import Reader
from tweenlet.video.retiming import TimeMap
from tweenlet.video.video_writer import VideoWriter
from tweenlet.video.writer import Writer


def keeps_alpha(target: str | PathLike[str], template: Reader, encoding: Encoding | None = None) -> bool:
    """Whether an output keeps the opacity of a source; if so, the source's notices do not mention it.

    Raises ValueError as :func:`write` does.
    """
    path = Path(target)
    if not template.is_transparent or str(target) == "-":
        return False
    if is_image(path):
        holds = path.suffix.lower() not in (".jpg", ".jpeg")
    else:
        holds = not path.suffix or path.is_dir()
        holds = holds or choose_codec(path.suffix, template, encoding or DEFAULT).keeps_alpha
    if holds:
        template.ignore("alpha")
    return holds


def write(
    target: str | PathLike[str],
    template: Reader,
    rate: Fraction,
    *,
    overwrite: bool = False,
    time_map: TimeMap | None = None,
    encoding: Encoding = DEFAULT,
    job: str = "",
) -> Writer:
    """Open an output with the size, depth, colour tags, metadata and sound of ``template``.

    ``target`` is a video file (.mp4 .m4v .mov .mkv .webm .y4m), a folder for PNG images, a pattern such as
    ``out/%05d.jpg``, or ``"-"`` (y4m on stdout). ``rate`` is the nominal frame rate; the times of the
    pictures decide (y4m and images have none). ``time_map`` retimes sound, subtitles and chapters like the
    pictures. ``encoding`` holds the choices about encoders. ``job`` identifies everything that determines the
    output: a video file then resumes an earlier run of the same job.

    Raises FileExistsError if the output exists and not ``overwrite``, FileNotFoundError if its folder is
    missing, ValueError for an unknown kind of file or an output that is the input.
    """
    name = str(target)
    if name == "-":
        if os.isatty(1):
            raise ValueError("standard output is a terminal: pipe it on, or name a file")
        return VideoWriter(None, "standard output", template, rate, time_map, encoding)
    path = Path(target)
    if is_image(path):
        if not re.fullmatch(r"[^%]*%(0\d+)?d[^%]*", path.name):
            raise ValueError(f"{name} names a single image: number them, as in {path.with_stem('%05d')}")
        folder, pattern = path.parent, path.name
    elif path.suffix and not path.is_dir():
        check_free(path, overwrite, () if template.path is None else (template.path,))
        return VideoWriter(path, name, template, rate, time_map, encoding, job)
    else:
        folder, pattern = path, "%05d.png"
    if not encoding.is_default:
        raise ValueError(f"{name} is for images: nothing can be chosen about their encoding")
    if (
        template.path is not None
        and folder.exists()
        and template.path.is_dir()
        and folder.samefile(template.path)
    ):
        raise ValueError(f"the output {name} is the folder of the input: choose another")
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"{folder} is a file, not a folder for images")
    if folder.is_dir() and list_images(folder) and not overwrite:
        raise FileExistsError(f"{folder} holds images already: --overwrite (overwrite=True) replaces them")
    check_writable_folder(folder if folder.is_dir() else folder.absolute().parent)
    return ImageWriter(folder, pattern, name, template, rate, overwrite)
