"""ModelConfig: the widths, branches and scales of one ST-MFNet, as a value.

A model is a value: the teacher, the paper's Mini, the default network and every pruned network differ only in
these numbers. A checkpoint carries its config, and ``STMFNet(config)`` builds the one network class.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from typing import Any

SCALES = (2.0, 1.0, 0.5)
NARROWEST_FEATURE = 32
"""A ResNeXt of width w has int(w / 2 * 4 / 64) * 32 inner channels: none below this width."""
TEXTURE_LEVELS = 4
WIDEST, MOST_LEVELS = 2**13, 16
"""Sanity limits, far beyond what can be run: a file with more is damaged."""


@dataclass(frozen=True)
class FlowLevel:
    """One level of an intermediate-flow branch."""

    scale: int
    """Downsampling factor of the frame, a power of two, before the level's own two strided convolutions."""
    width: int
    """Channels of the residual blocks, even."""
    blocks: int
    """Number of residual blocks."""

    def __post_init__(self) -> None:
        for name in ("scale", "width", "blocks"):
            _check_width(name, getattr(self, name), least=0)
        if self.scale < 1 or self.scale & (self.scale - 1):
            raise ValueError(f"expected the scale of a level to be a power of two, got {self.scale}")
        if self.width < 2 or self.width % 2 or self.blocks < 0:
            raise ValueError(
                f"expected an even width and 0 or more blocks, got {self.width} and {self.blocks}"
            )


@dataclass(frozen=True)
class IntermediateFlowConfig:
    """An intermediate-flow branch (IFNet); ValueError for one that cannot be built."""

    levels: tuple[FlowLevel, ...]
    """Levels, coarsest first, with decreasing scales."""
    encoder: tuple[int, int] = (16, 4)
    """Hidden and output widths of the encoder, which sees one frame at a time."""
    context: int = 8
    """Channels of context that a level passes to the next."""
    four_frames: bool = False
    """Time the motion by the pairs of frames before and after, and work at half the frame's size, so that the
    finest level has scale 2. False = as in RIFE."""
    head: int = 0
    """Width of a residual head at half the frame's size, which corrects the blended frame; only with four
    frames. 0 = none."""

    def __post_init__(self) -> None:
        if not isinstance(self.four_frames, bool) or len(self.encoder) != 2:
            raise ValueError(f"expected two widths of the encoder, got {self.encoder!r:.100}")
        for width in (*self.encoder, self.context):
            _check_width("encoder and context", width)
        if self.head:
            _check_width("head", self.head)
            if not self.four_frames:
                raise ValueError(f"a head goes with four frames only, got one of {self.head} channels")
        scales = [level.scale for level in self.levels]
        if not scales or any(finer >= coarser for coarser, finer in pairwise(scales)):
            raise ValueError(f"expected levels from coarse to fine, one or more, got scales {scales}")
        if self.four_frames and (len(scales) < 2 or scales[-1] != 2):
            raise ValueError(f"expected scales down to 2 for four frames, two or more, got {scales}")

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> IntermediateFlowConfig:
        """The inverse of ``asdict``; ValueError for other types and for a branch that cannot be built."""
        try:
            levels = tuple(FlowLevel(**level) for level in values["levels"])
            return cls(**{**values, "levels": levels, "encoder": tuple(values["encoder"])})
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"expected an intermediate-flow branch, got {values!r:.100}") from error


@dataclass(frozen=True)
class ModelConfig:
    """One network of the ST-MFNet family; ValueError for one that cannot be built.

    Width tuples run finest level first. ``None`` means that there is no such branch.

    Examples:
        >>> config = tweenlet.ModelConfig(features=(32, 64, 128, 256), flow=None)
        >>> config == tweenlet.ModelConfig.from_json(config.to_json())
        True

    """

    scales: tuple[float, ...] = SCALES
    """Sizes of the fusion grid's rows relative to the frame, finest first: a run of 2, 1, 0.5 around 1."""
    features: tuple[int, ...] | None = (64, 128, 256, 512)
    """Widths of the U-shaped multi-scale ResNeXt that feeds the AdaCoF heads; None = no AdaCoF branch."""
    kernel_hidden: int = 64
    """Hidden width of the AdaCoF heads."""
    kernel_size: int = 5
    """Taps of an AdaCoF kernel along each side."""
    dilation: int = 1
    """Dilation of the AdaCoF kernel: distance between the taps' starting positions, in pixels."""
    flow: tuple[int, ...] | None = (16, 32, 64, 96, 128, 196)
    """Widths of the PWC pyramid; None = no flow branch."""
    grid: tuple[int, ...] | None = (32, 64, 96)
    """Widths of the fusion grid's rows, one per scale; None only beside an intermediate-flow branch."""
    texture: tuple[int, ...] | None = (32, 64, 96, 128)
    """Widths of the 3-D U-net that adds texture; None = none."""
    texture_out: int = 32
    """Width at which the texture network fuses its five time slices."""
    intermediate: IntermediateFlowConfig | None = None
    """An intermediate-flow branch, which stands alone and takes a time; None = no such branch."""

    def __post_init__(self) -> None:
        """Raise ValueError for a network that cannot be built."""
        self._check_kinds()
        if self.intermediate is not None:
            if (self.features, self.flow, self.grid, self.texture) != (None,) * 4:
                raise ValueError("an intermediate-flow branch stands alone: the other branches must be None")
            return
        start = SCALES.index(self.scales[0]) if self.scales and self.scales[0] in SCALES else 0
        if (
            not self.scales
            or self.scales != SCALES[start : start + len(self.scales)]
            or 1.0 not in self.scales
        ):
            raise ValueError(f"scales must be a run of {SCALES} that contains 1.0, got {self.scales}")
        if self.grid is None or len(self.grid) != len(self.scales):
            raise ValueError(f"the grid needs one width per scale: {len(self.scales)}, got {self.grid}")
        if self.features is None and self.flow is None:
            raise ValueError("features and flow are both None: nothing would make a candidate frame")
        if self.features is None and self.scales[0] > 1:
            raise ValueError(
                f"without the kernel branch (features) nothing makes candidates at scale {self.scales[0]}"
            )
        if self.features is not None and (
            not self.features or any(w < NARROWEST_FEATURE or w % 2 for w in self.features)
        ):
            raise ValueError(
                f"features must be even and at least {NARROWEST_FEATURE} (a narrower ResNeXt has no inner "
                f"channels), got {self.features}"
            )
        if self.flow is not None and len(self.flow) < 2:
            raise ValueError(f"a PWC pyramid (flow) needs two levels or more, got {self.flow}")
        if self.texture is not None and len(self.texture) != TEXTURE_LEVELS:
            raise ValueError(f"texture needs {TEXTURE_LEVELS} widths, got {self.texture}")

    def _check_kinds(self) -> None:
        """Check that fields are integers from 1 to WIDEST, or tuples of them: files may hold anything."""
        for name in ("kernel_hidden", "kernel_size", "dilation", "texture_out"):
            _check_width(name, getattr(self, name))
        for name in ("features", "flow", "grid", "texture"):
            widths = getattr(self, name)
            if widths is None:
                continue
            if not isinstance(widths, tuple) or len(widths) > MOST_LEVELS:
                raise ValueError(f"{name} must be None or at most {MOST_LEVELS} widths, got {widths!r:.100}")
            for width in widths:
                _check_width(name, width)
        if not isinstance(self.scales, tuple):
            raise ValueError(f"scales must be a run of {SCALES} that contains 1.0, got {self.scales!r:.100}")

    def to_json(self) -> dict[str, Any]:
        """The config as plain JSON types."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self).items()
            if name != "intermediate" or value is not None
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> ModelConfig:
        """The inverse of :meth:`to_json`; ValueError for unknown fields and for an invalid network."""
        names = {f.name for f in fields(cls)}
        if not isinstance(values, dict):
            raise ValueError(f"expected a JSON object of fields, got {values!r:.100}")
        values = _without_classical_motion(values)
        problems = {"unknown": set(values) - names, "missing": names - {"intermediate"} - set(values)}
        if any(problems.values()):
            listed = (f"{kind} {', '.join(sorted(found))}" for kind, found in problems.items() if found)
            raise ValueError(f"its fields are not those of ModelConfig: {'; '.join(listed)}")
        values = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
        if values.get("intermediate") is not None:
            values["intermediate"] = IntermediateFlowConfig.from_json(values["intermediate"])
        return cls(**values)


def _without_classical_motion(values: dict[str, Any]) -> dict[str, Any]:
    """Drop the fields that versions with classical motion wrote; ValueError for a network that uses it."""
    if values.get("flow") == "dis" or values.get("refine") is not None:
        raise ValueError(
            'made by a version with classical motion (flow "dis"), which this one cannot run: use the '
            "bundled weights, or train again"
        )
    return {name: value for name, value in values.items() if name != "refine"}


def _check_width(name: str, width: Any, least: int = 1) -> None:
    if isinstance(width, bool) or not isinstance(width, int):
        raise ValueError(f"{name} must be of whole numbers, got {width!r:.100}")
    if not least <= width <= WIDEST:
        raise ValueError(f"{name} must be positive, and at most {WIDEST}, got {width!r:.100}")


STMFNET = ModelConfig()
"""The teacher: ST-MFNet, 21,028,799 parameters.

>>> tweenlet.STMFNET.features
(64, 128, 256, 512)
"""

MINI = ModelConfig(
    features=(32, 64, 96, 128), kernel_hidden=30, flow=None,
    grid=(16, 32, 46), texture=(16, 24, 32, 40), texture_out=8,
)  # fmt: skip
"""The paper's ST-MFNet Mini, 1,822,162 parameters.

>>> sum(weights.numel() for weights in tweenlet.STMFNet(tweenlet.MINI).parameters())
1822162
"""

DEFAULT = ModelConfig(
    scales=(1.0,), features=None, flow=None, grid=None, texture=None,
    intermediate=IntermediateFlowConfig(
        (FlowLevel(16, 176, 8), FlowLevel(8, 112, 8), FlowLevel(4, 96, 8), FlowLevel(2, 64, 8)),
        four_frames=True, head=32,
    ),
)  # fmt: skip
"""The default, 4,804,237 parameters: motion timed by four frames, for any time between the middle two."""

RIFE = ModelConfig(
    scales=(1.0,), features=None, flow=None, grid=None, texture=None,
    intermediate=IntermediateFlowConfig((
        FlowLevel(16, 192, 8), FlowLevel(8, 128, 8), FlowLevel(4, 96, 8), FlowLevel(2, 64, 8),
        FlowLevel(1, 32, 8),
    )),
)  # fmt: skip
"""RIFE 4.25, 5,664,776 parameters: two frames and a time."""

TINY = ModelConfig(
    features=(32, 32), kernel_hidden=8, kernel_size=3, flow=None,
    grid=(4, 6, 8), texture=(4, 4, 6, 6), texture_out=4,
)  # fmt: skip
"""For tests: every branch of MINI, in milliseconds on a CPU."""
