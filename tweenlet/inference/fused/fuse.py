"""Fuse a part of the network for inference: norms and activations folded, blocks replaced."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from tweenlet.inference.fused.blocks import (
    FusedBlock,
    FusedEncoder,
    FusedFlowDecoder,
    FusedLateral,
    FusedLevel,
    FusedResidual,
    FusedResidualBlock,
    FusedResidualHead,
)
from tweenlet.inference.fused.layers import (
    Conv3d,
    InPlaceGate,
    Pointwise,
    Winograd,
    batchnorm_scale_shift,
    channels_last,
)
from tweenlet.network.blocks import ChannelGate
from tweenlet.network.features import Block
from tweenlet.network.flow import Decoder
from tweenlet.network.four_frames import HalfSizeEncoder, ResidualHead
from tweenlet.network.fusion import Lateral
from tweenlet.network.intermediate_flow import Encoder, Level, ResidualBlock
from tweenlet.network.texture import Residual
from tweenlet.ops.cpu.packing import vector_lanes

NARROWEST = 6
"""Fewest input channels for which Winograd's method pays."""
SHAPES = (
    *(((3, 3), (1, 1), (dilation, dilation), (dilation, dilation), 1, (0, 0)) for dilation in (1, 2, 4, 8)),
    ((4, 4), (2, 2), (1, 1), (1, 1), 1, (0, 0)),
    ((3, 4, 4), (1, 2, 2), (1, 1, 1), (1, 1, 1), 1, (0, 0, 0)),
)
"""Convolutions run by Winograd's method: (kernel, stride, padding, dilation, groups, output_padding)."""
STRIDED = ((3, 3), (2, 2), (1, 1), (1, 1), 1, (0, 0))
"""A strided shape that pays too, in float32 with vectors of 16; elsewhere oneDNN is as fast or faster."""
FUSED: dict[type[nn.Module], Callable[[Any], nn.Module]] = {
    Block: FusedBlock,
    Residual: FusedResidual,
    Lateral: FusedLateral,
    Decoder: FusedFlowDecoder,
    Encoder: FusedEncoder,
    HalfSizeEncoder: FusedEncoder,
    ResidualBlock: FusedResidualBlock,
    ResidualHead: FusedResidualHead,
    Level: FusedLevel,
    ChannelGate: InPlaceGate,
}
"""Class of a plain block -> class of its fused replacement."""
CONVOLUTIONS = (nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d)
Module = TypeVar("Module", bound=nn.Module)


def fuse_for_inference(
    module: Module, dtype: torch.dtype = torch.float32, compute_dtype: torch.dtype = torch.float32
) -> Module:
    """Copy a part of the network for inference.

    Args:
        module: the part; in eval mode it computes the same as the copy, up to rounding.
        dtype: dtype of the copy's weights.
        compute_dtype: dtype of the products in Winograd's method.

    Returns:
        The copy: norms and activations folded into convolutions, weights channels last, layers and blocks
        replaced by faster ones.

    """
    copy = deepcopy(module).eval().requires_grad_(False)
    parts = list(copy.modules())
    for part in parts:
        if isinstance(part, Residual):
            part.first.append(nn.ReLU())
        if isinstance(part, nn.Sequential):
            fold_norms(part)
    copy = copy.to(dtype)
    for parameter in copy.parameters():
        if parameter.dim() == 4:
            parameter.data = channels_last(parameter.data)
        if parameter.dim() == 5:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last_3d)
    for part in reversed(parts):  # innermost first
        for name, child in part.named_children():
            setattr(part, name, _replacement(child, compute_dtype))
    for part in parts:
        if isinstance(part, nn.Sequential):
            _fold_activations(part)
    return copy


def _replacement(part: nn.Module, compute_dtype: torch.dtype) -> nn.Module:
    """A faster equivalent layer or block, or the part itself."""
    for kind, faster in FUSED.items():
        if isinstance(part, kind):
            return faster(part)
    if isinstance(part, nn.Conv3d) and part.kernel_size == (1, 1, 1):
        return Pointwise(part)
    if isinstance(part, nn.Conv3d):
        # a PerSliceConv3d pads by itself: its own padding is zero
        plain = Conv3d(part.weight, part.bias, part.stride, tuple(size // 2 for size in part.kernel_size))
        suits = part.stride == (1, 1, 1) or (part.stride == (1, 2, 2) and compute_dtype == torch.float32)
        return Winograd(plain, compute_dtype) if part.kernel_size == (3, 3, 3) and suits else plain
    if isinstance(part, nn.Conv2d | nn.ConvTranspose2d | nn.ConvTranspose3d):
        shape = (part.kernel_size, part.stride, part.padding, part.dilation, part.groups, part.output_padding)
        strided = shape == STRIDED and compute_dtype == torch.float32 and vector_lanes() == 16
        suits = shape in SHAPES or strided
        return Winograd(part, compute_dtype) if part.in_channels >= NARROWEST and suits else part
    return part


def fold_norms(layers: nn.Sequential) -> None:
    """Fold norms into the convolutions right before them."""
    for index in reversed(range(1, len(layers))):
        layer, norm = layers[index - 1], layers[index]
        if isinstance(layer, CONVOLUTIONS) and isinstance(norm, nn.BatchNorm2d | nn.BatchNorm3d):
            _fold_norm(layer, norm)
            del layers[index]


def _fold_activations(layers: nn.Sequential) -> None:
    """Fold activations into the neighbouring convolutions, or let them work in place."""
    for index in reversed(range(len(layers))):
        if (slope := _slope(layers[index])) is None:
            continue
        previous = layers[index - 1] if index else None
        following = layers[index + 1] if index + 1 < len(layers) else None
        if isinstance(previous, Winograd):
            previous.slope_after = slope
            del layers[index]
        elif isinstance(following, Winograd):
            following.slope_before = slope
            del layers[index]
        elif slope.numel() == 1:
            layers[index] = nn.LeakyReLU(slope.item(), inplace=previous is not None)


def _slope(layer: nn.Module) -> Tensor | None:
    """Negative slope of an activation, 1 or C numbers; None for any other layer."""
    if isinstance(layer, nn.ReLU):
        return torch.zeros(1)
    if isinstance(layer, nn.LeakyReLU):
        return torch.tensor([layer.negative_slope])
    return layer.weight.detach().float() if isinstance(layer, nn.PReLU) else None


def _fold_norm(
    layer: nn.Conv2d | nn.Conv3d | nn.ConvTranspose2d | nn.ConvTranspose3d,
    norm: nn.BatchNorm2d | nn.BatchNorm3d,
) -> None:
    """Fold an eval-mode batch norm into the preceding bias-free convolution."""
    scale, shift = batchnorm_scale_shift(norm)
    groups, rest = layer.groups, layer.weight.shape[1:]
    if layer.transposed:  # (groups * inputs, outputs, ...)
        scales = scale.view(groups, 1, -1, *[1] * (len(rest) - 1))
        weight = (layer.weight.view(groups, -1, *rest) * scales).flatten(0, 1)
    else:  # (outputs, ...)
        weight = layer.weight * scale.view(-1, *[1] * len(rest))
    layer.weight = nn.Parameter(weight, False)
    layer.bias = nn.Parameter(shift, False)
