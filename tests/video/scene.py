"""A moving picture for tests."""

from __future__ import annotations

import numpy as np


def scene(index: int, width: int, height: int) -> np.ndarray:
    """Picture ``index`` of a moving pattern without pure black or white: float32 (3, H, W)."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    waves = [np.sin((x + speed * index) / 9 + y / (11 + speed)) for speed in (2, 3, 5)]
    return (0.5 + 0.25 * np.stack(waves)).astype(np.float32)
