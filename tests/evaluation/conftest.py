from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

Footage = Callable[[Path, int], Path]


def number_plate(index: int) -> np.ndarray:
    """A flat 8-bit frame (24, 40, 3) whose red is its number in the clip."""
    return np.full((24, 40, 3), (index, 100, 200), np.uint8)


@pytest.fixture
def footage() -> Footage:
    """Writes a folder of numbered frames."""

    def write(folder: Path, count: int) -> Path:
        folder.mkdir(parents=True)
        for index in range(count):
            assert cv2.imwrite(str(folder / f"{index:05d}.png"), number_plate(index)[..., ::-1])
        return folder

    return write
