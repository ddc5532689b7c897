"""Transcode: copies of footage small enough to upload to a training machine.

    folders of footage --scan--> usable clips --middles, scaled--> H.264 files of `megabytes` in total

Training reads the resulting folder of videos like any other footage. Frames map one to one: windows of the
new videos are windows of the footage.
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
from tweenlet.training.data.clips import find_clips, fit_size, name_few, read_frames
from tweenlet.training.data.dataset import Progress
from tweenlet.training.data.scan import ClipScan, scan_footage
from tweenlet.video.container import system_error

RATE = 25
"""Nominal frames per second of the videos; nothing depends on it."""
SMALLEST = 32
"""Smallest short side of a clip, in pixels; smaller clips are left out."""
CONTAINER_SHARE = 0.05
"""Fraction of the bytes taken by containers rather than pictures."""


def transcode(
    data: Sequence[str | Path],
    out: str | Path,
    megabytes: float = 40,
    short_side: int = 360,
    max_frames: int = 240,
    notify: Callable[[str], None] | None = None,
    progress: Progress | None = None,
) -> list[Path]:
    """Write every usable clip as a small H.264 video into a new folder, atomically.

    Args:
        data: videos, and folders of videos or of frames.
        out: the new folder.
        megabytes: total size, in 10^6 bytes, shared among clips by their pixels.
        short_side: short side to scale clips down to, in pixels.
        max_frames: longest run of frames taken from a clip, from its middle.
        notify: called with a summary of the footage.
        progress: called with the name of the work under way, the units done and the total.

    Returns:
        The files.

    Raises:
        FileExistsError: ``out`` exists.
        FileNotFoundError: a path of ``data`` does not exist.
        ValueError: no clip is usable, or one is a quintuplet.
        OSError: a video cannot be written.

    """
    out = Path(out)
    if out.exists():
        raise FileExistsError(f"{out} exists already")
    out.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write_folder(out) as partial:
        clips = _usable_clips(data, notify, progress)
        names = _file_names(clips)
        sizes = {clip: _even(fit_size(clip.width, clip.height, short_side)) for clip in clips}
        pixels = sum(w * h * min(clip.frames, max_frames) for clip, (w, h) in sizes.items())
        bits_per_pixel = (1 - CONTAINER_SHARE) * 8e6 * megabytes / pixels
        for done, (clip, size) in enumerate(sizes.items(), 1):
            _encode(clip, partial / names[clip], size, bits_per_pixel, max_frames)
            if progress:
                progress("transcoding", done, len(sizes))
    return [out / names[clip] for clip in clips]


def _usable_clips(
    data: Sequence[str | Path], notify: Callable[[str], None] | None, progress: Progress | None
) -> list[ClipScan]:
    footage = scan_footage(find_clips(data), crop=SMALLEST, progress=progress)
    if notify:
        notify(str(footage))
    clips = sorted(footage.training + footage.held_out, key=lambda clip: clip.path)
    if quintuplets := [clip.path for clip in clips if clip.windows[0].quintuplet]:
        raise ValueError(
            f"expected consecutive frames, got {len(quintuplets)} quintuplets: {name_few(quintuplets)}"
        )
    return clips


def _encode(
    clip: ClipScan, path: Path, size: tuple[int, int], bits_per_pixel: float, max_frames: int
) -> None:
    """Write the middle of a clip as one H.264 file of a (width, height); OSError if that fails."""
    width, height = size
    first = max(0, clip.frames - max_frames) // 2
    try:
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", RATE, options={"preset": "slow", "g": "60"})
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            stream.bit_rate = round(bits_per_pixel * width * height * RATE)
            for number, picture in enumerate(islice(read_frames(clip.path), first, first + max_frames)):
                small = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
                frame = av.VideoFrame.from_ndarray(np.asarray(small, np.uint8), format="rgb24")
                frame.pts, frame.time_base = number, Fraction(1, RATE)
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
    except (av.FFmpegError, OSError) as error:
        raise system_error(error, f"cannot write {path.name}") from None


def _even(size: tuple[int, int]) -> tuple[int, int]:
    """Round a size down to even numbers, for 4:2:0."""
    return size[0] // 2 * 2, size[1] // 2 * 2


def _file_names(clips: Sequence[ClipScan]) -> dict[ClipScan, str]:
    """A file name per clip, numbered where names collide."""
    names: dict[ClipScan, str] = {}
    used = set()
    for clip in clips:
        name, number = f"{clip.path.stem}.mp4", 1
        while name in used:
            number += 1
            name = f"{clip.path.stem}-{number}.mp4"
        names[clip] = name
        used.add(name)
    return names
