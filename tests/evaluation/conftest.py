from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from tweenlet.evaluation.report import MethodInfo, Report, Score

Footage = Callable[[Path, int], Path]


def number_plate(index: int) -> np.ndarray:
    """A flat 8-bit frame (24, 40, 3) whose red is its number in the clip."""
    return np.full((24, 40, 3), (index, 100, 200), np.uint8)


@pytest.fixture
def paint() -> Callable[..., Path]:
    """Writes a flat picture in which every value is a number, as small as it can be if no size is given."""

    def write(path: Path, number: int, size: tuple[int, int] = (4, 3)) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, (number,) * 3).save(path)
        return path

    return write


@pytest.fixture
def footage() -> Footage:
    """Writes a folder of numbered frames."""

    def write(folder: Path, count: int) -> Path:
        folder.mkdir(parents=True)
        for index in range(count):
            assert cv2.imwrite(str(folder / f"{index:05d}.png"), number_plate(index)[..., ::-1])
        return folder

    return write


@pytest.fixture
def reported() -> Callable[..., Report]:
    """Makes a report of methods from their PSNR by sequence."""

    def make(psnr: dict[str, dict[str, list[float]]], **more: Any) -> Report:
        names = list(psnr)
        scores = tuple(
            Score(
                name,
                f"{sequence}/{i}",
                sequence,
                (40, 24),
                {"psnr": psnr[name][sequence][i], "ssim": 0.5},
                0.25,
                0.5,
            )
            for sequence, values in psnr[names[0]].items()
            for i in range(len(values))
            for name in names
        )
        entrants = tuple(MethodInfo(name, 1000 * i) for i, name in enumerate(names))
        told = {"version": "0.1.0", "machine": "a machine", "date": "2026-11-24T12:00:00+00:00", **more}
        return Report("clips", entrants, ("psnr", "ssim"), scores, **told)

    return make
