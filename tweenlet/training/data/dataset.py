"""The crop dataset: training samples on disk, decoded once and read through memory maps.

    folder/recipe.json                                           how it was built, and from which files
    folder/{train,validation}/frames.npy   (N, 5, 3, h, w) uint8     I0 I1 truth I2 I3, RGB
    folder/{train,validation}/sources.json                       clip and frame of each sample, as text
    folder/{train,validation}/places.json                        the same as a CropLocation each, or null

:mod:`tweenlet.training.data.write` writes it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tweenlet.runtime.disk_space import preallocate
from tweenlet.runtime.json_file import read_json

FINGERPRINT_SAMPLES = 256
"""Most samples that enter a fingerprint."""
Progress = Callable[[str, int, int], None]
"""Called with the name of the work under way, the units done and the total."""


@dataclass(frozen=True)
class CropLocation:
    """Location of a sample in the footage."""

    clip: str
    """Path of the clip."""
    first: int
    """First frame of the window, counted from 0; frame first + 3 stride is the truth."""
    stride: int
    width: int
    """Width of the whole frame after scaling, pixels."""
    height: int
    """Height of the whole frame after scaling, pixels."""
    top: int
    """Top edge of the crop within the scaled frame, pixels."""
    left: int
    """Left edge of the crop within the scaled frame, pixels."""

    def __str__(self) -> str:
        return f"{self.clip}#{self.first}+{self.stride}"


class Dataset(Protocol):
    """Samples to draw batches from."""

    sources: list[str]
    """Origin of each sample, for messages."""

    def __len__(self) -> int: ...

    @property
    def side(self) -> int:
        """The largest crop that fits into every sample, in pixels."""

    @property
    def fingerprint(self) -> str:
        """Digest of the samples' content."""

    def size_of(self, _index: int, /) -> tuple[int, int]:
        """Height and width of a sample, in pixels."""

    def window(self, _index: int, /) -> NDArray[np.uint8]:
        """The five frames of a sample, (5, 3, h, w), RGB."""


class CropDataset:
    """The training or the validation samples of a dataset, left on disk.

    Args:
        folder: ``train`` or ``validation`` within the dataset's folder.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file is damaged; the message names it.

    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.frames: NDArray[np.uint8] = load_array(folder / "frames.npy")
        """(N, 5, 3, h, w): two frames before the truth, the truth, two frames after it, RGB."""
        self.sources: list[str] = [str(source) for source in _load_list(folder / "sources.json")]
        """Clip, first frame and stride of each sample, as ``clip.mp4#12+1``; ``synthetic`` for scenes."""
        self.locations: list[CropLocation | None] = _load_locations(folder / "places.json")
        """Location of each sample, None if synthetic; empty in datasets older than this list."""
        self._check()

    def _check(self) -> None:
        count, *shape = self.frames.shape
        if self.frames.dtype != np.uint8 or len(shape) != 4 or shape[:2] != [5, 3]:
            raise damage_error(self.folder / "frames.npy", f"{self.frames.dtype} of {self.frames.shape}")
        if len(self.sources) != count:
            raise damage_error(
                self.folder / "sources.json", f"{len(self.sources)} entries for {count} samples"
            )
        if len(self.locations) not in (count, 0):
            raise damage_error(
                self.folder / "places.json", f"{len(self.locations)} entries for {count} samples"
            )

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def side(self) -> int:
        """The largest crop that fits into every sample, in pixels."""
        return int(self.frames.shape[-1])

    def size_of(self, _index: int) -> tuple[int, int]:
        """Height and width of a sample, in pixels."""
        height, width = self.frames.shape[-2:]
        return height, width

    def window(self, index: int) -> NDArray[np.uint8]:
        """The five frames of a sample, (5, 3, h, w), RGB."""
        return np.asarray(self.frames[index])

    @property
    def fingerprint(self) -> str:
        """Digest of the samples' content: their shape, and the middle rows of some of the truths."""
        digest = hashlib.blake2b(repr(self.frames.shape).encode(), digest_size=16)
        for number in np.linspace(0, len(self) - 1, min(FINGERPRINT_SAMPLES, len(self))).astype(int):
            digest.update(
                np.ascontiguousarray(self.frames[number, 2, :, self.frames.shape[3] // 2]).tobytes()
            )
        return digest.hexdigest()


def create_array(path: Path, shape: tuple[int, ...]) -> np.memmap[Any, Any]:
    """Memory-map a new .npy file of zeros, preallocated on disk; OSError if the disk is full.

    (Without preallocation, a disk that fills up ends the process by SIGBUS on writing to the map.)
    """
    try:
        array: np.memmap[Any, Any] = np.lib.format.open_memmap(path, "w+", np.uint8, shape)
    except OSError as error:
        raise OSError(error.errno, f"cannot write {path}: {error.strerror}") from None
    preallocate(path, path.stat().st_size)
    return array


def load_array(path: Path) -> NDArray[Any]:
    """Memory-map a .npy file; ValueError if it is damaged."""
    try:
        return np.lib.format.open_memmap(path, mode="r")
    except OSError:
        raise
    except Exception as error:  # numpy evaluates the header as Python
        raise damage_error(path, str(error)) from error


def damage_error(path: Path, reason: str) -> ValueError:
    """The error to raise for a damaged file of a dataset."""
    return ValueError(f"{path} is damaged ({reason}): remove what it belongs to, and it will be rebuilt")


def _load_list(path: Path) -> list[Any]:
    values = read_json(path)
    if not isinstance(values, list):
        raise damage_error(path, f"expected a list, got {type(values).__name__}")
    return values


def _load_locations(path: Path) -> list[CropLocation | None]:
    try:
        entries = _load_list(path) if path.exists() else []
        return [None if entry is None else CropLocation(**entry) for entry in entries]
    except TypeError as error:
        raise damage_error(path, str(error)) from error
