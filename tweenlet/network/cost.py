"""Cost: parameters, multiply-adds and numbers moved of a network, part by part.

A multiply-add is one product and one sum in a convolution or linear layer, counted on meta tensors, so that
any frame size takes a second. Not counted: AdaCoF, correlation, warps and splats (under one percent together)
and activations.

Numbers moved are those that each layer reads (weights included) and writes, once each: convolutions, AdaCoF,
gathers and scatters. Pointwise work (activations, sums, resizing, cost volumes) can be fused with a
neighbouring layer, so it is free here. Times the bytes per number, this is the least memory traffic of a
network whose layers run one by one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from tweenlet.network.config import ModelConfig
from tweenlet.network.four_frames import FourFrameFlow
from tweenlet.network.stmfnet import FRAMES, STMFNet

OFFICIAL_STRIDE = 128
SIZES = {"480p": (854, 480), "720p": (1280, 720), "1080p": (1920, 1080), "4k": (3840, 2160)}


@dataclass(frozen=True)
class PartCost:
    """Cost of one part of a network."""

    parameters: int
    multiply_adds: int
    """Multiply-adds per new frame."""
    moved: int = 0
    """Numbers that the layers read and write per new frame."""


@dataclass(frozen=True)
class Cost:
    """Cost of a network at one frame size."""

    height: int
    width: int
    """Width of the padded frame, in pixels."""
    parts: Mapping[str, PartCost]
    """Costs by part, in the order of the data flow."""
    unused: PartCost
    """Blocks of the fusion grid that never reach the output. Their parameters are among those of the parts;
    their multiply-adds are not, because they are not computed. The official code computes them."""

    @property
    def parameters(self) -> int:
        """All parameters, fixed constants and unused blocks included."""
        return sum(part.parameters for part in self.parts.values())

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds per new frame, as tweenlet runs the network."""
        return sum(part.multiply_adds for part in self.parts.values())

    @property
    def moved(self) -> int:
        """Numbers that all layers read and write per new frame."""
        return sum(part.moved for part in self.parts.values())

    @property
    def multiply_adds_official(self) -> int:
        """Multiply-adds per new frame as the official code runs it, unused blocks included."""
        return self.multiply_adds + self.unused.multiply_adds


def cost(config: ModelConfig, height: int, width: int, pad_to: int | None = None) -> Cost:
    """Count the cost of ``STMFNet(config)`` for frames of ``height`` x ``width``.

    The frame is padded to a multiple of the network's stride, or of ``pad_to`` if that is larger (the
    official code pads to 128). In a stream, whatever does not depend on the time is computed once: an
    intermediate-flow branch encodes one frame per new frame, and its levels see one pair. ValueError for a
    size under one pixel.
    """
    from torch.utils.flop_counter import FlopCounterMode  # 70 MB that few callers need

    if min(height, width) < 1:
        raise ValueError(f"expected a frame of at least one pixel, got {width}x{height}")
    with torch.device("meta"):
        model = STMFNet(config).eval()
        stride = max(model.stride, pad_to or 1)
        height, width = (-(-side // stride) * stride for side in (height, width))
        frames = torch.empty(1, FRAMES, 3, height, width)
    traffic = FlopCounterMode(display=False, custom_mapping=MOVED)
    counter = FlopCounterMode(display=False, custom_mapping=TAPS)
    with torch.no_grad(), counter, traffic:
        model(frames)
    counted, moved = counter.get_flop_counts(), traffic.get_flop_counts()
    parts = {}
    for name, part in parts_of(model).items():
        path = next(path for path, module in model.named_modules() if module is part)
        share = _calls(model.intermediate, part)
        parts[name] = PartCost(
            parameters_of(part),
            sum(counted[f"STMFNet.{path}"].values()) // 2 // share,
            sum(n for op, n in moved[f"STMFNet.{path}"].items() if op in MOVED) // share
            + (_moved_by_adacof(config, height, width) if part is model.multi_flow else 0),
        )
    if rest := parameters_of(model) - sum(part.parameters for part in parts.values()):
        parts["the rest"] = PartCost(rest, 0)
    return Cost(height, width, parts, _unused(model, height, width))


def parts_of(model: nn.Module) -> dict[str, nn.Module]:
    """The parts of a network, or of its copy for inference, by name, in the order of the data flow.

    These are its branches; for an intermediate-flow branch the encoder, levels (coarsest first) and head.
    """
    parts = dict(model.named_children())
    if (branch := parts.pop("intermediate", None)) is not None:
        assert isinstance(branch.levels, nn.ModuleList)
        assert isinstance(branch.encode, nn.Module)
        parts["encoder"] = branch.encode
        for scale, level in zip(branch.scales, branch.levels, strict=True):  # type: ignore[arg-type]
            parts[f"level 1/{scale}"] = level
        if isinstance(head := getattr(branch, "head", None), nn.Module):
            parts["head"] = head
    return parts


def _calls(branch: nn.Module | None, part: nn.Module) -> int:
    """Calls of a part per window, of which a stream needs one: one frame and one pair are new."""
    if isinstance(branch, FourFrameFlow):
        coarse = any(part is level for level in branch.levels[:-1])
        return FRAMES if part is branch.encode else FRAMES - 1 if coarse else 1
    return 2 if part is getattr(branch, "encode", None) else 1


def size_of(text: str) -> tuple[int, int]:
    """(width, height) of "480p", "1080p", "854x480", ...; ValueError for any other text."""
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    if match and int(match[1]) and int(match[2]):
        return int(match[1]), int(match[2])
    if text.lower() not in SIZES:
        raise ValueError(f"expected a size such as 854x480 or one of {', '.join(SIZES)}, got {text!r}")
    return SIZES[text.lower()]


def parameters_of(model: nn.Module) -> int:
    """Number of parameters of a network or part."""
    return sum(p.numel() for p in model.parameters())


def _unused(model: STMFNet, height: int, width: int) -> PartCost:
    """Cost of the blocks that are not computed; all their convolutions would run at the size of their row."""
    parameters = multiply_adds = 0
    if model.fusion is None:
        return PartCost(0, 0)
    for row, scale in enumerate(model.config.scales[: model.fusion.out_row]):
        for block in model.fusion.unused_blocks(row):
            weights = sum(p.numel() for p in block.parameters() if p.dim() == 4)
            parameters += parameters_of(block)
            multiply_adds += weights * round(scale**2 * height * width)
    return PartCost(parameters, multiply_adds)


def _numbers(*inputs: Any, out_shape: torch.Size, **_: Any) -> int:
    """Numbers that an operation reads and writes, from the shapes of its inputs and output."""
    return sum(x.numel() for x in (*inputs, out_shape) if isinstance(x, torch.Size))


def _quarter(*inputs: Any, out_shape: torch.Size, **_: Any) -> int:
    """Numbers moved by one of a splat's four sums, which share one read of the sources and one write."""
    source: torch.Size = inputs[3]
    return (source.numel() + out_shape.numel()) // 4


def _each(*_: Any, out_shape: torch.Size, **__: Any) -> int:
    """Two operations per number of the output."""
    return 2 * out_shape.numel()


TAPS: dict[Any, Callable[..., int]] = {torch.ops.aten.addcmul: _each, torch.ops.aten.addcmul_: _each}
"""Operations of filters other than convolutions."""
MOVED: dict[Any, Callable[..., int]] = {
    torch.ops.aten.convolution: _numbers,
    torch.ops.aten.addmm: _numbers,
    torch.ops.aten.mm: _numbers,
    torch.ops.aten.bmm: _numbers,
    torch.ops.aten.grid_sampler_2d: _numbers,
    torch.ops.aten.index_add: _quarter,
}
"""PyTorch operator -> how to count the numbers it moves; AdaCoF is counted separately."""


def _moved_by_adacof(config: ModelConfig, height: int, width: int) -> int:
    """Numbers moved by AdaCoF: three per tap, the frame and the output, for two frames at each scale."""
    pixels = sum(round(scale**2 * height * width) for scale in config.scales)
    return 2 * pixels * (3 * config.kernel_size**2 + 3 + 3)
