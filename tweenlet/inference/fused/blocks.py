"""The blocks of the boxes for inference: sums made by convolutions, gates and norms in one pass, in place."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tweenlet.inference.fused.bands import bands, inner
from tweenlet.inference.fused.layers import (
    WHOLE,
    Cut,
    GateInPlace,
    Winograd,
    affine_of,
    channels_last,
    inside,
    outputs_of,
    pixels,
    summed,
)
from tweenlet.network.blocks import Tile, WholeFrameLayer
from tweenlet.network.features import Block, Branch
from tweenlet.network.flow import DENSE, Decoder
from tweenlet.network.four_frames import HalfSizeEncoder, ResidualHead
from tweenlet.network.fusion import Lateral
from tweenlet.network.intermediate_flow import SLOPE, Encoder, Level, ResidualBlock
from tweenlet.network.texture import Residual
from tweenlet.ops.cpu.bottleneck import Convolution, bottleneck, pack_bottleneck
from tweenlet.ops.dispatch import compiled
from tweenlet.ops.epilogue import scale_shift_act_
from tweenlet.ops.resample import avg_pool2


class FastBlock(WholeFrameLayer):
    """:class:`~tweenlet.network.features.Block`, whose branches write side by side."""

    def __init__(self, plain: Block):
        super().__init__()
        self.small, self.large, self.gate = FastBranch(plain.small), FastBranch(plain.large), plain.gate

    def forward(self, x: Tensor, tile: Tile | None = None) -> Tensor:
        """As the plain one's."""
        outputs = [branch.outputs for branch in (self.small, self.large)]
        joined = pixels(x, sum(outputs), *self.small.size(x))
        for branch, into in zip((self.small, self.large), torch.split(joined, outputs, 1), strict=True):
            branch(x, into)
        gated: Tensor = self.gate(joined, tile)
        return gated


class FastBranch(nn.Module):
    """:class:`~tweenlet.network.features.Branch`, in one pass where there is native code for it."""

    def __init__(self, plain: Branch):
        super().__init__()
        self.plain, self.outputs = plain, outputs_of(plain.expand)
        stacks = (plain.reduce, plain.grouped, plain.expand, plain.shortcut)  # whose norms are folded
        layers = [layer for (layer,) in stacks if isinstance(layer, Convolution)]
        self._weights = pack_bottleneck(*layers)

    def size(self, x: Tensor) -> tuple[int, int]:
        """Height and width of what it makes of ``x``."""
        height, width = x.shape[2:]
        if isinstance(self.plain.grouped[0], nn.ConvTranspose2d):
            return 2 * height, 2 * width
        return -(-height // self.plain.every), -(-width // self.plain.every)

    def forward(self, x: Tensor, into: Tensor) -> Tensor:
        """As the plain one's, written ``into`` that."""
        if self._weights is not None and x.device.type == "cpu" and compiled():
            return bottleneck(channels_last(x), self._weights, into)
        plain = self.plain
        grouped = plain.grouped(plain.reduce(x).relu_()).relu_()
        fetched = x[..., :: plain.every, :: plain.every]
        return into.copy_(summed(plain.expand, grouped, plain.shortcut(fetched)).relu_())


class FastLateral(nn.Module):
    """:class:`~tweenlet.network.fusion.Lateral`, and a sum after it; some rows at a time."""

    def __init__(self, plain: Lateral):
        super().__init__()
        self.path, self.shortcut = plain.path, plain.shortcut

    def forward(self, x: Tensor, added: Tensor | None = None, into: Tensor | None = None) -> Tensor:
        """As the plain one's, plus ``added``, written over that, or ``into`` that, and made in its type."""
        if into is None:
            into = pixels(x, outputs_of(self.path)) if added is None else added
        for band in bands(x.shape[2]):
            rows = (..., band.rows, slice(None))
            seen = x[:, :, band.seen(2, 2)].to(into.dtype)
            self.within(seen, band.cut, into[rows], None if added is None else added[rows])
            del seen  # before the next is made
        return into

    def within(self, x: Tensor, cut: Cut, into: Tensor, added: Tensor | None = None) -> Tensor:
        """Of rows ``cut`` out of a picture, two fewer there, written ``into`` that."""
        if isinstance(self.shortcut, nn.Identity):
            own = inner(x, 2, cut)
            added = own if added is None else added.add_(own)
        else:
            added = summed(self.shortcut, inner(x, 1, cut), added, into, cut)
        return summed(self.path, x, added, into, cut)


class FastResidual(WholeFrameLayer):
    """:class:`~tweenlet.network.texture.Residual`, in place."""

    def __init__(self, plain: Residual):
        super().__init__()
        self.first, self.second, self.shortcut = plain.first, plain.second, plain.shortcut
        assert isinstance(plain.gate, GateInPlace)
        self.gate = plain.gate.gate

    def forward(self, x: Tensor, tile: Tile | None = None) -> Tensor:
        """As the plain one's."""
        made: Tensor = self.second(self.first(x))
        return scale_shift_act_(made, self.gate.factors(made, tile), residual=self.shortcut(x), slope=0)


class FastDecoder(nn.Module):
    """A block of the texture's decoder, and its activation: gate, norm and that in one pass."""

    def __init__(self, plain: nn.Module):
        super().__init__()
        assert isinstance(plain, nn.Sequential)
        self.layer, gate, norm = plain
        assert isinstance(gate, GateInPlace)
        assert isinstance(norm, nn.BatchNorm3d)
        self.gate = gate.gate
        self.scale, self.shift = affine_of(norm)

    def forward(self, x: Tensor, beside: Tensor | None = None, tile: Tile | None = None) -> Tensor:
        """(B, C, T, h, w) -> (B, C', T, h', w'); the channels of ``beside`` follow those of ``x``."""
        x = self.made(x, beside)
        return self.activated(x, self.gate.factors(x, tile))

    def made(self, x: Tensor, beside: Tensor | None, cut: Cut = WHOLE) -> Tensor:
        """What its layer makes; of ``x`` cut out of a picture as :class:`~.layers.Winograd` does."""
        if isinstance(self.layer, Winograd):
            made: Tensor = self.layer(x, cut=cut, beside=beside)
            return made
        return inside(self.layer(x if beside is None else torch.cat((x, beside), 1)), self.layer, cut)

    def activated(self, x: Tensor, factors: Tensor) -> Tensor:
        """What the layer made, in place: scaled by the gate's ``factors`` and the norm."""
        return scale_shift_act_(x, factors.flatten(1) * self.scale, self.shift, slope=0.2)


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
        x = pixels(first, self.outputs)
        torch.cat(known, 1, out=x[:, start:])
        for layer, width in zip(self.dense, DENSE, strict=True):
            end, start = start, start - width
            layer(x[:, end:], into=x[:, start:end])
        return self.predict(x), x


class FastEncoder(nn.Module):
    """An encoder of intermediate flow, whose features are written beside the frame."""

    def __init__(self, plain: Encoder | HalfSizeEncoder):
        super().__init__()
        self.layers, self.out, self.halves = plain.layers, plain.out, isinstance(plain, HalfSizeEncoder)
        self.outputs = outputs_of(plain.out)

    def forward(self, frame: Tensor) -> Tensor:
        """As the plain one's, channels_last."""
        x = self.layers(channels_last(frame))
        beside = avg_pool2(frame) if self.halves else frame
        joined = pixels(beside, 3 + self.outputs)
        joined[:, :3] = beside
        if isinstance(self.out, Winograd):
            self.out(x, into=joined[:, 3:])
        else:
            joined[:, 3:] = self.out(x)
        return joined


class FastResidualHead(nn.Module):
    """:class:`~tweenlet.network.four_frames.ResidualHead`, whose first layer reads two tensors as one."""

    def __init__(self, plain: ResidualHead):
        super().__init__()
        self.layers = plain.layers

    def forward(self, fetched: Tensor, known: Tensor) -> Tensor:
        """As the plain one's."""
        first, *rest = self.layers.children()
        x = first(fetched, beside=known)
        for layer in rest:
            x = layer(x)
        correction: Tensor = x.float()
        return correction


class FastResidualBlock(nn.Module):
    """:class:`~tweenlet.network.intermediate_flow.ResidualBlock`, in one pass, its scale folded."""

    def __init__(self, plain: ResidualBlock):
        super().__init__()
        conv: nn.Module = plain.conv
        layer = conv.layer if isinstance(conv, Winograd) else conv
        assert isinstance(layer, nn.Conv2d)
        layer.weight.data *= plain.scale.data.view(-1, 1, 1, 1)
        if layer.bias is not None:
            layer.bias.data *= plain.scale.data.flatten()
        self.conv = conv
        if isinstance(conv, Winograd):
            conv.of_sum = torch.tensor([SLOPE])

    def forward(self, x: Tensor) -> Tensor:
        """As the plain one's."""
        if isinstance(self.conv, Winograd):
            out: Tensor = self.conv(x, x)
            return out
        return F.leaky_relu_(self.conv(x).add_(x), SLOPE)


class FastLevel(nn.Module):
    """:class:`~tweenlet.network.intermediate_flow.Level`, which leaves the channels of a pixel together."""

    def __init__(self, plain: Level):
        super().__init__()
        self.down, self.blocks, (self.up, _) = plain.down, plain.blocks, plain.up
        layer = self._last()
        order = torch.arange(layer.out_channels).view(-1, 4).T.flatten()  # pixels of a cell, then channels
        factors = torch.ones(layer.out_channels // 4)
        factors[:4] = plain.scale
        factors = factors.repeat(4).to(layer.weight)
        layer.weight.data = channels_last(layer.weight.data[:, order] * factors.view(1, -1, 1, 1))
        if layer.bias is not None:
            layer.bias.data = layer.bias.data[order] * factors

    def _last(self) -> nn.ConvTranspose2d:
        layer = self.up.layer if isinstance(self.up, Winograd) else self.up
        assert isinstance(layer, nn.ConvTranspose2d)
        return layer

    def keep(self, channels: int) -> None:
        """Leave out all but the first channels of what it makes; before it is first run."""
        layer = self._last()
        all_channels = layer.out_channels // 4
        kept = torch.arange(layer.out_channels).view(4, all_channels)[:, :channels].flatten()
        layer.weight.data = channels_last(layer.weight.data[:, kept])
        if layer.bias is not None:
            layer.bias.data = layer.bias.data[kept]
        layer.out_channels = 4 * channels
        if isinstance(self.up, Winograd):
            self.up.out_channels = 4 * channels

    def forward(self, inputs: Tensor, flows: Tensor | None = None) -> Tensor:
        """As the plain one's, channels_last."""
        cells = self.up(self.blocks(self.down(inputs))).float().permute(0, 2, 3, 1)
        batch, height, width, channels = cells.shape
        by_row = cells.reshape(batch, height, width, 2, 2, channels // 4).transpose(2, 3)
        estimate: Tensor = by_row.reshape(batch, 2 * height, 2 * width, -1).permute(0, 3, 1, 2)
        if flows is not None:
            estimate[:, :4] += flows
        return estimate
