"""Pack: footage made small enough to travel to a machine that trains.

    folders of footage --scan--> usable clips --their middles, scaled--> H.264 files of `megabytes` together

A pack is a folder of videos, so that training reads it like any other footage. Frames are kept one to one:
the windows of a pack are windows of the footage.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import cv2
import numpy as np

from tweenlet.runtime.atomic import atomic_write_folder
from tweenlet.training.data.clips import fit_size, name_few, read_frames
from tweenlet.training.data.scan import ClipScan
from tweenlet.training.data.store import Progress, scan_clips
from tweenlet.video.container import system_error

RATE = 25
"""Frames per second that the videos claim; nothing depends on it."""


def transcode(
    data: Sequence[str | Path],
    out: str | Path,
    megabytes: float = 40,
    short_side: int = 360,
    max_frames: int = 240,
    notify: Callable[[str], None] | None = None,
    progress: Progress | None = None,
) -> list[Path]:
    """Write every usable clip of `data` into the new folder `out`; returns the files.

    Clips are scaled down to `short_side` pixels and cut to their `longest` middle frames; what `megabytes`
    (10^6 bytes, of all together) allow is shared by pixels. The folder appears whole or not at all.
    FileExistsError where it exists; ValueError where no clip is usable or one is a quintuplet.
    """
    out = Path(out)
    if out.exists():
        raise FileExistsError(f"{out} exists already")
    out.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write_folder(out) as building:
        names = _pack(data, building, megabytes, short_side, max_frames, notify, progress)
    return [out / name for name in names]


def _pack(
    data: Sequence[str | Path],
    folder: Path,
    megabytes: float,
    short_side: int,
    max_frames: int,
    notify: Callable[[str], None] | None,
    progress: Progress | None,
) -> list[str]:
    """Write every usable clip into an empty folder; returns the names of the files."""
    found = scan_clips(data, crop=32, progress=progress)
    if notify:
        notify(str(found))
    clips = sorted(found.training + found.held_out, key=lambda clip: clip.path)
    if quintuplets := [clip.path for clip in clips if clip.windows[0].quintuplet]:
        raise ValueError(
            f"expected consecutive frames, got {len(quintuplets)} quintuplets: {name_few(quintuplets)}"
        )
    sizes = {clip: _even(fit_size(clip.width, clip.height, short_side)) for clip in clips}
    pixels = {clip: w * h * min(clip.frames, max_frames) for clip, (w, h) in sizes.items()}
    bits_per_pixel = 0.95 * 8e6 * megabytes / sum(pixels.values())  # the containers take some
    names = _names(clips)
    for done, (clip, size) in enumerate(sizes.items(), 1):
        try:
            _encode(clip, folder / names[clip], size, bits_per_pixel, max_frames)
        except (av.FFmpegError, OSError) as error:
            raise system_error(error, f"cannot write {names[clip]}") from None
        if progress:
            progress("transcoding", done, len(sizes))
    return [names[clip] for clip in clips]


def _encode(
    clip: ClipScan, path: Path, size: tuple[int, int], bits_per_pixel: float, max_frames: int
) -> None:
    """The middle of a clip as one H.264 file of a (width, height)."""
    width, height = size
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", RATE, options={"preset": "slow", "g": "60"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.bit_rate = round(bits_per_pixel * width * height * RATE)
        first = max(0, clip.frames - max_frames) // 2
        for number, picture in enumerate(islice(read_frames(clip.path), first, first + max_frames)):
            small = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
            frame = av.VideoFrame.from_ndarray(np.asarray(small, np.uint8), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def _even(size: tuple[int, int]) -> tuple[int, int]:
    return size[0] // 2 * 2, size[1] // 2 * 2


def _names(clips: Sequence[ClipScan]) -> dict[ClipScan, str]:
    """A file name for every clip, numbered where two share one."""
    names: dict[ClipScan, str] = {}
    taken = set()
    for clip in clips:
        name, number = f"{clip.path.stem}.mp4", 1
        while name in taken:
            number += 1
            name = f"{clip.path.stem}-{number}.mp4"
        names[clip] = name
        taken.add(name)
    return names
