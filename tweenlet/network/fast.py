"""Fast: the network for inference alone. The same frames but for rounding, in a fraction of time and memory.

    Fast(model, dtype):  frames (B, 4, 3, H, W)  ->  (B, 3, H, W), like the model itself

    everywhere    batch norms folded into the convolutions before them; channels last; activations in place
    kernels       one stack of a head after the other; what is enlarged, and AdaCoF, by strips of rows
    texture       3-D convolutions by oneDNN; gates in place

A stack of a head enlarges its taps and convolves them after that. Both are linear, so the columns are enlarged
first, then each row of the 3x3 kernel is applied by itself, and last the rows are enlarged and summed as one
small matrix product: a third of the multiply-adds.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tweenlet.network.blocks import Gate
from tweenlet.network.kernels import SCALE_NAMES, Kernels
from tweenlet.network.stmfnet import STMFNet, check, join
from tweenlet.network.texture import SLICES, Residual, Texture
from tweenlet.ops.adacof import adacof_pixels, surface_table
from tweenlet.ops.dis import window_flows

STRIP = 32
"""Rows made at once of what is enlarged: few enough for a cache, enough for their borders not to count."""

Module = TypeVar("Module", bound=nn.Module)
NORM = (nn.BatchNorm2d, nn.BatchNorm3d)
CONVOLUTION = (nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d)


class Fast(nn.Module):
    """A copy of ``model`` for inference: what the model learns later, it does not know.

    With bfloat16 or float16 as ``dtype`` the convolutions run in it; pictures, the places where they are
    sampled, and the last layers of the fusion stay float32.
    """

    def __init__(self, model: STMFNet, dtype: torch.dtype = torch.float32):
        super().__init__()
        self.config, self.stride, self.dtype = model.config, model.stride, dtype
        self.features = None if model.features is None else _prepared(model.features, dtype)
        self.kernels = None if model.kernels is None else FastKernels(model.kernels, dtype)
        self.flow = None if model.flow is None else _prepared(model.flow)
        self.motion = None if model.motion is None else _prepared(model.motion)
        self.fusion = None
        if model.fusion is not None:
            self.fusion = _prepared(model.fusion, dtype)
            self.fusion.final = _prepared(model.fusion.final)
            self.fusion.final.register_forward_pre_hook(lambda _, inputs: (inputs[0].float(),))
        self.texture = None if model.texture is None else FastTexture(model.texture, dtype)

    @torch.no_grad()
    def forward(self, frames: Tensor, flows: Tensor | None = None) -> Tensor:
        """As the model's own."""
        check(frames, self.stride)
        before, after = frames[:, 1], frames[:, 2]
        made: dict[float, Tensor] = {}
        if self.features is not None and self.kernels is not None:
            features = self.features(*(_channels_last(x.to(self.dtype)) for x in (before, after)))
            made |= self.kernels(features, before, after)
        draft = frames.new_zeros(())
        with torch.autocast(frames.device.type, self.dtype, enabled=self.dtype != torch.float32):
            if self.flow is not None:
                join(made, {1.0: self.flow(*(_channels_last(x) for x in (before, after)))})
            if self.motion is not None:
                merged = self.motion(frames, window_flows(frames) if flows is None else flows)
                join(made, merged.candidates)
                draft = merged.frame
        if self.fusion is not None:
            inputs = {scale: _channels_last(x.to(self.dtype)) for scale, x in made.items()}
            draft = draft + self.fusion(inputs)
        return draft if self.texture is None else draft + self.texture(frames, draft)


class FastKernels(nn.Module):
    """:class:`Kernels` that never holds more than one head's taps, and those at full height at no time."""

    def __init__(self, kernels: Kernels, dtype: torch.dtype):
        super().__init__()
        self.plain = _prepared(kernels)
        self.scales, self.dilation = kernels.scales, kernels.dilation
        self.small = (
            nn.ModuleDict()
        )  # by head, then "weight", "rows", "columns": what runs at the features' size
        self.large = nn.ModuleDict()  # the same: what runs after enlarging
        for name, head in kernels.heads.items():
            stacks = {kind: getattr(head, kind) for kind in ("weight", "rows", "columns")}
            self.small[name] = nn.ModuleDict({k: _prepared(stack[:6], dtype) for k, stack in stacks.items()})
            self.large[name] = nn.ModuleDict(
                {k: Enlarge(stack[7], dtype) for k, stack in stacks.items() if len(stack) > 6}
            )

    def forward(self, features: Tensor, before: Tensor, after: Tensor) -> dict[float, Tensor]:
        """As :class:`Kernels`; candidates in float32, channels last."""
        candidates = {}
        for scale in self.scales:
            frames = {
                name: self.plain.resize(x.float(), scale)
                for name, x in (("before", before), ("after", after))
            }
            batch, _, height, width = frames["before"].shape
            made = before.new_empty(batch, height, width, 6, dtype=torch.float32)
            for half, (name, frame) in enumerate(frames.items()):
                head = f"{SCALE_NAMES[scale]}_{name}"
                small = {kind: stack(features) for kind, stack in self.small[head].items()}
                for sample in range(batch):
                    table = surface_table(frame[sample])
                    for top in range(0, height, STRIP):
                        rows = slice(top, min(top + STRIP, height))
                        taps = {
                            kind: self.large[head][kind](x[sample : sample + 1], rows, height, width)
                            if self.large[head]
                            else x[sample, :, rows].permute(1, 2, 0)
                            for kind, x in small.items()
                        }
                        made[sample, rows, :, 3 * half : 3 * half + 3] = adacof_pixels(
                            table, top, taps["weight"].float().softmax(-1), taps["rows"].float(),
                            taps["columns"].float(), self.dilation,
                        )  # fmt: skip
            candidates[scale] = made.permute(0, 3, 1, 2)
        return candidates


class Enlarge(nn.Module):
    """ReLU'd taps enlarged, corners on corners, and convolved by ``layer`` (3x3): one strip of rows at a time."""

    def __init__(self, layer: nn.Conv2d, dtype: torch.dtype):
        super().__init__()
        self.outputs = layer.out_channels
        by_row = (
            layer.weight.detach().permute(2, 0, 1, 3).flatten(0, 1)[:, :, None]
        )  # (3 outputs, inputs, 1, 3)
        self.weight = nn.Parameter(by_row.to(dtype).contiguous(memory_format=torch.channels_last), False)
        assert layer.bias is not None
        bias = torch.zeros(3, self.outputs)
        bias[1] = layer.bias.detach()
        self.bias = nn.Parameter(bias.flatten().to(dtype), False)

    def forward(self, x: Tensor, rows: slice, height: int, width: int) -> Tensor:
        """(1, C, h, w) -> these rows of (height, width, outputs)."""
        step = (x.shape[2] - 1) / (height - 1)
        places = torch.arange(rows.start - 1, rows.stop + 1, dtype=torch.float64)
        inside = (places >= 0) & (places < height)
        places = places * step
        first = max(int(places[0]), 0)
        last = min(int(places[-1]) + 1, x.shape[2] - 1)
        shares = (1 - (places[:, None] - torch.arange(first, last + 1)).abs()).clamp_min(0) * inside[:, None]
        # output row y takes row k of the kernel from enlarged row y + k - 1
        mix = torch.stack([shares[k : k + rows.stop - rows.start] for k in range(3)], 1).flatten(1)
        wide = F.interpolate(
            x[:, :, first : last + 1], (last + 1 - first, width), mode="bilinear", align_corners=True
        )
        by_row = F.conv2d(wide, self.weight, self.bias, 1, (0, 1))[0].unflatten(0, (3, self.outputs))
        precise = torch.promote_types(x.dtype, torch.float32)
        by_row = by_row.permute(0, 2, 3, 1).to(precise, copy=True, memory_format=torch.contiguous_format)
        return (mix.to(by_row) @ by_row.view(mix.shape[1], -1)).view(-1, width, self.outputs)


class FastTexture(nn.Module):
    """:class:`Texture`, channels last throughout."""

    def __init__(self, texture: Texture, dtype: torch.dtype):
        super().__init__()
        self.dtype = dtype
        plain = _prepared(texture, dtype)
        self.stem, self.stages, self.decoder, self.out = plain.stem, plain.stages, plain.decoder, plain.out
        over_slices = plain.fuse[0].weight.unflatten(1, (SLICES, -1)).transpose(1, 2)
        self.fuse = Conv3d(over_slices.flatten(3)[..., None], plain.fuse[0].bias)

    def forward(self, frames: Tensor, draft: Tensor) -> Tensor:
        """As :class:`Texture`."""
        slices = torch.cat((frames[:, :2], draft[:, None], frames[:, 2:]), 1).transpose(1, 2)
        x = self.stem(slices.to(self.dtype, memory_format=torch.channels_last_3d)).relu_()
        levels = [x]
        for stage in self.stages:
            x = stage(x)
            levels.append(x)
        levels.pop()
        x = F.leaky_relu_(self.decoder[0](x), 0.2)
        for block in self.decoder[1:]:
            x = F.leaky_relu_(block(torch.cat((x, levels.pop()), 1)), 0.2)
        x = F.leaky_relu_(self.fuse(x)[:, :, 0], 0.2)
        added: Tensor = self.out(F.pad(x, (3, 3, 3, 3), mode="reflect"))
        return added


class Conv3d(nn.Module):
    """A 3-D convolution by oneDNN, which PyTorch does not ask for one sample in float32: ten times as fast."""

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None,
        stride: Sequence[int] = (1, 1, 1),
        padding: Sequence[int] = (0, 0, 0),
    ):
        super().__init__()
        self.weight = nn.Parameter(weight.contiguous(memory_format=torch.channels_last_3d), False)
        self.bias = None if bias is None else nn.Parameter(bias, False)
        self.stride, self.padding = tuple(stride), tuple(padding)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T, H, W) -> (B, C', T, H', W')."""
        if x.device.type == "cpu" and x.dtype == torch.float32 and torch.backends.mkldnn.is_available():
            made: Tensor = torch.ops.aten.mkldnn_convolution(
                x, self.weight, self.bias, self.padding, self.stride, (1, 1, 1), 1
            )
            return made
        return F.conv3d(x, self.weight, self.bias, self.stride, self.padding)


class GateAndNorm(nn.Module):
    """A gate, in place, and the batch norm after it."""

    def __init__(self, gate: Gate, norm: nn.BatchNorm3d):
        super().__init__()
        self.gate, self.norm = gate, norm

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T, H, W) -> the same shape."""
        normed: Tensor = self.norm(x.mul_(self.gate.factors(x)))
        return normed


class FastResidual(nn.Module):
    """:class:`~tweenlet.network.texture.Residual` in place."""

    def __init__(self, plain: Residual):
        super().__init__()
        self.first, self.second, self.gate, self.shortcut = (
            plain.first,
            plain.second,
            plain.gate,
            plain.shortcut,
        )

    def forward(self, x: Tensor) -> Tensor:
        """As the plain one."""
        inner = self.second(self.first(x).relu_())
        return inner.mul_(self.gate.factors(inner)).add_(self.shortcut(x)).relu_()


def _prepared(module: Module, dtype: torch.dtype = torch.float32) -> Module:
    """A copy for inference: norms folded, convolutions channels last and in ``dtype``, activations in place."""
    made = deepcopy(module).eval().requires_grad_(False)
    for parent in list(made.modules()):
        if isinstance(parent, nn.Sequential):
            _fold(parent)
    made = made.to(dtype)
    for parent in list(made.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.Conv3d):
                padding = [size // 2 for size in child.kernel_size]
                setattr(parent, name, Conv3d(child.weight, child.bias, child.stride, padding))
            elif isinstance(child, Residual):
                setattr(parent, name, FastResidual(child))
    for parameter in made.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
        if parameter.dim() == 5:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last_3d)
    return made


def _fold(layers: nn.Sequential) -> None:
    """Fold norms into what is before them, and let activations after a convolution work in place."""
    for index, layer in enumerate(layers):
        last = layers[index - 1] if index else None
        if isinstance(layer, NORM) and isinstance(last, CONVOLUTION):
            _scale(last, *_scale_and_shift(layer))
            layers[index] = nn.Identity()
        elif isinstance(layer, NORM) and isinstance(last, Gate):
            layers[index - 1], layers[index] = GateAndNorm(last, layer), nn.Identity()
        elif isinstance(layer, nn.PReLU) and layer.num_parameters == 1:
            layers[index] = nn.LeakyReLU(layer.weight.item(), inplace=isinstance(last, CONVOLUTION))
        elif isinstance(layer, nn.ReLU | nn.LeakyReLU) and isinstance(last, CONVOLUTION):
            layer.inplace = True


def _scale_and_shift(norm: nn.Module) -> tuple[Tensor, Tensor]:
    """What a batch norm does to each channel in evaluation mode."""
    scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
    return scale, norm.bias - norm.running_mean * scale


def _scale(layer: nn.Module, scale: Tensor, shift: Tensor) -> None:
    """Scale and shift the channels that a convolution without bias gives."""
    weight = layer.weight.data
    if layer.transposed:  # (inputs, outputs of one group, ...)
        by_group = weight.unflatten(0, (layer.groups, -1))
        weight = (by_group * scale.view(layer.groups, 1, -1, *[1] * (weight.dim() - 2))).flatten(0, 1)
    else:
        weight = weight * scale.view(-1, *[1] * (weight.dim() - 1))
    layer.weight, layer.bias = nn.Parameter(weight, False), nn.Parameter(shift, False)


def _channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)
