"""Published: Vimeo-90K and BVI-DVC as in papers: every sample once an epoch, with a new crop each time.

Nothing is stored: frames are decoded when a sample is drawn.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tweenlet.training.data.clips import (
    QUINTUPLET,
    WINDOW,
    UnusableError,
    clip_digest,
    is_quintuplet,
    name_few,
    read_frames,
    read_image,
)
from tweenlet.training.data.dataset import FINGERPRINT_SAMPLES

FRAMES = (1, 3, 4, 5, 7)
"""Images of a septuplet in a sample: inputs 1, 3, 5 and 7, truth 4."""


class PublishedDataset:
    """Septuplets of Vimeo-90K and quintuplets of BVI-DVC, as a dataset to draw batches from.

    Args:
        clips: their folders, from :func:`~tweenlet.training.data.clips.find_clips`.
        crop: side of the crops, in pixels, that every sample must have room for.

    Raises:
        ValueError: a clip is neither, or too small.
        OSError: an image is missing or cannot be read.

    """

    def __init__(self, clips: Iterable[Path], crop: int) -> None:
        self.clips = list(clips)
        self.sources = [str(clip) for clip in self.clips]
        """Folder of each sample."""
        self.side = crop
        """The largest crop that fits into every sample, in pixels."""
        strangers = [clip for clip in self.clips if not is_quintuplet(clip) and not _is_septuplet(clip)]
        if strangers or not self.clips:
            raise ValueError(
                "expected septuplets of Vimeo-90K and quintuplets of BVI-DVC as published, "
                f"got {name_few(strangers) or 'none'}"
            )
        self._sizes: dict[int, tuple[int, int]] = {}
        for first in (0, len(self.clips) - 1):
            self.size_of(first)

    def __len__(self) -> int:
        return len(self.clips)

    @property
    def fingerprint(self) -> str:
        """Digest of the samples: their number, and the content of some."""
        digest = hashlib.blake2b(str(len(self)).encode(), digest_size=16)
        for number in np.linspace(0, len(self) - 1, min(FINGERPRINT_SAMPLES, len(self))).astype(int):
            digest.update(clip_digest(self.clips[number]).encode())
        return digest.hexdigest()

    def size_of(self, index: int) -> tuple[int, int]:
        """Height and width of a sample, in pixels; UnusableError if the crop does not fit."""
        if index not in self._sizes:
            clip = self.clips[index]
            file = clip / QUINTUPLET if is_quintuplet(clip) else clip / "im4.png"
            try:
                with Image.open(file) as picture:
                    width, height = picture.size
            except OSError:
                raise UnusableError(file, "is not a readable image") from None
            width = width // 5 if is_quintuplet(clip) else width
            if min(width, height) < self.side:
                raise UnusableError(clip, f"{width}x{height} is smaller than a crop of {self.side}")
            self._sizes[index] = height, width
        return self._sizes[index]

    def window(self, index: int) -> NDArray[np.uint8]:
        """The five frames of a sample, (5, 3, h, w), RGB; UnusableError if one cannot be read."""
        clip = self.clips[index]
        if is_quintuplet(clip):
            frames = list(read_frames(clip))
        else:
            frames = [read_image(clip / f"im{number}.png") for number in FRAMES]
        return np.stack(frames).transpose(0, 3, 1, 2)


def _is_septuplet(clip: Path) -> bool:
    return all((clip / f"im{number}.png").exists() for number in range(1, WINDOW + 1))
