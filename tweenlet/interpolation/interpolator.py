"""Interpolator: one network that makes frames between frames.

    four frames -> pad or cut into tiles -> network (with their flow, or a time) -> crop -> the frame between

Padding and cropping live here and in :mod:`.tiling` only. Frames are RGB in [0, 1].
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from fractions import Fraction
from math import isfinite
from threading import Lock
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tweenlet.inference import engines
from tweenlet.interpolation.flow_cache import ClassicalFlow, FlowCache, LearnedVelocity, PairMotion
from tweenlet.interpolation.keyframes import SourceFrame
from tweenlet.interpolation.tiling import choose_tiling, needs_tile, padded, run_tiled
from tweenlet.interpolation.timeline import Timeline
from tweenlet.interpolation.timing import OutputTiming
from tweenlet.network.config import ModelConfig
from tweenlet.network.four_frames import FourFrameFlow

Picture = TypeVar("Picture", NDArray[Any], Tensor)
HALFWAY = Fraction(1, 2)
INTERVAL = Fraction(1, 24)
"""Seconds between frames of a stream that has no times."""
SLACK = 0.5
"""How far outside [0, 1] values may lie; pictures of 0 to 255 go further."""


class Interpolator:
    """Makes frames between frames with one network.

    Args:
        model: maps frames (1, 4, 3, H, W) to the frame in their middle (1, 3, H, W); its `stride` is what H
            and W must be multiples of. If its `takes_time` is true, it is called with a `time` in (0, 1) and
            makes the frame then, between the middle two. It is put into evaluation mode. Of a network of
            ours a copy made for inference is run (:mod:`tweenlet.inference.fused`): what the network learns
            later, it does not know.
        device: where the model runs and is moved to; None = where it is.
        dtype: the precision it runs in, bfloat16 or float16 where that is safe, the rest in float32.
        engine: what runs the model: "eager" (PyTorch), "compile", "onnxruntime", "openvino"; or "auto", the
            fastest here, found once on the first frames. See :mod:`tweenlet.inference.engines`. Tiles of a
            network with gates or enlarged kernels run eager, whatever is said here.
        pad_to: pad the frames to multiples of this (the official ST-MFNet code: 128); None = to the stride.
        tile: run large frames in overlapping tiles of so many pixels a side at most, so that memory has a
            bound; "auto" = where they would take much memory; None = never. See
            :mod:`tweenlet.interpolation.tiling`.

    """

    def __init__(
        self,
        model: nn.Module,
        *,
        device: str | torch.device | None = None,
        dtype: torch.dtype = torch.float32,
        engine: str = "eager",
        pad_to: int | None = None,
        tile: int | str | None = None,
    ) -> None:
        if dtype not in (torch.float32, torch.bfloat16, torch.float16):
            raise ValueError(f"expected dtype float32, bfloat16 or float16, got {dtype}")
        stride = int(getattr(model, "stride", 1))
        if pad_to is not None and (pad_to < 1 or pad_to % stride):
            raise ValueError(f"expected pad_to to be a multiple of the model's stride {stride}, got {pad_to}")
        if device is None:
            device = next((p.device for p in model.parameters()), torch.device("cpu"))
        self.device = torch.device(device)
        self.takes_time = bool(getattr(model, "takes_time", False))
        self.model = engines.start(engine, model.to(self.device).eval(), dtype)
        # tiles agree on some of what is inside a network, which other engines do not show
        agreeing = needs_tile(model) and engine != "eager"
        self._for_tiles = engines.start("eager", model, dtype) if agreeing else self.model
        self.dtype = dtype
        self.multiple = pad_to or stride
        self._tiling = choose_tiling(tile, self._for_tiles, self.device)
        config = getattr(model, "config", None)
        classical = isinstance(config, ModelConfig) and config.flow == "dis"
        self.motion: PairMotion | None = ClassicalFlow() if classical else self._learned(model, engine)
        # eager networks keep nothing from call to call on a CPU; CUDA graphs and other engines do
        alone = engine == "eager" and self.device.type == "cpu"
        self._turn: AbstractContextManager[object] = nullcontext() if alone else Lock()

    def middle(self, frames: Sequence[Tensor]) -> Tensor:
        """The frame in the middle of four, each (3, H, W) in [0, 1], of any size; not clamped.

        ValueError where they are not four, not of one size, or hold what no picture holds.
        """
        if len(frames) != 4:
            raise ValueError(f"expected four frames, got {len(frames)}")
        for number, frame in enumerate(frames):
            check_picture(frame, number, frames[0].shape)
        return self.between(frames)

    def between(
        self, frames: Sequence[Tensor], time: Fraction = HALFWAY, motion: Sequence[Tensor] | None = None
    ) -> Tensor:
        """The frame between the middle two of four.

        Args:
            frames: four tensors (3, H, W) in [0, 1], of one size; they are not checked.
            time: where between them, in (0, 1); only for a network that ``takes_time``, others: the middle.
            motion: what the network is given of their motion, as a :meth:`flow_cache` found it; None: it is
                found now, if the network is given any.

        Returns:
            (3, H, W), float32, on the network's device, not clamped.

        """
        if not self.takes_time and time != HALFWAY:
            raise ValueError(f"expected time 1/2 of a network that makes the middle only, got {time}")
        options = {"time": float(time)} if self.takes_time else {}
        with torch.inference_mode(), self._turn:
            if motion is None and self.motion is not None:
                motion = FlowCache(self.motion).window(frames, range(4))
            if (side := self._tiling.side_for(*frames[0].shape[-2:])) is not None:
                out = run_tiled(self._for_tiles, frames, motion, side, self.multiple, self.device, **options)
            else:
                out = self._run_whole(frames, motion, options)
        return out.float().clone()  # a plain tensor, of use to autograd too

    def _run_whole(
        self, frames: Sequence[Tensor], motion: Sequence[Tensor] | None, options: dict[str, float]
    ) -> Tensor:
        height, width = frames[0].shape[-2:]
        frames_there = torch.stack(list(frames)).to(self.device, torch.float32)
        window = padded(frames_there, self.multiple, getattr(self.model, "padding", "mirrored"))
        flows: tuple[Tensor, ...] = ()
        if motion is not None and self.motion is not None:
            flows = (self.motion.fit(motion, window.shape[-2:]).to(self.device).unsqueeze(0),)
        out: Tensor = self.model(window.unsqueeze(0), *flows, **options)[0, :, :height, :width]
        return out

    def _learned(self, model: nn.Module, engine: str) -> LearnedVelocity | None:
        """How a network times four frames, if it does and the engine takes what was found before."""
        if not isinstance(branch := getattr(model, "intermediate", None), FourFrameFlow):
            return None
        if engine in ("onnxruntime", "openvino"):
            return None
        running = getattr(self.model, "intermediate", None)
        branch = running if isinstance(running, FourFrameFlow) else branch
        half = self.device.type == "cuda" and self.dtype != torch.float32

        def velocity(before: Tensor, after: Tensor) -> Tensor:
            with torch.autocast(self.device.type, self.dtype, enabled=half):
                return branch.velocity(before, after).float()

        def pad(frames: Tensor) -> Tensor:
            return padded(frames.to(self.device, torch.float32), self.multiple, branch.padding)

        return LearnedVelocity(velocity, pad)

    def flow_cache(self) -> FlowCache | None:
        """What remembers the motion of one stream, if the network is given any."""
        return None if self.motion is None else FlowCache(self.motion)

    def __call__(
        self, frames: Iterable[Picture], factor: int = 2, *, cuts: bool = True, repeats: str = "keep"
    ) -> Iterator[Picture]:
        """A stream of frames, ``factor`` times as dense: n frames give factor * (n - 1) + 1.

        Args:
            frames: (3, H, W), RGB, float in [0, 1], all numpy arrays or all tensors, of one size. They are
                copied, so that a source may use one buffer for all of them; only a few are held at any time.
            factor: 2 or more. Of a network that only makes the middle, times are rounded to eighths where
                this is no power of 2.
            cuts: make nothing across a hard cut: the nearer frame is repeated.
            repeats: what is done with frames that repeat the one before, as in
                :class:`~tweenlet.interpolation.timeline.Timeline`.

        Yields:
            Frames of the same kind (and dtype and device): those that came in, unchanged, and those made
            between them. Several threads may do so at once.

        Raises:
            ValueError: frames of another kind, or of values that no picture has.

        """
        timing = OutputTiming(factor)
        timing.check(1 / INTERVAL, INTERVAL, self.takes_time, "the stream")
        source = (self._taken(number, frame) for number, frame in enumerate(one_size(frames)))
        like: Picture | None = None
        for shown in Timeline(source, self, timing, 1 / INTERVAL, cuts=cuts, repeats=repeats):
            like = like if shown.source is None else shown.source.original
            assert like is not None  # the first frame is one that came in
            yield _like(like, shown.picture) if shown.source is None else like

    def _taken(self, number: int, frame: Picture) -> SourceFrame[Picture]:
        """A copy of a frame that came in, and its picture on the device."""
        original = frame.copy() if isinstance(frame, np.ndarray) else frame.clone()
        picture = torch.from_numpy(original) if isinstance(original, np.ndarray) else original
        on_device = picture.detach().to(self.device, torch.float32)
        return SourceFrame(original, on_device, number * INTERVAL, INTERVAL)


def one_size(frames: Iterable[Picture]) -> Iterator[Picture]:
    """The same frames, checked one by one; ValueError for what is no frame, and for one of another size."""
    shape = None
    for number, frame in enumerate(frames):
        if not isinstance(frame, np.ndarray | Tensor):
            raise ValueError(f"expected frames as numpy arrays or tensors, got {type(frame).__name__}")
        shape = shape or tuple(frame.shape)
        check_picture(frame, number, shape)
        yield frame


def check_picture(frame: NDArray[Any] | Tensor, number: int, shape: Sequence[int]) -> None:
    """Refuse in words what is no picture (3, H, W) in [0, 1] of this shape.

    Values a little outside are let pass: resizing leaves them.
    """
    kind = str(frame.dtype).removeprefix("torch.")
    if frame.ndim != 3 or frame.shape[0] != 3:
        turned = frame.ndim == 3 and frame.shape[2] == 3
        hint = "; move the channels to the front" if turned else ""
        raise ValueError(f"expected float frames (3, H, W) in [0, 1], got {kind} {tuple(frame.shape)}{hint}")
    if not (frame.is_floating_point() if isinstance(frame, Tensor) else frame.dtype.kind == "f"):
        raise ValueError(
            f"expected float frames (3, H, W) in [0, 1], got {kind}: convert them, as in "
            "frame.astype('float32') / 255 for numbers of 8 bits"
        )
    if tuple(frame.shape) != tuple(shape):
        (_, h, w), (_, height, width) = frame.shape, shape
        raise ValueError(
            f"frame {number} is {w}x{h}, the frames before it are {width}x{height}: resize or crop all to one"
        )
    low, high = float(frame.min()), float(frame.max())
    if not isfinite(low + high):
        raise ValueError(f"frame {number} holds NaN or infinite values: fill them first (numpy.nan_to_num)")
    if low < -SLACK or high > 1 + SLACK:
        raise ValueError(
            f"expected frames in [0, 1], got values from {low:g} to {high:g} in frame {number}: scale them, "
            "as in frame / 255"
        )


def _like(frame: Picture, picture: Tensor) -> Picture:
    """A picture that was made, as the same kind of array as a frame that came in."""
    if isinstance(frame, np.ndarray):
        return picture.cpu().numpy().astype(frame.dtype, copy=False)
    made: Tensor = picture.to(frame.device, frame.dtype)
    return made
