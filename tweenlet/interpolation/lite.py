"""Lite interpolator: as :class:`~.interpolator.Interpolator`, for the default network without PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tweenlet.inference.lite import LiteNetwork
from tweenlet.interpolation.flow_scale import parse_flow_scale
from tweenlet.interpolation.motion_cache import MotionCache
from tweenlet.interpolation.pictures import HALFWAY
from tweenlet.interpolation.spans import LIMIT, cut_motion, margins, parse_tile, spans
from tweenlet.network.motion import Estimate, Motion, Precomputed
from tweenlet.runtime.arrays import to_numpy

BYTES_PER_PIXEL = 700
"""Peak memory of ONNX Runtime per pixel of a frame, in bytes: 660 measured at 1920x1080."""

Array = NDArray[np.float32]


class LiteInterpolator:
    """Predicts frames between frames by ONNX Runtime; pictures are arrays (3, H, W), RGB in [0, 1].

    Args:
        model: name of bundled weights, or path to a checkpoint of the default's config.
        tile, flow_scale: as for :class:`~.interpolator.Interpolator`.

    Raises:
        ValueError: a tile or scale out of its range, an unknown name, or a checkpoint of another config.
        OSError: there is no such file, or ONNX Runtime is not installed.

    """

    takes_time = True
    engine = "lite"

    def __init__(
        self,
        model: str | Path = "default",
        *,
        tile: int | str | None = None,
        flow_scale: float | str = "auto",
    ) -> None:
        self._network = LiteNetwork(model)
        self._flow_scale = parse_flow_scale(flow_scale)
        self._tiling = parse_tile(tile, LIMIT // BYTES_PER_PIXEL)

    def between(
        self, frames: Sequence[Array], time: Fraction = HALFWAY, motion: Precomputed | None = None
    ) -> Array:
        """As :meth:`.interpolator.Interpolator.between`."""
        if not isinstance(motion, Motion):
            motion = self.motion_cache().window(frames, range(4), time)
        height, width = frames[0].shape[1:]
        estimate = self._network.finish(motion, float(time), self._flow_scale.shrink_for(height, width))
        padded = np.stack([self._padded(frame) for frame in frames])
        side = self._tiling.side_for(height, width)
        if side is None:
            frame = self._network.show(padded[None], estimate)[0]
        else:
            frame = self._run_tiled(padded, estimate, side)
        return np.ascontiguousarray(frame[:, :height, :width])

    def lanes(self, height: int, width: int) -> int:  # noqa: ARG002
        """How many frames to make side by side: ONNX Runtime shares the cores out by itself."""
        return 1

    def _run_tiled(self, frames: Array, motion: Estimate, side: int) -> Array:
        """The frame (3, H, W) between the middle two of four (4, 3, H, W), tile by tile."""
        stride = self._network.stride
        side = max(side // stride, 4) * stride
        rows, columns = (
            spans(length, side, margin, stride)
            for length, margin in zip(frames.shape[2:], margins(motion, side), strict=True)
        )
        blended: Array = np.zeros_like(frames[0])
        for down, across in product(rows, columns):
            area = (..., slice(down.start, down.stop), slice(across.start, across.stop))
            tile = self._network.show(frames[area][None], cut_motion(motion, down, across))[0]
            blended[area] += tile * (down.weight[:, None] * across.weight)
        return blended

    def _padded(self, frame: Array) -> Array:
        """A frame padded right and below to what the network takes: mirrored, or repeated if too small."""
        multiple = self._network.stride * self._flow_scale.shrink_for(*frame.shape[1:])
        for axis in (1, 2):
            length, beyond = frame.shape[axis], -frame.shape[axis] % multiple
            widths = [(0, beyond if axis == other else 0) for other in range(3)]
            frame = np.pad(frame, widths, "reflect" if beyond < length else "edge")
        return frame

    def picture(self, values: Any) -> Array:
        """A picture as the network takes it: float32."""
        return np.asarray(to_numpy(values), np.float32)

    def motion_cache(self) -> MotionCache:
        """A new cache for the motion of one stream."""
        return MotionCache(self._network, self._for_motion)

    def _for_motion(self, frame: Array) -> Array:
        """A frame (3, H, W) as the network estimates motion on it: padded, and smaller if it is large."""
        padded, shrink = self._padded(frame)[None], self._flow_scale.shrink_for(*frame.shape[1:])
        if shrink == 1:
            return padded
        height, width = padded.shape[2:]
        cells = padded.reshape(1, 3, height // shrink, shrink, width // shrink, shrink)
        smaller: Array = cells.mean((3, 5), dtype=np.float32)
        return smaller
