"""Fused blocks: sums accumulated by convolutions; gates and norms in one pass, in place.

Each is built from the plain block, whose norms and activations :mod:`~tweenlet.inference.fused.fuse` has
folded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tweenlet.inference.fused.bands import crop_rows, row_bands
from tweenlet.inference.fused.layers import (
    NO_HALO,
    Halo,
    InPlaceGate,
    Winograd,
    batchnorm_scale_shift,
    channels_last,
    crop_halo,
    new_image,
    out_channels_of,
    run_and_add,
    shuffle_cells,
)
from tweenlet.network.blocks import Tile, WholeFrameLayer
from tweenlet.network.features import Block, Branch
from tweenlet.network.flow import DENSE, Decoder
from tweenlet.network.four_frames import HalfSizeEncoder, ResidualHead
from tweenlet.network.fusion import Lateral
from tweenlet.network.intermediate_flow import SLOPE, Encoder, Level, ResidualBlock
from tweenlet.network.texture import Residual
from tweenlet.ops.cpu.bottleneck import Convolution, bottleneck, pack_bottleneck
from tweenlet.ops.cpu.level_entry import (
    PackedEntry,
    level_entry,
    new_padded_pixels,
    pack_entry,
    warped_level_entry,
)
from tweenlet.ops.cpu.winograd import residual_blocks
from tweenlet.ops.dispatch import has_native, kernel_for
from tweenlet.ops.epilogue import scale_shift_act_
from tweenlet.ops.levels import level_inputs, pooled_level_inputs
from tweenlet.ops.resample import avg_pool2


class FusedBlock(WholeFrameLayer):
    """:class:`~tweenlet.network.features.Block`, whose branches write into one tensor."""

    def __init__(self, plain: Block):
        super().__init__()
        self.small, self.large, self.gate = FusedBranch(plain.small), FusedBranch(plain.large), plain.gate

    def forward(self, x: Tensor, tile: Tile | None = None) -> Tensor:
        """(B, inputs, h, w) -> (B, outputs, h', w')."""
        outputs = [branch.outputs for branch in (self.small, self.large)]
        both = new_image(x, sum(outputs), *self.small.size(x))
        for branch, out in zip((self.small, self.large), torch.split(both, outputs, 1), strict=True):
            branch(x, out)
        gated: Tensor = self.gate(both, tile)
        return gated


class FusedBranch(nn.Module):
    """:class:`~tweenlet.network.features.Branch`, in one pass where native code supports it."""

    def __init__(self, plain: Branch):
        super().__init__()
        self.plain, self.outputs = plain, out_channels_of(plain.expand)
        stacks = (plain.reduce, plain.grouped, plain.expand, plain.shortcut)  # whose norms are folded
        layers = [layer for (layer,) in stacks if isinstance(layer, Convolution)]
        self._weights = pack_bottleneck(*layers)

    def size(self, x: Tensor) -> tuple[int, int]:
        """Height and width of the output for ``x``."""
        height, width = x.shape[2:]
        if isinstance(self.plain.grouped[0], nn.ConvTranspose2d):
            return 2 * height, 2 * width
        return -(-height // self.plain.stride_1x1), -(-width // self.plain.stride_1x1)

    def forward(self, x: Tensor, out: Tensor) -> Tensor:
        """(B, inputs, h, w) -> ``out``, (B, outputs, h', w')."""
        if self._weights is not None and x.device.type == "cpu" and has_native():
            return bottleneck(channels_last(x), self._weights, out)
        plain = self.plain
        grouped = plain.grouped(plain.reduce(x).relu_()).relu_()
        fetched = x[..., :: plain.stride_1x1, :: plain.stride_1x1]
        return out.copy_(run_and_add(plain.expand, grouped, plain.shortcut(fetched)).relu_())


class FusedLateral(nn.Module):
    """:class:`~tweenlet.network.fusion.Lateral` and the sum after it, in bands of rows."""

    def __init__(self, plain: Lateral):
        super().__init__()
        self.path, self.shortcut = plain.path, plain.shortcut

    def forward(self, x: Tensor, residual: Tensor | None = None, out: Tensor | None = None) -> Tensor:
        """(B, inputs, h, w) -> (B, outputs, h, w) plus ``residual``, in ``out``, by default over that."""
        if out is None:
            out = new_image(x, out_channels_of(self.path)) if residual is None else residual
        for band in row_bands(x.shape[2]):
            rows = (..., band.rows, slice(None))
            source = x[:, :, band.with_halo(2, 2)].to(out.dtype)
            self.run_band(source, band.halo, out[rows], None if residual is None else residual[rows])
            del source  # before the next is allocated
        return out

    def run_band(self, x: Tensor, halo: Halo, out: Tensor, residual: Tensor | None = None) -> Tensor:
        """As :meth:`forward`, for rows with a halo of two; ``out`` has no halo."""
        if isinstance(self.shortcut, nn.Identity):
            own = crop_rows(x, 2, halo)
            residual = own if residual is None else residual.add_(own)
        else:
            residual = run_and_add(self.shortcut, crop_rows(x, 1, halo), residual, out, halo)
        return run_and_add(self.path, x, residual, out, halo)


class FusedResidual(WholeFrameLayer):
    """:class:`~tweenlet.network.texture.Residual`: gate, sum and activation in one pass, in place."""

    def __init__(self, plain: Residual):
        super().__init__()
        self.first, self.second, self.shortcut = plain.first, plain.second, plain.shortcut
        assert isinstance(plain.gate, InPlaceGate)
        self.gate = plain.gate.gate

    def forward(self, x: Tensor, tile: Tile | None = None) -> Tensor:
        """(B, inputs, 5, h, w) -> (B, outputs, 5, h / stride, w / stride)."""
        out: Tensor = self.second(self.first(x))
        return scale_shift_act_(out, self.gate.factors(out, tile), residual=self.shortcut(x), slope=0)


class FusedTextureDecoder(nn.Module):
    """A block of the texture branch's decoder: gate, norm and activation in one pass."""

    def __init__(self, plain: nn.Module):
        super().__init__()
        assert isinstance(plain, nn.Sequential)
        self.layer, gate, norm = plain
        assert isinstance(gate, InPlaceGate)
        assert isinstance(norm, nn.BatchNorm3d)
        self.gate = gate.gate
        self.scale, self.shift = batchnorm_scale_shift(norm)

    def forward(self, x: Tensor, concat_with: Tensor | None = None, tile: Tile | None = None) -> Tensor:
        """(B, C, T, h, w) -> (B, C', T, h', w'); the channels of ``concat_with`` follow those of ``x``."""
        x = self.convolve(x, concat_with)
        return self.scale_and_activate(x, self.gate.factors(x, tile))

    def convolve(self, x: Tensor, concat_with: Tensor | None, halo: Halo = NO_HALO) -> Tensor:
        """The layer alone; ``halo`` is that of :class:`~tweenlet.inference.fused.layers.Winograd`."""
        if isinstance(self.layer, Winograd):
            out: Tensor = self.layer(x, halo=halo, concat_with=concat_with)
            return out
        return crop_halo(
            self.layer(x if concat_with is None else torch.cat((x, concat_with), 1)), self.layer, halo
        )

    def scale_and_activate(self, x: Tensor, factors: Tensor) -> Tensor:
        """Apply the gate's ``factors`` (B, C, ...), the norm and the activation, in place."""
        return scale_shift_act_(x, factors.flatten(1) * self.scale, self.shift, slope=0.2)


class FusedFlowDecoder(nn.Module):
    """:class:`~tweenlet.network.flow.Decoder`, whose layers write into one tensor, next to their inputs."""

    def __init__(self, plain: Decoder):
        super().__init__()
        self.plain, self.outputs, self.predict = plain, plain.outputs, plain.predict
        self.dense = [layer for layer in plain.dense if isinstance(layer, Winograd)]
        assert len(self.dense) == len(plain.dense)
        for layer in self.dense:
            layer.slope_after = torch.tensor([0.1])

    def forward(
        self, first: Tensor, second: Tensor, coarser: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, Tensor]:
        """Feature maps (B, width, h, w) and (flow, features) of the level below -> those of this level."""
        inputs = self.plain.inputs(first, second, coarser)
        start = self.outputs - sum(x.shape[1] for x in inputs)
        x = new_image(first, self.outputs)
        torch.cat(inputs, 1, out=x[:, start:])
        for layer, width in zip(self.dense, DENSE, strict=True):
            end, start = start, start - width
            layer(x[:, end:], out=x[:, start:end])
        return self.predict(x), x


class FusedEncoder(nn.Module):
    """An encoder of intermediate flow that writes its features behind the frame in one tensor."""

    def __init__(self, plain: Encoder | HalfSizeEncoder):
        super().__init__()
        self.layers, self.out, self.halves = plain.layers, plain.out, isinstance(plain, HalfSizeEncoder)
        self.outputs = out_channels_of(plain.out)

    def forward(self, frame: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, 3 + outputs, h, w), channels_last, the frame first, at the features' size."""
        x = self.layers(channels_last(frame))
        picture = avg_pool2(frame) if self.halves else frame
        if frame.device.type == "cpu" and frame.dtype == torch.float32:
            out = new_padded_pixels(len(frame), 3 + self.outputs, *picture.shape[2:])  # as levels sample it
        else:
            out = new_image(picture, 3 + self.outputs)
        out[:, :3] = picture
        if isinstance(self.out, Winograd):
            self.out(x, out=out[:, 3:])
        else:
            out[:, 3:] = self.out(x)
        return out


class FusedResidualHead(nn.Module):
    """:class:`~tweenlet.network.four_frames.ResidualHead`, whose first layer reads two tensors as one."""

    def __init__(self, plain: ResidualHead):
        super().__init__()
        self.layers = plain.layers

    def forward(self, fetched: Tensor, inputs: Tensor) -> Tensor:
        """Fetched (B, 24, H/2, W/2), mask and context -> residuals (B, 16, H/2, W/2) of frame and mask."""
        first, *rest = self.layers.children()
        x = first(fetched, concat_with=inputs)
        for layer in rest:
            x = layer(x)
        correction: Tensor = x.float()
        return correction


class FusedResidualBlock(nn.Module):
    """:class:`~tweenlet.network.intermediate_flow.ResidualBlock` in one pass, its scale folded."""

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
            conv.slope_sum = torch.tensor([SLOPE])

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> the same shape."""
        if isinstance(self.conv, Winograd):
            out: Tensor = self.conv(x, x)
            return out
        return F.leaky_relu_(self.conv(x).add_(x), SLOPE)


class FusedLevel(nn.Module):
    """:class:`~tweenlet.network.intermediate_flow.Level`, channels_last up to its output."""

    def __init__(self, plain: Level):
        super().__init__()
        self.down, self.blocks, (self.up, _) = plain.down, plain.blocks, plain.up
        self.scale = plain.scale
        self._entry: PackedEntry | None = None
        layer = self._last_layer()
        order = torch.arange(layer.out_channels).view(-1, 4).T.flatten()  # pixels of a cell, then channels
        factors = torch.ones(layer.out_channels // 4)
        factors[:4] = plain.scale
        factors = factors.repeat(4).to(layer.weight)
        layer.weight.data = channels_last(layer.weight.data[:, order] * factors.view(1, -1, 1, 1))
        if layer.bias is not None:
            layer.bias.data = layer.bias.data[order] * factors
        if isinstance(self.up, Winograd):
            self.up.shuffle = 2

    def _last_layer(self) -> nn.ConvTranspose2d:
        layer = self.up.layer if isinstance(self.up, Winograd) else self.up
        assert isinstance(layer, nn.ConvTranspose2d)
        return layer

    def keep_channels(self, channels: int) -> None:
        """Compute the first ``channels`` only; call before the first run."""
        layer = self._last_layer()
        all_channels = layer.out_channels // 4
        chosen = torch.arange(layer.out_channels).view(4, all_channels)[:, :channels].flatten()
        layer.weight.data = channels_last(layer.weight.data[:, chosen])
        if layer.bias is not None:
            layer.bias.data = layer.bias.data[chosen]
        layer.out_channels = 4 * channels
        if isinstance(self.up, Winograd):
            self.up.out_channels = 4 * channels

    def warp_and_estimate(
        self, before: Tensor, after: Tensor, times: Tensor, estimates: Sequence[Tensor]
    ) -> Tensor:
        """As :meth:`.intermediate_flow.Level.warp_and_estimate`, without storing the inputs as a whole."""
        pooled = self.scale == 1 or self.scale % 2 == 0
        if not (estimates and pooled and kernel_for(pooled_level_inputs, before, after, *estimates)):
            return cast(Tensor, self(pooled_level_inputs(before, after, times, self.scale, estimates)))
        layer = self._first_layer(before, 0, 1)
        first_out = level_entry(before, after, times, self.scale, estimates, layer)
        estimate: Tensor = self(first_out, entered=True)  # by a call, so that hooks time it
        return estimate

    def refine(
        self, before: Tensor, after: Tensor, times: Tensor, estimate: Tensor, factor: int, *more: Tensor
    ) -> Tensor:
        """As :meth:`.intermediate_flow.Level.refine`, without storing the inputs as a whole."""
        if not kernel_for(pooled_level_inputs, before, after, estimate, *more):
            inputs = level_inputs(before, after, times, self.scale, estimate, factor, *more)
            return cast(Tensor, self(*inputs))
        layer = self._first_layer(before, sum(x.shape[1] for x in more), 1 / self.scale)
        first_out, flows = warped_level_entry(before, after, times, self.scale, estimate, layer, *more)
        refined: Tensor = self(first_out, flows, entered=True)
        return refined

    def _first_layer(self, before: Tensor, more: int, unit: float) -> PackedEntry:
        """The packed first layer, for frames with as many features as ``before``."""
        if self._entry is None:
            first = self.down[0]
            layer = first.layer if isinstance(first, Winograd) else first
            assert isinstance(layer, nn.Conv2d)
            self._entry = pack_entry(layer, SLOPE, before.shape[1] - 3, more, unit)
        return self._entry

    def forward(self, inputs: Tensor, flows: Tensor | None = None, entered: bool = False) -> Tensor:
        """As :meth:`tweenlet.network.intermediate_flow.Level.forward`, channels_last.

        ``entered``: the inputs have been through the first layer and its activation.
        """
        if entered:
            has_activation = not isinstance(self.down[1], Winograd | nn.Conv2d)
            x = self.down[2 if has_activation else 1 :](inputs)
        else:
            x = self.down(inputs)
        out = self.up(self._run_blocks(x))
        estimate: Tensor = (out if isinstance(self.up, Winograd) else shuffle_cells(out)).float()
        if flows is not None:
            estimate[:, :4] += flows
        return estimate

    def _run_blocks(self, x: Tensor) -> Tensor:
        """The residual blocks, in one native call where there is native code for all of them."""
        convolutions = [block.conv for block in self.blocks if isinstance(block, FusedResidualBlock)]
        layers = [layer for layer in convolutions if isinstance(layer, Winograd) and layer.takes_native(x)]
        if len(layers) == len(self.blocks) > 0:
            out = residual_blocks(channels_last(x), [layer.pack() for layer in layers])
            if out is not None:
                return out
        blocks: Tensor = self.blocks(x)
        return blocks
