"""A box as inference runs it: norms and activations folded, layers and blocks replaced by faster ones."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from tweenlet.inference.fused.blocks import (
    FastBlock,
    FastEncoder,
    FastFlowDecoder,
    FastLateral,
    FastLevel,
    FastResidual,
    FastResidualBlock,
    FastResidualHead,
)
from tweenlet.inference.fused.layers import Conv3d, GateInPlace, Pointwise, Winograd, affine_of, channels_last
from tweenlet.network.blocks import Gate
from tweenlet.network.features import Block
from tweenlet.network.flow import Decoder
from tweenlet.network.four_frames import HalfSizeEncoder, ResidualHead
from tweenlet.network.fusion import Lateral
from tweenlet.network.intermediate_flow import Encoder, Level, ResidualBlock
from tweenlet.network.texture import Residual
from tweenlet.ops.cpu.packing import vector_lanes

NARROWEST = 6
"""Input channels from which on Winograd's method pays."""
SHAPES = (
    *(((3, 3), (1, 1), (apart, apart), (apart, apart), 1, (0, 0)) for apart in (1, 2, 4, 8)),
    ((4, 4), (2, 2), (1, 1), (1, 1), 1, (0, 0)),
    ((3, 4, 4), (1, 2, 2), (1, 1, 1), (1, 1, 1), 1, (0, 0, 0)),
)
"""What Winograd's method is for here: kernel, stride, padding, dilation, groups, padding of the output."""
STRIDED = ((3, 3), (2, 2), (1, 1), (1, 1), 1, (0, 0))
"""And this in float32 where vectors hold 16 numbers: elsewhere oneDNN is as fast, or twice as fast."""
FASTER: dict[type[nn.Module], Callable[[Any], nn.Module]] = {
    Block: FastBlock,
    Residual: FastResidual,
    Lateral: FastLateral,
    Decoder: FastFlowDecoder,
    Encoder: FastEncoder,
    HalfSizeEncoder: FastEncoder,
    ResidualBlock: FastResidualBlock,
    ResidualHead: FastResidualHead,
    Level: FastLevel,
    Gate: GateInPlace,
}
"""Blocks, and what does the same faster."""
CONVOLUTIONS = (nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d)
Module = TypeVar("Module", bound=nn.Module)


def prepared(
    module: Module, dtype: torch.dtype = torch.float32, products: torch.dtype = torch.float32
) -> Module:
    """A copy for inference: norms and activations folded, channels last and in ``dtype``."""
    made = deepcopy(module).eval().requires_grad_(False)
    parts = list(made.modules())
    for part in parts:
        if isinstance(part, Residual):
            part.first.append(nn.ReLU())
        if isinstance(part, nn.Sequential):
            fold_norms(part)
    made = made.to(dtype)
    for parameter in made.parameters():
        if parameter.dim() == 4:
            parameter.data = channels_last(parameter.data)
        if parameter.dim() == 5:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last_3d)
    for part in reversed(parts):  # those inside first
        for name, child in part.named_children():
            setattr(part, name, _replaced(child, products))
    for part in parts:
        if isinstance(part, nn.Sequential):
            _fold_activations(part)
    return made


def _replaced(part: nn.Module, products: torch.dtype) -> nn.Module:
    """What does the same faster, or the part itself."""
    for kind, faster in FASTER.items():
        if isinstance(part, kind):
            return faster(part)
    if isinstance(part, nn.Conv3d) and part.kernel_size == (1, 1, 1):
        return Pointwise(part)
    if isinstance(part, nn.Conv3d):
        # which pads by itself if it is a SliceConv
        plain = Conv3d(part.weight, part.bias, part.stride, tuple(size // 2 for size in part.kernel_size))
        wanted = part.stride == (1, 1, 1) or (part.stride == (1, 2, 2) and products == torch.float32)
        return Winograd(plain, products) if part.kernel_size == (3, 3, 3) and wanted else plain
    if isinstance(part, nn.Conv2d | nn.ConvTranspose2d | nn.ConvTranspose3d):
        shape = (part.kernel_size, part.stride, part.padding, part.dilation, part.groups, part.output_padding)
        strided = shape == STRIDED and products == torch.float32 and vector_lanes() == 16
        wanted = shape in SHAPES or strided
        return Winograd(part, products) if part.in_channels >= NARROWEST and wanted else part
    return part


def fold_norms(layers: nn.Sequential) -> None:
    """Fold norms into the convolutions right before them."""
    for index in reversed(range(1, len(layers))):
        layer, norm = layers[index - 1], layers[index]
        if isinstance(layer, CONVOLUTIONS) and isinstance(norm, nn.BatchNorm2d | nn.BatchNorm3d):
            _fold_norm(layer, norm)
            del layers[index]


def _fold_activations(layers: nn.Sequential) -> None:
    """Give activations to the convolutions beside them, or let them work in place."""
    for index in reversed(range(len(layers))):
        if (slope := _slope(layers[index])) is None:
            continue
        before = layers[index - 1] if index else None
        after = layers[index + 1] if index + 1 < len(layers) else None
        if isinstance(before, Winograd):
            before.after = slope
            del layers[index]
        elif isinstance(after, Winograd):
            after.before = slope
            del layers[index]
        elif slope.numel() == 1:
            layers[index] = nn.LeakyReLU(slope.item(), inplace=before is not None)


def _slope(layer: nn.Module) -> Tensor | None:
    """By how much an activation multiplies what is below zero; None for another layer."""
    if isinstance(layer, nn.ReLU):
        return torch.zeros(1)
    if isinstance(layer, nn.LeakyReLU):
        return torch.tensor([layer.negative_slope])
    return layer.weight.detach().float() if isinstance(layer, nn.PReLU) else None


def _fold_norm(
    layer: nn.Conv2d | nn.Conv3d | nn.ConvTranspose2d | nn.ConvTranspose3d,
    norm: nn.BatchNorm2d | nn.BatchNorm3d,
) -> None:
    """Let a convolution without bias do what the norm after it does in evaluation mode."""
    scale, shift = affine_of(norm)
    groups, rest = layer.groups, layer.weight.shape[1:]
    if layer.transposed:  # (groups * inputs, outputs, ...)
        scales = scale.view(groups, 1, -1, *[1] * (len(rest) - 1))
        weight = (layer.weight.view(groups, -1, *rest) * scales).flatten(0, 1)
    else:  # (outputs, ...)
        weight = layer.weight * scale.view(-1, *[1] * len(rest))
    layer.weight = nn.Parameter(weight, False)
    layer.bias = nn.Parameter(shift, False)
