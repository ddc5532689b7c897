"""Sequences: frames as Python objects, in and out in the same form.

    arrays, tensors, PIL images ── Form ──> pictures (C, H, W) in [0, 1] ── Timeline ── Form ──> the same kind

Input frames come out unchanged; new frames get their type, layout, range and device.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from importlib import import_module
from itertools import chain
from math import ceil
from pathlib import Path
from threading import Event, Lock
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from tweenlet.interpolation.channels import ChannelGroups
from tweenlet.interpolation.job import states
from tweenlet.interpolation.keyframes import LONGEST_RUN, SourceFrame
from tweenlet.interpolation.lite import LiteInterpolator
from tweenlet.interpolation.load import load_interpolator
from tweenlet.interpolation.pictures import Picture, check_values
from tweenlet.interpolation.timeline import Timeline
from tweenlet.interpolation.timing import OutputTiming, Rate, exact_rate
from tweenlet.runtime.arrays import array_namespace, is_tensor, to_numpy

if TYPE_CHECKING:
    import torch
    from torch import nn

    from tweenlet.interpolation.interpolator import Interpolator

CHANNELS = (1, 3, 4)
"""Sizes that mark an axis as the channel axis."""
_MODES = ("L", "RGB", "RGBA")
_LOADING = Lock()


def interpolate(
    frames: Any,
    *,
    fps: Rate | None = None,
    to: Rate | None = None,
    factor: int | None = None,
    channels: str | None = None,
    value_range: tuple[float, float] | None = None,
    missing: bool = False,
    cuts: bool = True,
    repeats: str = "keep",
    longest_run: int = LONGEST_RUN,
    model: str | Path | nn.Module | Interpolator | LiteInterpolator = "default",
    device: str | torch.device | None = None,
    dtype: str | torch.dtype = "float32",
    tile: int | str | None = "auto",
    flow_scale: float | str = "auto",
    progress: Callable[[int, int | None], None] | None = None,
    cancel: Event | None = None,
) -> Any:
    """Interpolate a sequence of frames; the output has the type of the input. Thread-safe.

    Args:
        frames: an array or tensor of frames, (T, H, W, C), (T, C, H, W) or gray (T, H, W), optionally with a
            leading axis of clips; a list or tuple of frames (arrays, tensors or PIL images), or of such
            lists; an iterator of frames; or an object with an attribute ``frames``, such as the outputs of
            diffusers.
            Values: integers of 8 or 16 bits, or floats in [0, 1].
        fps: frames per second of the source, with ``to``.
        to: frames per second of the output. Source frames that fall on an output time are kept.
        factor: output frames per source frame, instead of ``fps`` and ``to``; 2 or more, default 2.
        channels: "first" or "last"; default: the axis of size 1, 3 or 4; if both are, the first of a tensor
            and the last of an array.
        value_range: lowest and highest value, if other than those above.
        missing: treat NaN as missing, in new frames too; otherwise NaN is an error.
        cuts: detect hard cuts and create no frames across them.
        repeats: "keep", "smooth" or "ignore", as in :func:`tweenlet.interpolate_video`.
        longest_run: as in :func:`tweenlet.interpolate_video`.
        model: name of bundled weights, path to a checkpoint, a network, or an :class:`Interpolator`, which
            has its own device, precision and tiles.
        device: device to run on; None = CUDA if available, else the CPU.
        dtype: precision of the network: "float32", "bfloat16" or "float16", or a torch.dtype.
        tile: longest side of a tile in pixels, "auto" or None.
        flow_scale: size of the frames on which the network estimates motion, as in :class:`Interpolator`.
        progress: called after each frame with the number of frames and the total, None if unknown.
        cancel: once set, :class:`concurrent.futures.CancelledError` is raised before the next frame.

    Returns:
        An array, tensor, list or iterator, like the input: n frames become factor * (n - 1) + 1, or those of
        ``to``. Source frames are unchanged; new ones have their type, layout, range and device.

    Raises:
        ValueError: frames of an unsupported type or of different sizes, NaN or values out of range, no
            frames.
        CancelledError: ``cancel`` was set.

    Examples:
        >>> clip = np.random.rand(16, 48, 64, 3).astype(np.float32)  # a second at 16 frames per second
        >>> tweenlet.interpolate(clip, fps=16, to=24).shape
        (24, 48, 64, 3)
        >>> tweenlet.interpolate(list(clip[:2]), factor=4)[1].shape
        (48, 64, 3)

    """
    if (fps is None) != (to is None):
        raise ValueError(
            "expected fps and to, the frames per second of the source and those wanted, or factor"
        )
    rate = Fraction(1) if fps is None else exact_rate(fps)
    timing = OutputTiming(factor, None if to is None else exact_rate(to))
    if missing and value_range is None:
        value_range = (0.0, 1.0)
    network = _interpolator(model, device, dtype, tile, flow_scale)
    timing.check(rate, 1 / rate, network.takes_time, "the sequence")

    def run(clip: Iterable[Any], count: int | None) -> Iterator[Any]:
        total = None if count is None else ceil((count - 1) * timing.output_rate(rate) / rate) + 1
        copied = map(_copy, clip) if count is None else clip  # an iterator may reuse one buffer
        source = _Source(copied, channels, value_range, missing, network, rate)
        timeline = Timeline(
            source, ChannelGroups(network), timing, rate, cuts=cuts, repeats=repeats, longest_run=longest_run
        )
        for number, output in enumerate(timeline, start=1):
            if cancel is not None and cancel.is_set():
                raise CancelledError(f"cancelled after {number - 1} frames")
            yield output.source.original if output.source else source.form.restore(output.picture)
            if progress is not None:
                progress(number, total)
        if not source.count:
            raise ValueError("expected frames, got none")

    return _map_clips(getattr(frames, "frames", frames), run)


def _map_clips(frames: Any, run: Callable[[Iterable[Any], int | None], Iterator[Any]]) -> Any:
    """Run on one clip, or on each of several, and return the results in the form of the input."""
    if _is_array(frames):
        if frames.ndim == 5:
            return _stack([_map_clips(clip, run) for clip in frames], frames)
        if frames.ndim not in (3, 4) or (frames.ndim == 3 and frames.shape[-1] in (3, 4)):
            raise ValueError(
                "expected frames as (T, H, W, C), (T, C, H, W) or gray (T, H, W), got one array "
                f"{tuple(frames.shape)}"
            )
        return _stack(list(run(frames, len(frames))), frames)
    if isinstance(frames, (list, tuple)):
        if frames and (isinstance(frames[0], (list, tuple)) or getattr(frames[0], "ndim", 0) == 4):
            return type(frames)([_map_clips(clip, run) for clip in frames])
        return type(frames)(list(run(frames, len(frames))))
    if isinstance(frames, Iterable) and not isinstance(frames, (str, bytes, Path, dict)):
        return run(frames, None)
    hint = "; for files there is tweenlet.interpolate_video" if isinstance(frames, (str, Path)) else ""
    raise ValueError(
        f"expected an array, a tensor, a list or an iterator of frames, got {type(frames).__name__}{hint}"
    )


def _copy(frame: Any) -> Any:
    return frame.clone() if is_tensor(frame) else frame.copy() if hasattr(frame, "copy") else frame


def _is_array(value: Any) -> bool:
    return isinstance(value, np.ndarray) or is_tensor(value)


def _stack(frames: list[Any], template: Any) -> Any:
    return array_namespace(template).stack(frames)


class _Source:
    """Source frames of one clip for a timeline, and the conversion of new frames to their form."""

    def __init__(
        self,
        frames: Iterable[Any],
        channels: str | None,
        value_range: tuple[float, float] | None,
        missing: bool,
        network: Interpolator | LiteInterpolator,
        rate: Fraction,
    ) -> None:
        self._frames = iter(frames)
        self._options = channels, value_range, missing
        self._network, self._step = network, 1 / rate
        self.count = 0
        """Frames so far."""

    def __iter__(self) -> Iterator[SourceFrame[Any]]:
        first = next(self._frames, None)
        if first is None:
            return
        self.form = Form.of(first, *self._options)
        for frame in chain([first], self._frames):
            picture = self._network.picture(self.form.picture(frame, self.count))
            yield SourceFrame(frame, picture, self.count * self._step, self._step)
            self.count += 1


@dataclass(frozen=True)
class Form:
    """Form of frames: type, layout and range."""

    like: Any
    """The first frame."""
    axis: int | None
    """Channel axis; None for gray frames (H, W)."""
    low: float
    high: float
    """Values of black and white."""
    any_value: bool
    """Whether values outside that range are accepted."""
    missing: bool
    """Whether NaN marks missing values, which become one more channel."""

    @classmethod
    def of(
        cls, frame: Any, channels: str | None, value_range: tuple[float, float] | None, missing: bool
    ) -> Form:
        """The form of a sequence, from its first frame; ValueError if that is no frame."""
        if channels not in (None, "first", "last"):
            raise ValueError(f"expected channels to be 'first' or 'last', got {channels!r}")
        if value_range is not None and not value_range[0] < value_range[1]:
            raise ValueError(f"expected value_range as (lowest, highest), got {value_range}")
        if _is_pil(frame):
            if frame.mode not in _MODES:
                raise ValueError(
                    f"expected PIL images of mode {', '.join(_MODES)}, got {frame.mode}: "
                    "image.convert('RGB'), or numpy.asarray(image) for more than 8 bits"
                )
            return cls(frame, None if frame.mode == "L" else -1, 0, 255, False, False)
        if not _is_array(frame):
            raise ValueError(f"expected frames as arrays, tensors or PIL images, got {type(frame).__name__}")
        if isinstance(frame, np.ma.MaskedArray):
            raise ValueError("got a masked array: expected frames.filled(numpy.nan), with missing=True")
        if 0 in frame.shape:
            raise ValueError(f"expected frames with pixels, got {tuple(frame.shape)}")
        low, high = value_range or _type_range(frame)
        axis = _channel_axis(tuple(frame.shape), is_tensor(frame), channels)
        return cls(frame, axis, low, high, value_range is not None, missing)

    def picture(self, frame: Any, number: int) -> Picture:
        """Convert a frame to float32 (C, H, W) in [0, 1]; ValueError if its form differs from the first."""
        if type(frame) is not type(self.like) and not _is_pil(frame):
            raise ValueError(
                f"frame {number} is a {type(frame).__name__}, the first is a {type(self.like).__name__}"
            )
        values = _values(frame, self.like.mode if _is_pil(self.like) else "")
        expected = _values(self.like, self.like.mode) if _is_pil(self.like) else self.like
        if tuple(values.shape) != tuple(expected.shape):
            raise ValueError(
                f"frame {number} is {tuple(values.shape)}, the frames before it are {tuple(expected.shape)}: "
                "resize or crop all to one size"
            )
        if values.dtype != expected.dtype and not (_is_float(values) and _is_float(expected)):
            raise ValueError(f"frame {number} has values of {values.dtype}, the first has {expected.dtype}")
        xp = array_namespace(values)
        picture = values[None] if self.axis is None else xp.moveaxis(values, self.axis, 0)
        picture = (xp.asarray(picture, dtype=xp.float32) - self.low) / (self.high - self.low)
        if self.missing:
            gone = xp.asarray(~xp.isfinite(picture).all(0)[None], dtype=xp.float32)
            picture = xp.concatenate([xp.nan_to_num(picture, nan=0.0, posinf=0.0, neginf=0.0), gone])
        elif self.any_value:
            check_values(picture, number, slack=float("inf"))
        else:
            check_values(picture, number)
        return picture

    def restore(self, picture: Picture) -> Any:
        """Convert a picture (C, H, W) to the form of the frames."""
        xp = array_namespace(picture)
        if self.missing:
            picture = xp.where(picture[-1:] > 0.5, xp.nan, picture[:-1])
        values = picture * (self.high - self.low) + self.low
        values = values[0] if self.axis is None else xp.moveaxis(values, 0, self.axis)
        if _is_pil(self.like):
            array = np.rint(to_numpy(values)).clip(0, 255).astype(np.uint8)
            return import_module("PIL.Image").fromarray(np.ascontiguousarray(array))
        if not _is_float(self.like):
            values = values.round().clip(*_integer_range(self.like))
        if is_tensor(self.like):
            return import_module("torch").as_tensor(values).to(self.like.device, self.like.dtype).contiguous()
        return np.ascontiguousarray(to_numpy(values).astype(self.like.dtype, copy=False))


def _values(frame: Any, mode: str) -> Any:
    """A frame as a detached tensor, or as an array in native byte order."""
    if _is_pil(frame):
        frame = np.array(frame if frame.mode == mode else frame.convert(mode))
    if is_tensor(frame):
        return frame.detach()
    return np.asarray(frame, dtype=frame.dtype.newbyteorder("="))


def _is_pil(frame: Any) -> bool:
    return any(kind.__module__.startswith("PIL.") for kind in type(frame).__mro__)


def _is_float(frame: Any) -> bool:
    return bool(frame.is_floating_point()) if is_tensor(frame) else frame.dtype.kind == "f"


def _integer_range(frame: Any) -> tuple[int, int]:
    info = array_namespace(frame).iinfo(frame.dtype)
    return int(info.min), int(info.max)


def _type_range(frame: Any) -> tuple[float, float]:
    """Values of black and white in a type."""
    name = str(frame.dtype).removeprefix("torch.")
    if _is_float(frame):
        return 0.0, 1.0
    if name in ("uint8", "uint16"):
        return 0.0, float(_integer_range(frame)[1])
    raise ValueError(
        f"expected floats in [0, 1] or unsigned integers of 8 or 16 bits, got {name}: "
        "say value_range=(lowest, highest)"
    )


def _channel_axis(shape: tuple[int, ...], is_tensor: bool, channels: str | None) -> int | None:
    if len(shape) == 2:
        return None
    if len(shape) != 3:
        raise ValueError(f"expected frames (H, W, C), (C, H, W) or gray (H, W), got {shape}")
    if channels is not None:
        return 0 if channels == "first" else -1
    fits = [axis for axis in ((0, -1) if is_tensor else (-1, 0)) if shape[axis] in CHANNELS]
    if not fits:
        raise ValueError(f"got frames {shape}: say where the channels are, channels='first' or 'last'")
    return fits[0]


def _interpolator(
    model: str | Path | nn.Module | Interpolator | LiteInterpolator,
    device: str | torch.device | None,
    dtype: str | torch.dtype,
    tile: int | str | None,
    flow_scale: float | str,
) -> Interpolator | LiteInterpolator:
    if isinstance(model, (str, Path)):
        path = Path(model)
        version = states([path]) if path.is_file() else []
        with _LOADING:
            return _loaded(str(model), tuple(version), device, dtype, tile, flow_scale)
    if hasattr(model, "between"):
        return cast("Interpolator | LiteInterpolator", model)
    return load_interpolator(cast("nn.Module", model), device, dtype, tile=tile, flow_scale=flow_scale)


@lru_cache(maxsize=2)
def _loaded(
    model: str,
    version: tuple[tuple[str, int, int], ...],
    device: str | torch.device | None,
    dtype: str | torch.dtype,
    tile: int | str | None,
    flow_scale: float | str,
) -> Interpolator | LiteInterpolator:
    """The network of a name, cached between calls while its file stays the same."""
    del version
    return load_interpolator(model, device, dtype, tile=tile, flow_scale=flow_scale)
