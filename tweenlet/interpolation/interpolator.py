"""Interpolator: one network that predicts frames between frames.

    four frames -> pad or cut into tiles -> network (with a time, and motion) -> crop -> the frame between

Padding and cropping happen only here and in :mod:`.tiling`. Frames are RGB in [0, 1].
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from fractions import Fraction
from threading import Lock
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tweenlet.inference import engines
from tweenlet.interpolation.flow_scale import parse_flow_scale
from tweenlet.interpolation.keyframes import SourceFrame
from tweenlet.interpolation.lanes import LANES, LARGEST
from tweenlet.interpolation.motion_cache import FeatureCache, MotionCache
from tweenlet.interpolation.pictures import HALFWAY, check_values
from tweenlet.interpolation.tiling import choose_tiling, needs_tile, padded, run_tiled
from tweenlet.interpolation.timeline import Timeline
from tweenlet.interpolation.timing import OutputTiming
from tweenlet.network.four_frames import FourFrameFlow
from tweenlet.network.intermediate_flow import IntermediateFlow, check_time
from tweenlet.network.motion import Estimate, Motion, Precomputed
from tweenlet.ops.dispatch import has_native
from tweenlet.ops.resample import avg_pool2
from tweenlet.runtime.dtypes import DTYPES, dtype_of

Pixels = TypeVar("Pixels", NDArray[Any], Tensor)
INTERVAL = Fraction(1, 24)
"""Seconds between frames of a stream that has no times."""


class Interpolator:
    """Predicts frames between frames with one network. Thread-safe.

    Args:
        model: network that maps frames (1, 4, 3, H, W) in [0, 1] to the frame in their middle (1, 3, H, W). H
            and W are multiples of its attribute `stride` (default 1). If its attribute `takes_time` is true,
            it is called with a `time` in (0, 1) between the middle two. It is put into eval mode. Networks of
            the family are copied for inference (:mod:`tweenlet.inference.fused`): later changes of the
            weights have no effect.
        device: device to move the model to; None = leave it where it is.
        dtype: precision, as a torch.dtype or by name: float32, or bfloat16 or float16 where that is safe.
        engine: "eager" (PyTorch), "compile", "cudagraph", "onnxruntime", "openvino", or "auto", the fastest
            on this machine, measured once on the first frames (:mod:`tweenlet.inference.engines`). Tiles of
            networks with gates or upsampled kernels always run in eager.
        pad_to: pad height and width to multiples of this (the official ST-MFNet code: 128); None = the
            stride.
        tile: longest side of a tile in pixels, 256 or more. Larger frames run in overlapping tiles, which
            bounds memory (:mod:`tweenlet.interpolation.tiling`). "auto" = only frames that would take much
            memory; None = never.
        flow_scale: size of the frames on which a network of four frames, such as the default, estimates
            motion: 1, 0.5 or 0.25 of their own; "auto" = smaller for frames of more than 3 megapixels
            (:mod:`tweenlet.interpolation.flow_scale`). Other networks, and engines that estimate motion in
            every frame anew (compile, onnxruntime, openvino), take 1 only.

    Raises:
        TypeError: ``model`` is not a network.
        ValueError: an argument out of its range, or an engine that is unknown or not installed.

    Examples:
        >>> interpolator = tweenlet.Interpolator(tweenlet.load("default"))
        >>> frames = np.random.rand(4, 3, 48, 64).astype(np.float32)  # (frame, RGB, height, width)
        >>> [frame.shape for frame in interpolator(frames[:2], factor=2)]
        [(3, 48, 64), (3, 48, 64), (3, 48, 64)]
        >>> interpolator.middle(torch.from_numpy(frames)).shape
        torch.Size([3, 48, 64])

    """

    def __init__(
        self,
        model: nn.Module,
        *,
        device: str | torch.device | None = None,
        dtype: str | torch.dtype = torch.float32,
        engine: str = "eager",
        pad_to: int | None = None,
        tile: int | str | None = None,
        flow_scale: float | str = "auto",
    ) -> None:
        if not isinstance(model, nn.Module):
            raise TypeError(f"expected a network, such as tweenlet.load('default'), got {model!r:.100}")
        dtype = dtype_of(dtype) if isinstance(dtype, str) else dtype
        if dtype not in DTYPES.values():
            raise ValueError(f"expected a dtype of {', '.join(DTYPES)}, got {dtype}")
        stride = int(getattr(model, "stride", 1))
        if pad_to is not None and (pad_to < 1 or pad_to % stride):
            raise ValueError(f"expected pad_to to be a multiple of the model's stride {stride}, got {pad_to}")
        if device is None:
            device = next((p.device for p in model.parameters()), torch.device("cpu"))
        self.device = torch.device(device)
        self.takes_time = bool(getattr(model, "takes_time", False))
        self.model = engines.start(engine, model.to(self.device).eval(), dtype)
        # tiles share internal values of the network, which other engines do not expose
        looks_at_all = needs_tile(model) or isinstance(getattr(model, "intermediate", None), FourFrameFlow)
        agreeing = looks_at_all and engine != "eager"
        self._for_tiles = engines.start("eager", model, dtype) if agreeing else self.model
        self.dtype = dtype
        self.multiple = pad_to or stride
        self._tiling = choose_tiling(tile, self._for_tiles, self.device)
        self._finder = engines.motion_finder(self._for_tiles)
        self._takes_motion = engines.motion_finder(self.model) is not None
        self._flow_scale = parse_flow_scale(flow_scale, supported=self._takes_motion)
        self._encoder = engines.frame_encoder(self.model)
        has_native()  # loaded now, as colours are converted by native code on every device
        # eager networks keep no state between calls on a CPU; CUDA graphs and other engines do
        self._is_stateless = engine == "eager" and self.device.type == "cpu"
        self._lock: AbstractContextManager[object] = nullcontext() if self._is_stateless else Lock()

    def middle(self, frames: Sequence[Tensor]) -> Tensor:
        """Make the frame in the middle of four.

        Args:
            frames: four tensors (3, H, W), RGB in [0, 1], all of one size.

        Returns:
            (3, H, W), float32, on the network's device, not clamped.

        Raises:
            ValueError: not four tensors, frames of different sizes, or values far outside [0, 1].

        """
        if len(frames) != 4:
            raise ValueError(f"expected four frames, got {len(frames)}")
        for number, frame in enumerate(frames):
            if not isinstance(frame, Tensor):
                raise ValueError(f"expected tensors (3, H, W), got {type(frame).__name__}")
            check_picture(frame, number, frames[0].shape)
        return self.between(frames)

    def between(
        self,
        frames: Sequence[Tensor],
        time: Fraction = HALFWAY,
        motion: Precomputed | None = None,
    ) -> Tensor:
        """Make a frame between the middle two of four.

        Args:
            frames: four tensors (3, H, W), RGB in [0, 1], all of one size; not checked.
            time: position between the middle two, in (0, 1); 1/2 unless the network ``takes_time``.
            motion: what the network takes beside frames, for this time, as returned by a
                :meth:`motion_cache`; None = compute it now, if the network takes any.

        Returns:
            (3, H, W), float32, on the network's device, not clamped.

        Raises:
            ValueError: a time other than 1/2 for a network that only predicts the midpoint.

        """
        if not self.takes_time and time != HALFWAY:
            raise ValueError(f"expected time 1/2, as this network only predicts the midpoint, got {time}")
        options = {"time": float(time)} if self.takes_time else {}
        size = frames[0].shape[-2:]
        side, shrink = self._tiling.side_for(*size), self._flow_scale.shrink_for(*size)
        if motion is None and self._finder is not None and (side is not None or shrink > 1):
            motion = MotionCache(self).window(frames, range(4), time)
        if side is not None and motion is not None:
            motion = self._finish(motion, time, shrink)
        with torch.inference_mode(), self._lock:
            if side is not None:
                assert motion is None or isinstance(motion, Estimate)
                out = run_tiled(self._for_tiles, frames, motion, side, self.multiple, self.device, **options)
            else:
                out = self._run_whole(frames, motion, options)
        return out.float().clone()  # a plain tensor, which autograd accepts too

    def _run_whole(
        self, frames: Sequence[Tensor], motion: Precomputed | None, options: dict[str, float]
    ) -> Tensor:
        height, width = frames[0].shape[-2:]
        window = self._padded(frames)
        given = () if motion is None else (motion,)
        out: Tensor = self.model(window.unsqueeze(0), *given, **options)[0, :, :height, :width]
        return out

    def _padded(self, frames: Sequence[Tensor]) -> Tensor:
        """Copy frames (3, H, W) to the device, padded to a size that the network takes: (B, 3, H', W')."""
        there = [frame.to(self.device, torch.float32) for frame in frames]
        multiple = self.multiple * self._flow_scale.shrink_for(*frames[0].shape[-2:])
        return padded(there, multiple, getattr(self.model, "padding", "mirrored"))

    @property
    def engine(self) -> str:
        """The engine that runs the network; with "auto", the one it chose."""
        return engines.running(self.model)

    def lanes(self, height: int, width: int) -> int:
        """How many frames of this size to make side by side (:mod:`.lanes`)."""
        suits = self._is_stateless and self.takes_time and height * width <= LARGEST
        return LANES if suits and torch.get_num_threads() > 1 else 1

    def picture(self, values: NDArray[Any] | Tensor) -> Tensor:
        """Convert a picture to float32 on the network's device."""
        return torch.as_tensor(values).to(self.device, torch.float32)

    def motion_cache(self) -> MotionCache | FeatureCache | None:
        """A new cache for what the network computes once in a stream; None if it takes nothing."""
        if self._takes_motion:
            return MotionCache(self)
        return None if self._encoder is None else FeatureCache(self.encode)

    def encode(self, frame: Tensor) -> Tensor | None:
        """Features (1, C, H', W') of a frame (3, H, W), in a network of two frames; None if it is tiled."""
        encoder = self._encoder
        assert encoder is not None
        if self._tiling.side_for(*frame.shape[-2:]) is not None:
            return None
        with torch.inference_mode(), self._lock, encoder.precision(self.device):
            assert isinstance(encoder.intermediate, IntermediateFlow)
            return encoder.intermediate.features(self._padded([frame]))

    def features(self, frame: Tensor) -> Tensor:
        """Features (1, C, h, w) of a frame (3, H, W), padded, in a network of four frames."""
        shrink = self._flow_scale.shrink_for(*frame.shape[-2:])
        with self._four_frames() as branch:
            frames = self._padded([frame])
            for _ in range(shrink.bit_length() - 1):
                frames = avg_pool2(frames)
            return branch.features(frames)

    def estimate(self, before: Tensor, after: Tensor, time: float) -> Tensor:
        """Motion estimate of the coarse levels, from the features of two frames, for a time between them."""
        with self._four_frames() as branch:
            return branch.estimate(before, after, check_time(time, before))

    def join(
        self,
        features: tuple[Tensor, Tensor],
        estimates: Sequence[Tensor],
        repeats: Sequence[bool],
        time: float,
    ) -> Motion:
        """As :meth:`tweenlet.network.four_frames.FourFrameFlow.join`, for one window."""
        flags = torch.tensor([repeats], device=features[0].device)
        with self._four_frames() as branch:
            return branch.join(features, estimates, flags, check_time(time, features[0]))

    def _finish(self, motion: Precomputed, time: Fraction, shrink: int) -> Estimate:
        assert isinstance(motion, Motion)
        with self._four_frames() as branch:
            return branch.finish(motion, check_time(float(time), motion.before), shrink)

    @contextmanager
    def _four_frames(self) -> Iterator[FourFrameFlow]:
        """Context in which the network's motion branch may be called."""
        assert self._finder is not None
        branch = self._finder.intermediate
        assert isinstance(branch, FourFrameFlow)
        with torch.inference_mode(), self._lock, self._finder.precision(self.device):
            yield branch

    def __call__(
        self, frames: Iterable[Pixels], factor: int = 2, *, cuts: bool = True, repeats: str = "keep"
    ) -> Iterator[Pixels]:
        """Interpolate a stream of frames: n frames give factor * (n - 1) + 1.

        Args:
            frames: (3, H, W), RGB, floats in [0, 1], all numpy arrays or all tensors, all of one size. They
                are copied, so the source may reuse its buffer; only a few are held at any time.
            factor: output frames per input frame, 2 or more. For networks that only predict the midpoint,
                times are rounded to eighths unless this is a power of 2.
            cuts: detect hard cuts and create no frames across them: the nearer frame is repeated.
            repeats: what to do with frames that repeat the previous one, as in
                :class:`~tweenlet.interpolation.timeline.Timeline`.

        Yields:
            The input frames, unchanged, and the new ones between them, with the same type, dtype and device.

        Raises:
            ValueError: frames of another kind or shape, or values far outside [0, 1].

        """
        timing = OutputTiming(factor)
        timing.check(1 / INTERVAL, INTERVAL, self.takes_time, "the stream")
        source = (self._copy_frame(number, frame) for number, frame in enumerate(check_stream(frames)))
        template: Pixels | None = None
        for output in Timeline(source, self, timing, 1 / INTERVAL, cuts=cuts, repeats=repeats):
            template = template if output.source is None else output.source.original
            assert template is not None  # the first frame is always an input frame
            yield _convert_like(template, output.picture) if output.source is None else template

    def _copy_frame(self, number: int, frame: Pixels) -> SourceFrame[Pixels]:
        """Copy an input frame, and put its picture on the device."""
        original = frame.copy() if isinstance(frame, np.ndarray) else frame.clone()
        detached = original if isinstance(original, np.ndarray) else original.detach()
        return SourceFrame(original, self.picture(detached), number * INTERVAL, INTERVAL)


def check_stream(frames: Iterable[Pixels]) -> Iterator[Pixels]:
    """Check frames one by one while yielding them; ValueError for an invalid one, or one of another size."""
    shape = None
    for number, frame in enumerate(frames):
        if not isinstance(frame, np.ndarray | Tensor):
            raise ValueError(f"expected frames as numpy arrays or tensors, got {type(frame).__name__}")
        shape = shape or tuple(frame.shape)
        check_picture(frame, number, shape)
        yield frame


def check_picture(frame: NDArray[Any] | Tensor, number: int, shape: Sequence[int]) -> None:
    """Raise ValueError unless a frame is a float picture (3, H, W) of this shape with values in [0, 1].

    Values up to pictures.SLACK outside are accepted, as resampling overshoots.
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
    check_values(frame, number)


def _convert_like(frame: Pixels, picture: Tensor) -> Pixels:
    """Convert a picture to the kind of array, dtype and device of an input frame."""
    if isinstance(frame, np.ndarray):
        return picture.cpu().numpy().astype(frame.dtype, copy=False)
    converted: Tensor = picture.to(frame.device, frame.dtype)
    return converted
