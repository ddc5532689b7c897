"""Clips: find videos, folders of frames and published data sets, and read them frame by frame.

    paths --find_clips--> clips --read_frames, read_thumbnails--> pictures

A folder is recognised by its layout:

    sequences/ and sep_trainlist.txt   Vimeo-90K: a clip of im1.png .. im7.png for every line of the list
    quintuplet.png                     a window of BVI-DVC: its frames 1, 3, 5, 7, 4 as square tiles in a row
    images                             a clip, in the natural order of their names
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from tweenlet.video.conversion import to_rgb8
from tweenlet.video.images import decode_image, list_images
from tweenlet.video.suffixes import IMAGES, is_video

Pixels = NDArray[np.uint8]

WINDOW = 7
"""Consecutive frames of one sample, and so the fewest frames of a clip."""
TRAIN_LIST, TEST_LIST = "sep_trainlist.txt", "sep_testlist.txt"
"""Vimeo-90K's lists: a line such as 00001/0001 for each septuplet below sequences/."""
QUINTUPLET = "quintuplet.png"
"""Name of BVI-DVC's files of five frames."""
DIGESTED = 1 << 14
"""Bytes at either end of a file that enter its digest."""
TILES = (0, 1, 4, 2, 3)
"""Tiles of a quintuplet in order of time."""


class UnusableError(OSError):
    """A clip cannot be used: ``file`` is at fault, ``reason`` says why."""

    def __init__(self, file: Path, reason: str) -> None:
        super().__init__(f"{file}: {reason}")
        self.file, self.reason = file, reason


def find_clips(paths: Iterable[str | Path]) -> list[Path]:
    """List every video file and every folder of images at or below the paths, complete or not.

    For Vimeo-90K, or a folder within it, these are the septuplets of the training list only, including
    missing ones.

    Raises:
        FileNotFoundError: a path does not exist, or Vimeo-90K lacks its training list.
        ValueError: a path holds no clip, or a septuplet is listed for training and for testing.

    """
    clips: set[Path] = set()
    for path in map(Path, paths):
        if not path.exists():
            raise FileNotFoundError(f"no such file or folder: {path}")
        here = set(_clips_at(path))
        if not here:
            raise ValueError(f"no video, no folder of images and no septuplet to train on in {path}")
        clips |= here
    return sorted(clips)


def _clips_at(path: Path) -> Iterator[Path]:
    if path.is_file() and is_video(path):
        yield path
    here = path.absolute()
    for root in (parent.parent for parent in [here, *here.parents] if parent.name == "sequences"):
        if _is_vimeo(root):
            yield from (clip for clip in _septuplets(root) if clip.is_relative_to(here))
            return
    for place, folders, names in os.walk(path, followlinks=True):
        folder = Path(place)
        if _is_vimeo(folder):
            yield from _septuplets(folder)
            folders.remove("sequences")
        videos = [folder / name for name in names if is_video(Path(name))]
        yield from videos
        images = sum(Path(name).suffix.lower() in IMAGES for name in names)
        if images >= WINDOW or (images and not videos):
            yield folder


def _is_vimeo(folder: Path) -> bool:
    return (folder / "sequences").is_dir() and any((folder / n).exists() for n in (TRAIN_LIST, TEST_LIST))


def _septuplets(root: Path) -> list[Path]:
    """The training septuplets of Vimeo-90K, existing or not; errors are those of :func:`find_clips`."""
    if not (root / TRAIN_LIST).exists():
        raise FileNotFoundError(f"{root} has sequences and {TEST_LIST} but no {TRAIN_LIST}")
    train, test = (
        set((root / name).read_text(encoding="utf-8").split()) if (root / name).exists() else set()
        for name in (TRAIN_LIST, TEST_LIST)
    )
    if both := sorted(train & test):
        raise ValueError(f"{len(both)} septuplets are in {TRAIN_LIST} and in {TEST_LIST}: {name_few(both)}")
    return [root / "sequences" / name for name in train]


def name_few(names: Sequence[object], most: int = 3) -> str:
    """Join the first ``most`` names, and count the rest."""
    more = [f"and {len(names) - most} more"] if len(names) > most else []
    return ", ".join([*map(str, names[:most]), *more])


def list_frames(folder: Path) -> list[Path]:
    """The images of a folder, in the natural order of their names."""
    return list_images(folder, IMAGES)


def clip_size(clip: Path) -> int:
    """Bytes on disk; 0 for a clip that is missing."""
    files = list_frames(clip) if clip.is_dir() else [clip]
    return sum(file.stat().st_size for file in files if file.exists())


def clip_digest(clip: Path) -> str:
    """A digest of a clip's content, independent of its path; "" if the clip is missing.

    It covers the size of each file and DIGESTED bytes at both ends of the first and last, enough to tell
    clips apart.
    """
    files = list_frames(clip) if clip.is_dir() else [clip]
    files = [file for file in files if file.exists()]
    digest = hashlib.blake2b(digest_size=12)
    for file in files:
        digest.update(f"{file.name if clip.is_dir() else ''} {file.stat().st_size}\n".encode())
    for path in dict.fromkeys((*files[:1], *files[-1:])):
        with path.open("rb") as opened:
            digest.update(opened.read(DIGESTED))
            opened.seek(max(0, path.stat().st_size - DIGESTED))
            digest.update(opened.read())
    return digest.hexdigest() if files else ""


def read_image(path: Path) -> Pixels:
    """Read an image, (H, W, 3) uint8 RGB; UnusableError if it cannot be read or is truncated."""
    try:
        picture = decode_image(path)
    except (OSError, ValueError):
        raise UnusableError(path, "is not a readable image") from None
    if path.suffix.lower() in (".jpg", ".jpeg") and _is_cut_short(path.read_bytes()):
        raise UnusableError(path, "is not a readable image")
    return to_rgb8(picture)


def _is_cut_short(jpeg: bytes) -> bool:
    """Whether the last scan of a JPEG has no end; decoders fill the missing part with grey."""
    return jpeg.rfind(b"\xff\xd9") < jpeg.rfind(b"\xff\xda")


def read_frames(clip: Path) -> Iterator[Pixels]:
    """Read every frame of a clip in order of time, (H, W, 3) uint8 RGB, converted as for inference.

    UnusableError if the clip cannot be read.
    """
    if is_quintuplet(clip):
        yield from _tiles(clip / QUINTUPLET)
    elif clip.is_dir():
        for path in _frame_files(clip):
            yield read_image(path)
    else:
        for frame in _decoded(clip):
            yield to_rgb8(frame)


def is_quintuplet(clip: Path) -> bool:
    """Whether a clip is a folder with a quintuplet, which holds only frames 0, 2, 3, 4 and 6 of seven."""
    return (clip / QUINTUPLET).exists()


def _tiles(path: Path) -> Iterator[Pixels]:
    picture = read_image(path)
    height, width = picture.shape[:2]
    if width != 5 * height:
        raise UnusableError(path, f"expected five square tiles side by side, got {width}x{height} pixels")
    for tile in TILES:
        yield picture[:, tile * height : (tile + 1) * height]


def _frame_files(folder: Path) -> list[Path]:
    """The images of a folder; for a septuplet, exactly its seven."""
    if folder.parent.parent.name != "sequences" or not _is_vimeo(folder.parents[2]):
        return list_frames(folder)
    files = [folder / f"im{number}.png" for number in range(1, WINDOW + 1)]
    for file in files:
        if not file.exists():
            raise UnusableError(file, "is missing from a septuplet")
    return files


def read_thumbnails(clip: Path, short_side: int) -> Iterator[tuple[Pixels, tuple[int, int]]]:
    """Read every frame of a clip as a grey thumbnail (h, w) uint8, with the frame's (width, height)."""
    if clip.is_dir():
        for picture in read_frames(clip):
            height, width = picture.shape[:2]
            small = cv2.resize(picture, fit_size(width, height, short_side), interpolation=cv2.INTER_AREA)
            yield np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), np.uint8), (width, height)
        return
    for frame in _decoded(clip):
        w, h = fit_size(frame.width, frame.height, short_side)
        grey = frame.reformat(width=w, height=h, format="gray", interpolation="AREA")
        yield np.asarray(grey.to_ndarray(), np.uint8), (frame.width, frame.height)


def _decoded(clip: Path) -> Iterator[av.VideoFrame]:
    try:
        with av.open(f"file:{clip}") as container:  # a name may look like a protocol
            if not container.streams.video:
                raise UnusableError(clip, "has no video in it")
            yield from container.decode(container.streams.video[0])
    except av.FFmpegError as error:
        raise UnusableError(clip, f"cannot be read: {error.strerror}") from error


def fit_size(width: int, height: int, short_side: int) -> tuple[int, int]:
    """Scale a (width, height) down so that its short side is at most ``short_side``."""
    scale = min(1.0, short_side / min(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))
