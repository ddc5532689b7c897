"""Fast: the network for inference alone. The same frames but for rounding, in a fraction of time and memory.

    Fast(model, dtype):  frames (B, 4, 3, H, W)  ->  (B, 3, H, W), like the model itself

    everywhere    batch norms folded into the convolutions before them; 3x3 convolutions by Winograd's method,
                  with the activations around them and the sum after them; channels last; the rest in place
    kernels       one stack of a head after the other; what is enlarged, and AdaCoF, pixel by pixel in native
                  code, or by strips of rows where there is none
    fusion        the row of double size in bands, never whole
    texture       3-D convolutions by oneDNN; gates in place

A stack of a head enlarges its taps and convolves them after that. Both are linear, so the columns are
enlarged first, then each row of the 3x3 kernel is applied by itself, and last the rows are enlarged and
summed as one small matrix product: a third of the multiply-adds.
"""

from __future__ import annotations

from copy import deepcopy
from typing import TypeAlias, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tweenlet.network.blocks import Enlargement, Gate, spread
from tweenlet.network.features import Branch
from tweenlet.network.flow import DENSE, Decoder
from tweenlet.network.fusion import Fusion, Lateral
from tweenlet.network.kernels import SCALE_NAMES, Kernels
from tweenlet.network.motion import MERGED, Mend, Refine, views
from tweenlet.network.stmfnet import STMFNet, check, join
from tweenlet.network.texture import SLICES, Residual, Texture
from tweenlet.ops import heads, winograd
from tweenlet.ops.adacof import adacof_pixels, surface_table
from tweenlet.ops.affine import affine_
from tweenlet.ops.correlation import correlation
from tweenlet.ops.dis import window_flows

STRIP = 32
"""Rows made at once of what is enlarged: few enough for a cache, enough for their borders not to count."""
BAND = 128
"""Rows of the fusion's row of double size made at once, an even number: its features are large."""
AROUND = 8
"""Rows around a band that count for what it passes down: seven, made even."""
NARROWEST = 8
"""Input channels from which on Winograd's method pays."""
SHAPES = (
    *(((3, 3), (1, 1), (apart, apart), (apart, apart), 1, (0, 0)) for apart in (1, 2, 4, 8)),
    ((4, 4), (2, 2), (1, 1), (1, 1), 1, (0, 0)),
    ((3, 4, 4), (1, 2, 2), (1, 1, 1), (1, 1, 1), 1, (0, 0, 0)),
)
"""What Winograd's method is for here: kernel, stride, padding, dilation, groups, padding of the output."""
STRIDED = ((3, 3), (2, 2), (1, 1), (1, 1), 1, (0, 0))
"""And this in float32: in bfloat16 oneDNN is as fast."""
CONVOLUTIONS = (nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d)
KINDS = ("weight", "rows", "columns")
"""The stacks of a head."""

Module = TypeVar("Module", bound=nn.Module)
Layer: TypeAlias = "nn.Conv2d | Conv3d | nn.ConvTranspose2d | nn.ConvTranspose3d"


class Fast(nn.Module):
    """A copy of ``model`` for inference: what the model learns later, it does not know.

    With bfloat16 or float16 as ``dtype`` the convolutions run in it; pictures, the places where they are
    sampled, and the last layers of the fusion stay float32.
    """

    def __init__(self, model: STMFNet, dtype: torch.dtype = torch.float32):
        super().__init__()
        self.config, self.stride = model.config, model.stride
        native = next(model.parameters()).device.type == "cpu" and winograd.takes(dtype)
        products = dtype if native else torch.float32
        self.dtype, self.products = dtype, products
        self.features = None if model.features is None else _prepared(model.features, dtype, products)
        self.kernels = None if model.kernels is None else FastKernels(model.kernels, dtype, products)
        self.flow = None if model.flow is None else _prepared(model.flow, products=products)
        self.motion = None if model.motion is None else _prepared(model.motion, products=products)
        self.fusion = None
        if model.fusion is not None:
            self.fusion = FastFusion(model.fusion, dtype, products)
        self.texture = None if model.texture is None else FastTexture(model.texture, dtype, products)

    @torch.no_grad()
    def forward(self, frames: Tensor, flows: Tensor | None = None) -> Tensor:
        """As the model's own."""
        check(frames, self.stride)
        before, after = frames[:, 1], frames[:, 2]
        made: dict[float, Tensor] = {}
        if self.features is not None and self.kernels is not None:
            pair = (_channels_last(x.to(self.dtype)) for x in (before, after))
            made |= self.kernels(self.features(*pair), before, after)
        draft = frames.new_zeros(())
        with torch.autocast(frames.device.type, self.dtype, enabled=self.dtype != self.products):
            if self.flow is not None:
                join(made, {1.0: self.flow(_channels_last(before), _channels_last(after))})
            if self.motion is not None:
                merged = self.motion(frames, window_flows(frames) if flows is None else flows)
                join(made, merged.candidates)
                draft = merged.frame
        if self.fusion is not None:
            made = {scale: _channels_last(x.to(self.dtype)) for scale, x in made.items()}
            draft = draft + self.fusion(made)
        return draft if self.texture is None else draft + self.texture(frames, draft)


class FastKernels(nn.Module):
    """:class:`~tweenlet.network.kernels.Kernels` one head at a time, what is large in strips."""

    def __init__(self, kernels: Kernels, dtype: torch.dtype, products: torch.dtype):
        super().__init__()
        self.scales, self.dilation = kernels.scales, kernels.dilation
        self.plain = _prepared(kernels)
        self.small = nn.ModuleDict()  # by head and kind: what runs at the size of the features
        self.large = nn.ModuleDict()  # by head and kind: the layer after enlarging, where there is one
        self._layers: dict[str, heads.Layers] = {}  # by head: the three of them, for native code
        for name, head in kernels.heads.items():
            for kind in KINDS:
                stack: nn.Sequential = getattr(head, kind)
                self.small[f"{name}_{kind}"] = small = _prepared(stack[:6], dtype, products)
                if isinstance(small[-1], Winograd):
                    small[-1].makes = torch.float32  # weights and places
                for layer in list(stack)[7:]:
                    assert isinstance(layer, nn.Conv2d)
                    self.large[f"{name}_{kind}"] = Enlarge(layer, dtype)

    def forward(self, features: Tensor, before: Tensor, after: Tensor) -> dict[float, Tensor]:
        """As the plain one's; candidates are float32, channels last."""
        candidates = {}
        for scale in self.scales:
            size = [round(scale * side) for side in before.shape[2:]]
            made = before.new_empty(len(before), *size, 2 * 3, dtype=torch.float32)
            halves = torch.split(made, 3, -1)
            for name, frame, into in zip(("before", "after"), (before, after), halves, strict=True):
                head = f"{SCALE_NAMES[scale]}_{name}"
                self._synthesise(head, features, self.plain.resize(frame.float(), scale), into)
            candidates[scale] = made.permute(0, 3, 1, 2)
        return candidates

    def _synthesise(self, head: str, features: Tensor, frames: Tensor, made: Tensor) -> None:
        """Frames (B, 3, h, w) as their taps see them, into ``made`` (B, h, w, 3)."""
        small = [self.small[f"{head}_{kind}"](features) for kind in KINDS]
        for number, (frame, into) in enumerate(zip(frames, made, strict=True)):
            taps = [x[number : number + 1] for x in small]
            if frame.device.type != "cpu" or self._in_native_code(head, frame, taps, into) is None:
                self._in_strips(head, frame, taps, into)

    def _in_native_code(self, head: str, frame: Tensor, small: list[Tensor], into: Tensor) -> Tensor | None:
        """Whole, and returned; None where there is no native code."""
        weight, rows, columns = (x[0].permute(1, 2, 0).float() for x in small)
        if f"{head}_weight" not in self.large:
            return heads.adacof_taps(frame, weight, rows, columns, self.dilation, softmax=True, into=into)
        enlarge = [self._enlarge(f"{head}_{kind}") for kind in KINDS]
        if head not in self._layers:
            layers = [x.layer for x in enlarge]
            self._layers[head] = heads.layers([x.weight for x in layers], [x.bias for x in layers])
        places = (
            enlarge[0].places(0, weight.shape[0], frame.shape[1]),
            enlarge[0].places(1, weight.shape[1], frame.shape[2]),
        )
        return heads.enlarged(frame, weight, rows, columns, self._layers[head], places, self.dilation, into)

    def _enlarge(self, name: str) -> Enlarge:
        layer = self.large[name]
        assert isinstance(layer, Enlarge)
        return layer

    def _in_strips(self, head: str, frame: Tensor, small: list[Tensor], into: Tensor) -> None:
        """By PyTorch, some rows at a time."""
        height, width = frame.shape[-2:]
        table = surface_table(frame)
        for top in range(0, height, STRIP):
            bottom = min(top + STRIP, height)
            weight, rows, columns = (
                self._taps(f"{head}_{kind}", x, top, bottom, height, width).float()
                for kind, x in zip(KINDS, small, strict=True)
            )
            into[top:bottom] = adacof_pixels(table, top, weight.softmax(-1), rows, columns, self.dilation)

    def _taps(self, name: str, x: Tensor, top: int, bottom: int, height: int, width: int) -> Tensor:
        """A strip of one kind of taps, (bottom - top, width, taps), that may be overwritten."""
        if name not in self.large:
            return x[0, :, top:bottom].permute(1, 2, 0)
        taps: Tensor = self._enlarge(name)(x, top, bottom, height, width)
        return taps


class Enlarge(Enlargement):
    """Enlarge taps, corners on corners, and convolve them by ``layer`` (3x3), one strip of rows at a time."""

    def __init__(self, layer: nn.Conv2d, dtype: torch.dtype):
        super().__init__()
        self.layer, self.outputs = layer, layer.out_channels
        by_row = (
            layer.weight.detach().permute(2, 0, 1, 3).flatten(0, 1)[:, :, None]
        )  # (3 outputs, inputs, 1, 3)
        self.weight = nn.Parameter(_channels_last(by_row.to(dtype)), False)
        bias = torch.zeros_like(by_row[:, 0, 0, 0])
        if layer.bias is not None:
            bias[self.outputs : 2 * self.outputs] = layer.bias.detach()  # once: with the row in the middle
        self.bias = nn.Parameter(bias.to(dtype), False)

    def forward(self, x: Tensor, top: int, bottom: int, height: int, width: int) -> Tensor:
        """Taps (1, C, h, w) -> rows from top to bottom of (height, width, outputs)."""
        rows = torch.arange(top - 1, bottom + 1, dtype=torch.float64)
        inside = (rows >= 0) & (rows < height)
        places = self.places(0, x.shape[2], height)[rows.long().clamp(0, height - 1)]
        first, last = max(int(places[0]), 0), min(int(places[-1]) + 1, x.shape[2] - 1)
        shares = (1 - (places[:, None] - torch.arange(first, last + 1)).abs()).clamp_min(0) * inside[:, None]
        # output row y takes row k of the kernel from enlarged row y + k - 1
        mix = torch.stack([shares[k : k + bottom - top] for k in range(3)], 1).flatten(1)
        size = (last + 1 - first, width)
        if self.piece is None:
            wide = F.interpolate(x[:, :, first : last + 1], size, mode="bilinear", align_corners=True)
        else:
            wide = spread(x[:, :, first : last + 1], self.places(1, x.shape[3], width), -1)
        by_row = F.conv2d(wide, self.weight, self.bias, padding=(0, 1))
        by_row = by_row.view(3, self.outputs, *size).permute(0, 2, 3, 1).reshape(3 * size[0], -1)
        return torch.mm(mix.to(by_row), by_row).view(-1, width, self.outputs)


class FastTexture(nn.Module):
    """:class:`~tweenlet.network.texture.Texture`, channels last throughout."""

    def __init__(self, texture: Texture, dtype: torch.dtype, products: torch.dtype):
        super().__init__()
        self.dtype = dtype
        plain = _prepared(texture, dtype, products)
        self.stem, self.stages, self.out = plain.stem, plain.stages, Abreast(plain.out)
        self.decoder = nn.ModuleList(FastDecoder(block) for block in plain.decoder)
        fuse = plain.fuse[0]  # over the channels of all slices, slice by slice
        assert isinstance(fuse, nn.Conv2d)
        over_slices = fuse.weight.view(fuse.out_channels, SLICES, -1, 1, 1).transpose(1, 2)
        self.fuse = Conv3d(over_slices, fuse.bias, (1, 1, 1), (0, 0, 0))

    def forward(self, frames: Tensor, draft: Tensor) -> Tensor:
        """As the plain one's."""
        x = torch.cat((frames[:, :2], draft[:, None], frames[:, 2:]), 1).transpose(1, 2)
        x = self.stem(x.to(self.dtype).contiguous(memory_format=torch.channels_last_3d)).relu_()
        levels = [x]
        for stage in self.stages:
            x = stage(x)
            levels.append(x)
        levels.pop()
        x = self.decoder[0](x)
        for block in self.decoder[1:]:
            x = torch.cat((x, levels.pop()), 1)  # by itself, so that x as it was is freed
            x = block(x)
        x = F.leaky_relu_(self.fuse(x)[:, :, 0], 0.2)
        added: Tensor = self.out(F.pad(x, (3, 3, 3, 3), mode="reflect"))
        return added


class Conv3d(nn.Module):
    """A 3-D convolution by oneDNN, which PyTorch does not ask for one float32 sample: ten times as fast."""

    def __init__(
        self, weight: Tensor, bias: Tensor | None, stride: tuple[int, ...], padding: tuple[int, ...]
    ):
        super().__init__()
        self.weight = nn.Parameter(weight.contiguous(memory_format=torch.channels_last_3d), False)
        self.bias = None if bias is None else nn.Parameter(bias, False)
        self.stride, self.padding = stride, padding

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T, H, W) -> (B, C', T', H', W')."""
        if x.device.type == "cpu" and x.dtype == torch.float32 and torch._C._has_mkldnn:
            made: Tensor = torch.ops.aten.mkldnn_convolution(
                x, self.weight, self.bias, self.padding, self.stride, (1, 1, 1), 1
            )
            return made
        return F.conv3d(x, self.weight, self.bias, self.stride, self.padding)


class Abreast(nn.Module):
    """A convolution of few outputs, for several pixels side by side at once: fuller vectors, fewer reads."""

    PIXELS = 4

    def __init__(self, layer: nn.Conv2d):
        super().__init__()
        self.outputs, self.width = layer.out_channels, layer.kernel_size[1]
        moved = [F.pad(layer.weight, (pixel, self.PIXELS - 1 - pixel)) for pixel in range(self.PIXELS)]
        self.weight = nn.Parameter(_channels_last(torch.cat(moved)), False)
        self.bias = None if layer.bias is None else nn.Parameter(layer.bias.repeat(self.PIXELS), False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H + h - 1, W + w - 1) -> (B, K, H, W) for a kernel of h x w."""
        width = x.shape[-1] - self.width + 1
        made = F.conv2d(F.pad(x, (0, -width % self.PIXELS)), self.weight, self.bias, (1, self.PIXELS))
        made = made.permute(0, 2, 3, 1).reshape(len(x), made.shape[2], -1, self.outputs)
        return made[:, :, :width].permute(0, 3, 1, 2)


class Winograd(nn.Module):
    """A convolution of 3x3 or 3x3x3, the leaky activations before and after it, and a sum after that.

    Of stride 1 or 2, or a transposed one of 4x4 or 3x4x4 that enlarges by 2. On a CPU by Winograd's method,
    where there is a compiler for it, with its products in the type ``products``.
    """

    def __init__(self, layer: Layer, products: torch.dtype):
        super().__init__()
        self.layer, self.products = layer, products
        self.makes: torch.dtype | None = None  # what it takes, if not told
        self.before: Tensor | None = None
        self.after: Tensor | None = None
        self.form = torch.channels_last if layer.weight.dim() == 4 else torch.channels_last_3d
        self.transposed = isinstance(layer, nn.ConvTranspose2d | nn.ConvTranspose3d)
        self.apart = layer.dilation[0] if isinstance(layer, nn.Conv2d) else 1
        self._kernels: winograd.Kernels | None = None

    def forward(self, x: Tensor, added: Tensor | None = None, into: Tensor | None = None) -> Tensor:
        """(B, C, H, W) or (B, C, T, H, W) -> (B, K, ...), plus ``added``; written ``into`` that if given."""
        if self._at_home(x):
            if self._kernels is None:
                told = (self.layer.weight, self.layer.bias, self.before, self.after, self.products)
                if self.transposed:
                    self._kernels = winograd.transposed_kernels(*told)
                else:
                    self._kernels = winograd.kernels(*told, self.layer.stride[-1])
            if (made := self._convolved(x, self._kernels, added, into)) is not None:
                return made
        made = _activated_(self.layer(x if self.before is None else _activated(x, self.before)), self.after)
        made = made if added is None else made.add_(added)
        return made if into is None else into.copy_(made)

    def _convolved(
        self, x: Tensor, kernels: winograd.Kernels, added: Tensor | None, into: Tensor | None
    ) -> Tensor | None:
        if x.stride(1) != 1 and x.shape[1] > 1:
            x = x.contiguous(memory_format=self.form)
        if self.apart == 1:
            if added is not None:
                over, added = into is added, added.contiguous(memory_format=self.form)
                into = added if over else into
            return winograd.convolve(x, kernels, added, into, self.makes)
        # a kernel spread over the picture sees pixels that lie as far apart, and each set of them by itself
        made = x.new_empty(len(x), kernels.outputs, *x.shape[2:]).contiguous(memory_format=self.form)
        for top in range(min(self.apart, x.shape[2])):
            for left in range(min(self.apart, x.shape[3])):
                grid = (..., slice(top, None, self.apart), slice(left, None, self.apart))
                if winograd.convolve(x[grid], kernels, into=made[grid]) is None:
                    return None
        made = made if added is None else made.add_(added)
        return made if into is None else into.copy_(made)

    def _at_home(self, x: Tensor) -> bool:
        """Whether the native code takes this."""
        return (
            x.device.type == "cpu"
            and x.dtype == self.layer.weight.dtype
            and x.dtype in (torch.float32, self.products)
            and not torch.is_autocast_enabled("cpu")
            and (x.dim() == 4 or x.shape[0] == 1)
        )


def _activated(x: Tensor, slope: Tensor) -> Tensor:
    if slope.numel() > 1:
        return F.prelu(x, slope.to(x))
    return F.leaky_relu(x, slope.item())


def _activated_(x: Tensor, slope: Tensor | None) -> Tensor:
    """In place, where that can be."""
    if slope is None:
        return x
    return F.leaky_relu_(x, slope.item()) if slope.numel() == 1 else F.prelu(x, slope.to(x))


class FastLateral(nn.Module):
    """:class:`~tweenlet.network.fusion.Lateral`, and a sum after it."""

    def __init__(self, plain: Lateral):
        super().__init__()
        self.path, self.shortcut = plain.path, plain.shortcut

    def forward(self, x: Tensor, added: Tensor | None = None) -> Tensor:
        """As the plain one's, plus ``added``; both may be overwritten."""
        if isinstance(self.shortcut, nn.Identity):
            added = x if added is None else added.add_(x)
        else:
            added = _summed(self.shortcut, x, added)
        return _summed(self.path, x, added)


class FastFusion(nn.Module):
    """:class:`~tweenlet.network.fusion.Fusion`, whose sums are made by the convolutions before them."""

    def __init__(self, plain: Fusion, dtype: torch.dtype, products: torch.dtype):
        super().__init__()
        self.scales, self.out_row = plain.scales, plain.out_row
        prepared = _prepared(plain, dtype, products)
        self.lateral, self.down, self.up = prepared.lateral, prepared.down, prepared.up
        self.final = FastLateral(_prepared(plain.final))

    def forward(self, candidates: dict[float, Tensor]) -> Tensor:
        """As the plain one's, float32; empties ``candidates``."""
        passed = self._from_double(candidates.pop(2.0)) if self.out_row else []
        rows: dict[int, Tensor] = {}
        for column in (0, 1):
            above = passed.pop(0) if passed else None
            for row in range(self.out_row, len(self.scales)):
                if row > self.out_row:
                    above = _summed(self.down[f"{row - 1}_{column}"], rows[row - 1])
                x = rows[row] if column else candidates.pop(self.scales[row], None)
                made = above if x is None else self.lateral[f"{row}_{column}"](x, above)
                assert made is not None
                rows[row] = made
        for number, column in enumerate((2, 3)):
            for row in reversed(rows):
                last = row + 1 == len(self.scales)
                below = None if last else _summed(self.up[f"{row}_{number}"], rows[row + 1])
                rows[row] = self.lateral[f"{row}_{column}"](rows[row], below)
        draft: Tensor = self.final(rows[self.out_row].float())
        return draft

    def _from_double(self, candidates: Tensor) -> list[Tensor]:
        """What the row of double size passes down, by its first and its second column; a band at a time."""
        batch, _, height, width = candidates.shape
        passed: list[Tensor] = []
        for top in range(0, height, BAND):
            start, bottom = max(top - AROUND, 0), min(top + BAND, height)
            row = candidates[:, :, start : bottom + AROUND].clone()  # a lateral may overwrite it
            for column in (0, 1):
                row = self.lateral[f"0_{column}"](row)
                band = _summed(self.down[f"0_{column}"], row)
                if top == 0:
                    whole = band.new_empty(batch, height // 2, width // 2, band.shape[1])
                    passed.append(whole.permute(0, 3, 1, 2))
                inside = slice((top - start) // 2, (bottom - start) // 2)
                passed[column][:, :, top // 2 : bottom // 2] = band[:, :, inside]
        return passed


def _summed(layers: nn.Module, x: Tensor, added: Tensor | None = None) -> Tensor:
    """What ``layers`` make of ``x``, plus ``added``, which is overwritten (and may be ``x``)."""
    *first, last = layers if isinstance(layers, nn.Sequential) else (layers,)
    for layer in first:
        x = layer(x)
    if isinstance(last, Winograd):
        made: Tensor = last(x, added, into=added)
        return made
    made = last(x)
    return made if added is None else added.add_(made)


class FastBranch(nn.Module):
    """:class:`~tweenlet.network.features.Branch`, in place."""

    def __init__(self, plain: Branch):
        super().__init__()
        self.reduce, self.grouped, self.expand = plain.reduce, plain.grouped, plain.expand
        self.shortcut, self.every = plain.shortcut, plain.every

    def forward(self, x: Tensor) -> Tensor:
        """As the plain one's."""
        inner = self.grouped(self.reduce(x).relu_()).relu_()
        return _summed(self.expand, inner, self.shortcut(x[..., :: self.every, :: self.every])).relu_()


class FastResidual(nn.Module):
    """:class:`~tweenlet.network.texture.Residual`, in place."""

    def __init__(self, plain: Residual):
        super().__init__()
        self.first, self.second, self.shortcut = plain.first, plain.second, plain.shortcut
        assert isinstance(plain.gate, GateInPlace)
        self.gate = plain.gate.gate

    def forward(self, x: Tensor) -> Tensor:
        """As the plain one's."""
        inner: Tensor = self.second(self.first(x))
        return affine_(inner, self.gate.factors(inner), added=self.shortcut(x), slope=0)


class FastDecoder(nn.Module):
    """A block of the texture's decoder, and its activation: gate, norm and that in one pass."""

    def __init__(self, plain: nn.Module):
        super().__init__()
        assert isinstance(plain, nn.Sequential)
        self.layer, gate, norm = plain
        assert isinstance(gate, GateInPlace)
        assert isinstance(norm, nn.BatchNorm3d)
        self.gate = gate.gate
        self.scale, self.shift = _affine_of(norm)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T, h, w) -> (B, C', T, h', w')."""
        x = self.layer(x)
        return affine_(x, self.gate.factors(x).flatten(1) * self.scale, self.shift, slope=0.2)


class GateInPlace(nn.Module):
    """A gate that overwrites what it scales."""

    def __init__(self, gate: Gate):
        super().__init__()
        self.gate = gate

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, ...) -> the same tensor."""
        return x.mul_(self.gate.factors(x))


class FastMend(nn.Module):
    """:class:`~tweenlet.network.motion.Mend`, channels last: pixels are unshuffled two at a time."""

    def __init__(self, plain: Mend):
        super().__init__()
        self.plain = plain
        first = plain[0][0].layer if isinstance(plain[0][0], Winograd) else plain[0][0]  # type: ignore[index]
        by_channel, hints = first.weight.detach().tensor_split([4 * MERGED], 1)
        by_pixel = by_channel.unflatten(1, (MERGED, 4)).transpose(1, 2).flatten(1, 2)
        first.weight.data = _channels_last(torch.cat((by_pixel, hints), 1))

    def forward(self, full: Tensor, hints: Tensor) -> Tensor:
        """As the plain one's."""
        batch, channels, height, width = full.shape
        rows = full.permute(0, 2, 3, 1).reshape(batch, height // 2, 2, width // 2, 2 * channels)
        x = full.new_empty(batch, height // 2, width // 2, 4 * channels + hints.shape[1])
        x[..., : 4 * channels].view(batch, height // 2, width // 2, 2, -1).copy_(rows.transpose(2, 3))
        x = x.permute(0, 3, 1, 2)
        x[:, 4 * channels :] = hints
        for layer in self.plain:
            x = layer(x)
        return F.pixel_shuffle(x, 2)


class FastRefine(nn.Module):
    """:class:`~tweenlet.network.motion.Refine`, channels last."""

    def __init__(self, plain: Refine):
        super().__init__()
        self.matches, self.enter, self.middle = plain.matches, plain.enter, plain.middle
        self.leave, self.predict = plain.leave, plain.predict

    def forward(self, before: Tensor, after: Tensor, places: Tensor, *rest: Tensor) -> tuple[Tensor, Tensor]:
        """As the plain one's."""
        there = views(before, after, places)
        matches = [correlation(*there[k : k + 2]) for k in (0, 2)] if self.matches else []
        known = torch.cat([_channels_last(x) for x in (*there, *matches, places / 8, *rest)], 1)
        x = self.enter(known.to(before.dtype))
        x = self.leave(_summed(self.middle, x, x))
        return x, self.predict(x).to(places.dtype)


class FastFlowDecoder(nn.Module):
    """:class:`~tweenlet.network.flow.Decoder`, whose layers write beside what they read."""

    def __init__(self, plain: Decoder):
        super().__init__()
        self.plain, self.outputs, self.predict = plain, plain.outputs, plain.predict
        self.dense = [layer for layer in plain.dense if isinstance(layer, Winograd)]
        assert len(self.dense) == len(plain.dense)
        for layer in self.dense:
            layer.after = torch.tensor([0.1])

    def forward(
        self, first: Tensor, second: Tensor, coarser: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, Tensor]:
        """As the plain one's."""
        known = self.plain.known(first, second, coarser)
        start = self.outputs - sum(x.shape[1] for x in known)
        batch, _, height, width = first.shape
        x = first.new_empty(batch, height, width, self.outputs).permute(0, 3, 1, 2)
        torch.cat(known, 1, out=x[:, start:])
        for layer, width in zip(self.dense, DENSE, strict=True):
            end, start = start, start - width
            layer(x[:, end:], into=x[:, start:end])
        return self.predict(x), x


def _prepared(
    module: Module, dtype: torch.dtype = torch.float32, products: torch.dtype = torch.float32
) -> Module:
    """A copy for inference: norms and activations folded, channels last and in ``dtype``."""
    made = deepcopy(module).eval().requires_grad_(False)
    parts = list(made.modules())
    for part in parts:
        if isinstance(part, Residual):
            part.first.append(nn.ReLU())
        if isinstance(part, nn.Sequential):
            _fold_norms(part)
    made = made.to(dtype)
    for parameter in made.parameters():
        if parameter.dim() == 4:
            parameter.data = _channels_last(parameter.data)
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
    if isinstance(part, Branch):
        return FastBranch(part)
    if isinstance(part, Residual):
        return FastResidual(part)
    if isinstance(part, Lateral):
        return FastLateral(part)
    if isinstance(part, Mend):
        return FastMend(part)
    if isinstance(part, Refine):
        return FastRefine(part)
    if isinstance(part, Decoder):
        return FastFlowDecoder(part)
    if isinstance(part, Gate):
        return GateInPlace(part)
    if isinstance(part, nn.Conv3d):
        # which pads by itself if it is a SliceConv
        plain = Conv3d(part.weight, part.bias, part.stride, tuple(size // 2 for size in part.kernel_size))
        wanted = part.stride in ((1, 1, 1), (1, 2, 2) if products == torch.float32 else None)
        return Winograd(plain, products) if part.kernel_size == (3, 3, 3) and wanted else plain
    if isinstance(part, nn.Conv2d | nn.ConvTranspose2d | nn.ConvTranspose3d):
        shape = (part.kernel_size, part.stride, part.padding, part.dilation, part.groups, part.output_padding)
        wanted = shape in SHAPES or (shape == STRIDED and products == torch.float32)
        return Winograd(part, products) if part.in_channels >= NARROWEST and wanted else part
    return part


def _fold_norms(layers: nn.Sequential) -> None:
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
    scale, shift = _affine_of(norm)
    groups, rest = layer.groups, layer.weight.shape[1:]
    if layer.transposed:  # (groups * inputs, outputs, ...)
        scales = scale.view(groups, 1, -1, *[1] * (len(rest) - 1))
        weight = (layer.weight.view(groups, -1, *rest) * scales).flatten(0, 1)
    else:  # (outputs, ...)
        weight = layer.weight * scale.view(-1, *[1] * len(rest))
    layer.weight = nn.Parameter(weight, False)
    layer.bias = nn.Parameter(shift, False)


def _affine_of(norm: nn.BatchNorm2d | nn.BatchNorm3d) -> tuple[Tensor, Tensor]:
    """By what a norm multiplies in evaluation mode, and what it adds then, for each channel."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
    return scale, norm.bias - norm.running_mean * scale


def _channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


def _in_float32(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(x.float() for x in inputs)
