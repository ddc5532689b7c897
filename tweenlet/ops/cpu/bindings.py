"""Bindings: every function and struct of the compiled library (tweenlet.h), declared to Python in one place.

    tensors, numbers, structs --argtypes check them--> C --status--> None | MemoryError

Pointer arguments are tensors. They must be on the CPU and have the dtype and layout declared here; anything
else raises ``ctypes.ArgumentError`` (in a struct: TypeError or ValueError) before C sees it. Ops check shapes
themselves. When the library is loaded, the size of each struct is compared with the size that the library
exports.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from tweenlet.runtime.dtypes import dtype_name

INT, DISTANCE, FLOAT = ctypes.c_int, ctypes.c_ssize_t, ctypes.c_float


class Pointer(ctypes.c_void_p):
    """The address of a tensor's first number."""

    dtypes: ClassVar[tuple[torch.dtype, ...]] = (torch.float32,)
    layout: ClassVar[str] = "contiguous"
    """"contiguous"; "channels_last", also of (C, ...); or "strided"."""
    nullable: ClassVar[bool] = False

    @classmethod
    def from_param(cls, value: Any) -> Pointer:
        """The address of ``value``. TypeError or ValueError if it does not match the declaration."""
        if value is None and cls.nullable:
            return cls(None)
        if not isinstance(value, Tensor):
            raise TypeError(f"expected a tensor, got {type(value).__name__}")
        if value.device.type != "cpu" or value.dtype not in cls.dtypes or not _lies(value, cls.layout):
            names = " or ".join(dtype_name(dtype) for dtype in cls.dtypes)
            raise ValueError(
                f"expected a {cls.layout} tensor of {names} on the CPU for native code, got one on "
                f"{value.device} of {dtype_name(value.dtype)} with shape "
                f"{tuple(value.shape)} and strides {value.stride()}"
            )
        return cls(value.data_ptr())


def _lies(x: Tensor, layout: str) -> bool:
    if layout == "channels_last":
        return x.movedim(0 if x.dim() == 3 else 1, -1).is_contiguous()
    return layout == "strided" or x.is_contiguous()


class Float32(Pointer):
    """``float *``."""


class Float32OrNull(Pointer):
    """``float *`` or null, for None."""

    nullable = True


class Float32Strided(Pointer):
    """``float *`` whose strides are further arguments."""

    layout = "strided"


class Float32ChannelsLast(Pointer):
    """``float *`` to channels_last pixels."""

    layout = "channels_last"


class Float32ChannelsLastOrNull(Float32ChannelsLast):
    """The same, or null, for None."""

    nullable = True


class Float64(Pointer):
    """``double *``."""

    dtypes = (torch.float64,)


class Int32(Pointer):
    """``int *``."""

    dtypes = (torch.int32,)


class Int32OrNull(Int32):
    """``int *`` or null, for None."""

    nullable = True


class Values(Pointer):
    """``char *`` or ``void *``, to float32 or bfloat16, as another argument says."""

    dtypes = (torch.float32, torch.bfloat16)


class ValuesStrided(Values):
    """``char *`` whose strides are further arguments."""

    layout = "strided"


class ValuesStridedOrNull(ValuesStrided):
    """The same, or null, for None."""

    nullable = True


class ValuesChannelsLast(Values):
    """``char *`` to channels_last pixels."""

    layout = "channels_last"


class ValuesChannelsLastOrNull(ValuesChannelsLast):
    """The same, or null, for None."""

    nullable = True


class Codes(Pointer):
    """``uint8_t *`` to integers of one or two bytes, as another argument says; others are strides."""

    dtypes = (torch.uint8, torch.uint16)
    layout = "strided"


class Struct(ctypes.Structure):
    """A struct whose pointers are set from tensors, which it keeps alive."""

    def __init__(self, *values: Any):
        fields = zip(_converted_kinds(type(self)), values, strict=True)
        super().__init__(*(value if kind is None else _convert(kind, value) for kind, value in fields))
        self._tensors = values


@cache
def _converted_kinds(struct: type[Struct]) -> tuple[Any, ...]:
    """The kind of each field whose values are converted; None for others."""
    kinds = (field[1] for field in struct._fields_)
    return tuple(kind if issubclass(kind, ctypes.Array | Pointer) else None for kind in kinds)


def _convert(kind: Any, value: Any) -> Any:
    """Convert a value for a field of a ctypes kind, a pointer or an array."""
    if issubclass(kind, Pointer):
        return kind.from_param(value)
    if isinstance(value, kind):
        return value
    element = kind._type_
    return kind(*(_convert(element, x) for x in value) if issubclass(element, Pointer) else value)


def _fields(kind: Any, names: str) -> tuple[tuple[str, Any], ...]:
    return tuple((name, kind) for name in names.split())


class Strided(Struct):
    """``struct tweenlet_strided``: a tensor (B, C, H, W) by its strides."""

    _fields_ = (("values", Float32Strided), *_fields(DISTANCE, "sample channel row pixel"))


class Image(Struct):
    """``struct tweenlet_image``: pixels of one image, channels_last."""

    _fields_ = (("values", ValuesStrided), *_fields(DISTANCE, "row pixel"))


class Layout(Struct):
    """``struct tweenlet_layout``: slices of pixels, channels_last."""

    _fields_ = (*_fields(DISTANCE, "slice row pixel"), ("is_bf16", INT))


class Input(Struct):
    """``struct tweenlet_input``: some of a layer's input channels."""

    _fields_ = (("values", ValuesStrided), ("channels", INT), ("layout", Layout))


class Taps(Struct):
    """``struct tweenlet_taps``: a frame, and for each of its pixels side * side samples of it."""

    _fields_ = (
        *_fields(INT, "side dilation batch channels height width"),
        *_fields(Float32, "frame weight rows columns"),
    )


class Positions(Struct):
    """``struct tweenlet_positions``: the small rows or columns on either side of each large one."""

    _fields_ = (*_fields(INT, "small large"), ("first", Int32OrNull), ("shares", Float32OrNull))


class AdacofHead(Struct):
    """``struct tweenlet_adacof_head``: the last steps of an AdaCoF head."""

    _fields_ = (
        *_fields(INT, "side dilation softmax"),
        ("taps", Float32 * 3),
        *_fields(Float32OrNull, "kernels bias"),
        *_fields(Positions, "rows columns"),
        ("frame", Float32),
        ("out", Float32Strided),
        ("pixel", INT),
    )


class Bottleneck(Struct):
    """``struct tweenlet_bottleneck``: a ResNeXt bottleneck's weights."""

    _fields_ = (
        *_fields(INT, "inputs inner outputs group taps stride scale"),
        ("first", INT * 2),
        ("is_bf16", INT),
        *_fields(Values, "reduce expand shortcut"),
        *_fields(Float32, "grouped reduce_bias grouped_bias bias"),
    )


class Convolution(Struct):
    """``struct tweenlet_convolution``: a convolution's weights in the Winograd domain."""

    _fields_ = (
        *_fields(INT, "inputs outputs taps tile is_bf16 enlarge shrink shuffle"),
        ("kernels", Values),
        ("bias", Float32),
        *_fields(Float32OrNull, "slope_before slope_after slope_sum"),
    )


class Estimate(Struct):
    """``struct tweenlet_estimate``: the estimate of a level of an intermediate-flow network."""

    _fields_ = (("values", Float32ChannelsLast), *_fields(INT, "channels scale"))


class Entry(Struct):
    """``struct tweenlet_entry``: the first layer of a level."""

    _fields_ = (*_fields(Float32, "kernels bias"), ("outputs", INT), ("slope", FLOAT))


class YCbCr(Struct):
    """``struct tweenlet_ycbcr``: a planar Y'CbCr picture."""

    _fields_ = (
        *(("planes", Codes * 3), ("rows", DISTANCE * 3)),
        *_fields(INT, "is_wide height width"),
        *_fields(INT * 2, "halved cosited"),
    )


class Blocks(Struct):
    """``struct tweenlet_blocks``: a plane of three pictures, in blocks."""

    _fields_ = (
        *(("planes", Codes * 3), ("rows", DISTANCE * 3)),
        *_fields(INT, "is_wide height width down across"),
    )


class _Size(ctypes.Structure):
    _fields_ = (("name", ctypes.c_char_p), ("size", DISTANCE))


STRUCTS: dict[str, type[Struct]] = {
    "strided": Strided,
    "image": Image,
    "layout": Layout,
    "input": Input,
    "taps": Taps,
    "positions": Positions,
    "adacof_head": AdacofHead,
    "bottleneck": Bottleneck,
    "convolution": Convolution,
    "estimate": Estimate,
    "entry": Entry,
    "ycbcr": YCbCr,
    "blocks": Blocks,
}
"""Structs by their names in C, without the prefix."""
POINTER_TO = {struct: ctypes.POINTER(struct) for struct in STRUCTS.values()}
PICTURES = (Float32, Float32, Float32)
STATUS, NOTHING, NUMBER = "status", "nothing", "number"
PROTOTYPES: dict[str, tuple[Any, ...]] = {
    "vector_lanes": (NUMBER,),
    "has_bf16": (NUMBER,),
    "adacof_forward": (NOTHING, POINTER_TO[Taps], POINTER_TO[Strided], INT),
    "adacof_backward": (NOTHING, POINTER_TO[Taps], POINTER_TO[Strided], *[Float32] * 3, INT),
    "pad_frame": (NOTHING, Float32Strided, *[DISTANCE] * 3, INT, INT, Float32, INT),
    "adacof_head": (STATUS, POINTER_TO[AdacofHead], INT),
    "equal_blocks": (STATUS, POINTER_TO[Blocks], Int32),
    "close_blocks": (STATUS, POINTER_TO[Blocks], *[FLOAT] * 4, Int32),
    "copy_blocks": (NOTHING, POINTER_TO[Blocks], Int32),
    "bottleneck": (STATUS, POINTER_TO[Bottleneck], *[POINTER_TO[Image]] * 2, *[INT] * 3),
    "correlation": (STATUS, *[POINTER_TO[Strided]] * 2, Float32, *[INT] * 5),
    "scale_shift_act": (
        *(NOTHING, INT, ValuesChannelsLast, Float32, Float32, ValuesChannelsLastOrNull),
        *(FLOAT, DISTANCE, INT, INT),
    ),
    "pooled_level_inputs": (
        *(STATUS, *[Float32Strided] * 2, POINTER_TO[Estimate], INT, Float32ChannelsLast, FLOAT),
        *[INT] * 7,
    ),
    "level_entry": (
        *(STATUS, *[Float32Strided] * 2, POINTER_TO[Estimate], INT, POINTER_TO[Entry]),
        *(Float32ChannelsLast, Float32ChannelsLastOrNull, FLOAT, FLOAT, *[INT] * 7),
    ),
    "merge_warped": (STATUS, *[Float32Strided] * 2, POINTER_TO[Estimate], INT, Float32, *[INT] * 4),
    "fetch_both": (
        STATUS,
        Float32,
        Float32,
        Float32Strided,
        Float32ChannelsLast,
        *[DISTANCE] * 3,
        *[INT] * 3,
    ),
    "mix": (
        *(STATUS, Float32, Float32, Float32ChannelsLast, Float32Strided, Float32ChannelsLastOrNull),
        *(Float32, Float32, *[DISTANCE] * 2, *[INT] * 3),
    ),
    "static_overlay": (STATUS, Float32, Int32, Float32, Float32, INT, INT, *[FLOAT] * 5, INT),
    "prelu_backward": (
        *(NOTHING, INT, ValuesChannelsLast, ValuesChannelsLast, Float32, ValuesChannelsLast, Float64),
        *(DISTANCE, INT, INT),
    ),
    "ycbcr_to_rgb": (STATUS, POINTER_TO[YCbCr], Float32, Float32, INT, Float32),
    "rgb_to_ycbcr": (STATUS, *[Float32] * 3, FLOAT, POINTER_TO[YCbCr]),
    "channel_sum": (NOTHING, INT, ValuesChannelsLast, Float64, DISTANCE, INT, INT),
    "downsample": (STATUS, *[Float32] * 3, DISTANCE, *[INT] * 4),
    "upsample_8tap": (STATUS, *[Float32] * 3, DISTANCE, *[INT] * 4),
    "avg_pool2": (NOTHING, Float32Strided, Float32Strided, DISTANCE, *[INT] * 4),
    "box_blur": (STATUS, Float32, Float32, DISTANCE, *[INT] * 4),
    "upsample_rows": (NOTHING, INT, ValuesChannelsLast, ValuesChannelsLast, *[INT] * 7),
    "splat_sum": (STATUS, *[Float32] * 3, *[INT] * 4),
    "backwarp": (STATUS, *[Float32Strided] * 3, INT, *[DISTANCE] * 4, *[INT] * 4),
    "winograd": (
        *(STATUS, POINTER_TO[Convolution], POINTER_TO[Input], INT, ValuesStrided, POINTER_TO[Layout]),
        *(ValuesStridedOrNull, *[INT] * 6),
    ),
    "residual_blocks": (
        *(STATUS, POINTER_TO[Convolution], INT, *[ValuesChannelsLast] * 3, POINTER_TO[Layout], *[INT] * 4),
    ),
}
"""Functions by their names in C, without the prefix -> type of the result, then of the arguments."""


class Library:
    """The compiled functions, by their names without the prefix. OSError for an incompatible file."""

    def __init__(self, path: Path):
        library = ctypes.CDLL(str(path))
        _check_sizes(library)
        for name, (result, *arguments) in PROTOTYPES.items():
            try:
                function = library[f"tweenlet_{name}"]
            except AttributeError as error:
                raise OSError(str(error)) from error
            function.argtypes = arguments
            function.restype = None if result == NOTHING else INT
            if result == STATUS:
                function.errcheck = _raise_for_status
            setattr(self, name, function)

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Callable[..., Any]: ...


def share_functions(path: str) -> None:
    """Let libraries loaded from now on use the functions of this one. OSError if it cannot be loaded."""
    ctypes.CDLL(path, ctypes.RTLD_GLOBAL)


def for_each_sample(call: Callable[..., None], batches: Sequence[Tensor], *settings: Any) -> None:
    """Call native code for each sample of tensors (B, ...)."""
    for sample in zip(*batches, strict=True):
        call(*sample, *settings)


def array(items: Iterable[Struct]) -> Any:
    """A C array of structs of one kind."""
    first, *rest = items
    return (type(first) * (1 + len(rest)))(first, *rest)


def _check_sizes(library: ctypes.CDLL) -> None:
    try:
        exported = (_Size * (len(STRUCTS) + 1)).in_dll(library, "tweenlet_sizes")
    except ValueError as error:
        raise OSError(str(error)) from error
    sizes = {entry.name.decode(): entry.size for entry in exported if entry.name}
    declared = {name: ctypes.sizeof(struct) for name, struct in STRUCTS.items()}
    if sizes != declared:
        raise OSError(f"expected structs of these sizes in bytes: {declared}, got {sizes}")


def _raise_for_status(status: Any, function: Any, arguments: Any) -> Any:  # noqa: ARG001
    if status > 0:
        raise MemoryError(f"not enough memory for {function.__name__}")
    if status:
        raise ValueError(f"expected a layer that {function.__name__} implements")
