"""Small stand-ins for packages that the recipes of docs/python.md use and that are too large for the tests.

Each has what the recipe calls, with the names, shapes and types of the package.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
import torch

WRITTEN: dict[str, Any] = {}
"""What the recipes wrote, by the name of the file."""


def moving(count: int, *channels: int) -> np.ndarray:
    """Frames (T, 48, 64, ...) in [0, 1] of a pattern that moves."""
    x, y = np.meshgrid(np.arange(64), np.arange(48))
    frames = np.stack([0.5 + 0.4 * np.sin((x + y + 2 * k) / 5) for k in range(count)]).astype(np.float32)
    return np.broadcast_to(frames[..., *[None] * len(channels)], (*frames.shape, *channels)).copy()


class WanPipeline:
    """Makes an array (1, T, H, W, 3) of floats."""

    @classmethod
    def from_pretrained(cls, name: str) -> WanPipeline:
        return cls()

    def __call__(self, prompt: str, num_frames: int) -> SimpleNamespace:
        return SimpleNamespace(frames=moving(num_frames, 3)[None])


def export_to_video(frames: np.ndarray, path: str, fps: int) -> None:
    assert frames[0].dtype == np.float32
    WRITTEN[path] = frames


class VideoDecoder:
    """Gives tensors (T, 3, H, W) of 8 bits."""

    def __init__(self, path: str) -> None:
        with av.open(path) as container:
            frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
            self.metadata = SimpleNamespace(average_fps=float(container.streams.video[0].average_rate))
        self._frames = torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2)

    def __getitem__(self, numbers: slice) -> torch.Tensor:
        return self._frames[numbers]


class VideoEncoder:
    """Takes what VideoDecoder gives."""

    def __init__(self, frames: torch.Tensor, frame_rate: float) -> None:
        assert frames.dtype == torch.uint8
        self._frames = frames

    def to_file(self, path: str) -> None:
        WRITTEN[path] = self._frames


class DataArray:
    """Values with the names and the coordinates of their axes."""

    def __init__(self, values: np.ndarray, dims: tuple[str, ...], coords: dict[str, np.ndarray]) -> None:
        assert values.ndim == len(dims)
        assert len(coords["time"]) == len(values)
        self.values, self.dims, self.time = values, dims, SimpleNamespace(values=coords["time"])

    def __len__(self) -> int:
        return len(self.values)

    def to_netcdf(self, path: str) -> None:
        WRITTEN[path] = self.values


def open_dataarray(path: str) -> DataArray:
    values = moving(3) * 112 - 32
    values[:, :9] = np.nan
    return DataArray(values, ("time", "y", "x"), {"time": np.array([0.0, 300.0, 600.0])})


def open_zarr(path: str, mode: str) -> np.ndarray:
    return (moving(3) * 4095).astype(np.uint16)


PACKAGES: dict[str, dict[str, Any]] = {
    "diffusers": {"WanPipeline": WanPipeline},
    "diffusers.utils": {"export_to_video": export_to_video},
    "torchcodec": {},
    "torchcodec.decoders": {"VideoDecoder": VideoDecoder},
    "torchcodec.encoders": {"VideoEncoder": VideoEncoder},
    "xarray": {"DataArray": DataArray, "open_dataarray": open_dataarray},
    "zarr": {"open": open_zarr},
}


def install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the stand-ins where `import` looks first; the real packages would want files and weights."""
    WRITTEN.clear()
    for name, contents in PACKAGES.items():
        module = ModuleType(name)
        module.__dict__.update(contents)
        module.__spec__ = importlib.util.spec_from_loader(name, None)
        monkeypatch.setitem(sys.modules, name, module)


def exists(path: str) -> bool:
    """Whether a recipe wrote a file, or a stand-in for it."""
    return path in WRITTEN or Path(path).exists()
