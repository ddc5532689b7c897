"""The reference: the official network, executed plainly. Slow on purpose; all else is measured by it.

    frames (4, 3, H, W)  ->  the frame between the middle two (3, H, W), by the weights of an ``STMFNet``

    pad to 128 -> features -> 18 heads -> 6 AdaCoF -+-> grid, dead blocks too -> draft -> 3-D U-net -> crop
               -> flow, pyramids made for each way -+

One call for each convolution, in float32 and the default layout; batch norms by themselves; 3-D convolutions
as such; AdaCoF gathers four neighbours for each tap. Nothing is shared, folded or left out.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from tweenlet.network.features import GROUPS, MEAN_RGB
from tweenlet.network.flow import UNIT
from tweenlet.network.stmfnet import STMFNet
from tweenlet.ops.correlation import correlation
from tweenlet.ops.resample import downsample, upsample_8tap
from tweenlet.ops.splat import splat
from tweenlet.ops.warp import backwarp_pwc

OFFICIAL_STRIDE = 128
NEAR = 1e-4
"""To a negative integer: there AdaCoF jumps, and rounding decides where an offset is truncated to."""


class Reference:
    """The official execution of ``model``, whose flow branch is PWC-Net or absent."""

    def __init__(self, model: STMFNet, pad_to: int = OFFICIAL_STRIDE):
        if model.intermediate is not None:
            raise ValueError("the official networks have no intermediate-flow branch")
        self.config = model.config
        self.pad_to = pad_to
        self.state = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}

    @torch.no_grad()
    def __call__(self, frames: Sequence[Tensor]) -> Tensor:
        """Four frames (3, H, W) in [0, 1] -> the frame in the middle (3, H, W), not clamped."""
        height, width = frames[0].shape[-2:]
        border = (0, -width % self.pad_to, 0, -height % self.pad_to)
        return self.middle([F.pad(f[None], border, "reflect") for f in frames])[0, :, :height, :width]

    def middle(self, frames: Sequence[Tensor]) -> Tensor:
        before, after = frames[1:3]
        candidates = self.multi_flow(before, after) if self.config.features else {}
        if self.config.flow:
            thrown = torch.cat(self.flow(before, after), 1)
            candidates[1.0] = torch.cat((candidates[1.0], thrown), 1) if candidates else thrown
        draft = self.fusion(candidates)
        if self.config.texture is None:
            return draft
        return draft + self.texture(torch.stack((frames[0], before, draft, after, frames[3]), 2))

    # layers

    def conv(self, name, x, stride=1, padding=None, dilation=1, groups=1):
        weight, bias = self.state[f"{name}.weight"], self.state.get(f"{name}.bias")
        padding = dilation * (weight.shape[-1] // 2) if padding is None else padding
        if x.dim() == 5:
            return F.conv3d(x, weight, bias, (1, stride, stride), (weight.shape[2] // 2, padding, padding))
        return F.conv2d(x, weight, bias, stride, padding, dilation, groups)

    def transposed(self, name, x, padding, groups=1):
        weight, bias = self.state[f"{name}.weight"], self.state.get(f"{name}.bias")
        if x.dim() == 5:
            return F.conv_transpose3d(x, weight, bias, (1, 2, 2), 1)
        return F.conv_transpose2d(x, weight, bias, 2, padding, groups=groups)

    def norm(self, name, x):
        names = ("running_mean", "running_var", "weight", "bias")
        return F.batch_norm(x, *(self.state[f"{name}.{part}"] for part in names))

    def prelu(self, name, x):
        return F.prelu(x, self.state[f"{name}.weight"])

    # features

    def features(self, before, after):
        mean = torch.tensor(MEAN_RGB).view(3, 1, 1)
        x = torch.cat((before - mean, after - mean), 1)
        levels = []
        for level in range(len(self.config.features)):
            x = self.block(f"features.down.{level}", x, stride=2)
            levels.append(x)
        x = self.block("features.bottom", x)
        for level in reversed(range(len(levels) - 1)):
            x = self.block(f"features.up.{level}", x + levels[level + 1], up=True)
        return x

    def block(self, name, x, stride=1, up=False):
        joined = torch.cat([self.branch(f"{name}.{size}", x, stride, up) for size in ("small", "large")], 1)
        means = F.adaptive_avg_pool2d(joined, 1).flatten(1)
        for layer in (1, 3):
            path = f"{name}.gate.layers.{layer}"
            means = F.linear(means, self.state[f"{path}.weight"], self.state[f"{path}.bias"])
            means = means.relu() if layer == 1 else means.sigmoid()
        return joined * means[:, :, None, None]

    def branch(self, name, x, stride, up):
        def resize(part, x, groups):
            if up:
                size = self.state[f"{name}.{part}.0.weight"].shape[-1]
                return self.transposed(f"{name}.{part}.0", x, (size - 1) // 2, groups)
            return self.conv(f"{name}.{part}.0", x, stride, groups=groups)

        inner = self.norm(f"{name}.reduce.1", self.conv(f"{name}.reduce.0", x)).relu()
        inner = self.norm(f"{name}.grouped.1", resize("grouped", inner, GROUPS)).relu()
        inner = self.norm(f"{name}.expand.1", self.conv(f"{name}.expand.0", inner))
        return (inner + self.norm(f"{name}.shortcut.1", resize("shortcut", x, 1))).relu()

    # multi-flow

    def multi_flow(self, before, after):
        features = self.features(before, after)
        candidates = {}
        for scale, size in ((2.0, "fine"), (1.0, "full"), (0.5, "coarse")):
            if scale not in self.config.scales:
                continue
            synthesised = []
            for which, frame in (("before", before), ("after", after)):
                head = f"multi_flow.heads.{size}_{which}"
                weight = self.stack(f"{head}.weight", features, scale).softmax(1)
                rows = self.stack(f"{head}.rows", features, scale)
                columns = self.stack(f"{head}.columns", features, scale)
                if scale == 2.0:
                    frame = upsample_8tap(frame, self.state["multi_flow.eight_taps"])
                elif scale == 0.5:
                    frame = downsample(frame, self.state["multi_flow.gaussian"])
                synthesised.append(gathered(frame, weight, rows, columns, self.config.dilation))
            candidates[scale] = torch.cat(synthesised, 1)
        return candidates

    def stack(self, name, x, scale):
        x = self.conv(f"{name}.0", x).relu()
        x = self.conv(f"{name}.2", x).relu()
        x = self.conv(f"{name}.4", x)
        if scale > 0.5:
            x = F.interpolate(x.relu(), scale_factor=2 * scale, mode="bilinear", align_corners=True)
            x = self.conv(f"{name}.7", x)
        return x

    # flow

    def flow(self, before, after):
        thrown = []
        for frame, other in ((before, after), (after, before)):
            flow = self.flow_between(frame, other)
            away = (frame - backwarp_pwc(other, flow)).abs().mean(1, keepdim=True)
            thrown.append(splat(frame, flow / 2, self.state["flow.metric_scale"] * away))
        return thrown

    def flow_between(self, frame, other):
        levels = len(self.config.flow)
        pyramids = []
        for x in (frame, other):
            pyramid = []
            for level in range(levels):
                for layer, stride in ((0, 2), (2, 1), (4, 1)):
                    x = F.leaky_relu(self.conv(f"flow.pyramid.{level}.{layer}", x, stride), 0.1)
                pyramid.append(x)
            pyramids.append(pyramid)
        flow = features = None
        for level in reversed(range(1, levels)):
            name, first, second = f"flow.decoders.{level - 1}", pyramids[0][level], pyramids[1][level]
            if flow is None:
                features = F.leaky_relu(correlation(first, second), 0.1)
            else:
                flow = self.transposed(f"{name}.upsample_flow", flow, 1)
                hints = self.transposed(f"{name}.upsample_features", features, 1)
                matches = correlation(first, backwarp_pwc(second, flow * (UNIT / 2 ** (level + 1))))
                features = torch.cat((F.leaky_relu(matches, 0.1), first, flow, hints), 1)
            for layer in range(5):
                dense = F.leaky_relu(self.conv(f"{name}.dense.{layer}", features), 0.1)
                features = torch.cat((dense, features), 1)
            flow = self.conv(f"{name}.predict", features)
        x = features
        for layer, dilation in zip(range(0, 12, 2), (1, 2, 4, 8, 16, 1), strict=True):
            x = F.leaky_relu(self.conv(f"flow.refine.{layer}", x, dilation=dilation), 0.1)
        flow = UNIT * (flow + self.conv("flow.refine.12", x))
        return F.interpolate(flow, scale_factor=4.0, mode="bilinear", align_corners=False)

    # fusion

    def fusion(self, candidates):
        count = len(self.config.scales)
        rows, grid = range(count), {}
        for row, scale in enumerate(self.config.scales):
            terms = [self.lateral(f"lateral.{row}_0", candidates[scale])] if scale in candidates else []
            if row:
                terms.append(self.pair(f"fusion.down.{row - 1}_0", 0, grid[row - 1], stride=2))
            grid[row] = sum(terms)
        for row in rows:
            grid[row] = self.lateral(f"lateral.{row}_1", grid[row])
            if row:
                grid[row] = grid[row] + self.pair(f"fusion.down.{row - 1}_1", 0, grid[row - 1], stride=2)
        for number, column in enumerate((2, 3)):
            for row in reversed(rows):
                grid[row] = self.lateral(f"lateral.{row}_{column}", grid[row])
                if row + 1 < count:
                    size = {"scale_factor": 2, "mode": "bilinear", "align_corners": False}
                    enlarged = F.interpolate(grid[row + 1], **size)
                    grid[row] = grid[row] + self.pair(f"fusion.up.{row}_{number}", 1, enlarged)
        return self.lateral("final", grid[self.config.scales.index(1.0)])

    def lateral(self, name, x):
        name = f"fusion.{name}"
        shortcut = f"{name}.shortcut"
        return self.pair(f"{name}.path", 0, x) + (
            self.conv(shortcut, x) if f"{shortcut}.weight" in self.state else x
        )

    def pair(self, name, first, x, stride=1):
        x = self.conv(f"{name}.{first + 1}", self.prelu(f"{name}.{first}", x), stride)
        return self.conv(f"{name}.{first + 3}", self.prelu(f"{name}.{first + 2}", x))

    # texture

    def texture(self, slices):
        x = self.norm("texture.stem.1", self.conv("texture.stem.0", slices, 2)).relu()
        levels = [x]
        for stage, stride in enumerate((1, 2, 2, 1)):
            x = self.residual(f"texture.stages.{stage}.0", x, stride)
            x = self.residual(f"texture.stages.{stage}.1", x, 1)
            levels.append(x)
        levels.pop()
        for number, up in enumerate((False, True, True, False, True)):
            name = f"texture.decoder.{number}"
            if number:
                x = torch.cat((x, levels.pop()), 1)
            x = self.transposed(f"{name}.0", x, 1) if up else self.conv(f"{name}.0", x)
            x = F.leaky_relu(self.norm(f"{name}.2", self.gate(f"{name}.1", x)), 0.2)
        x = torch.cat(torch.unbind(x, 2), 1)
        x = F.leaky_relu(self.norm("texture.fuse.1", self.conv("texture.fuse.0", x)), 0.2)
        return self.conv("texture.out", F.pad(x, (3, 3, 3, 3), "reflect"), padding=0)

    def residual(self, name, x, stride):
        inner = self.norm(f"{name}.first.1", self.conv(f"{name}.first.0", x, stride)).relu()
        inner = self.gate(f"{name}.gate", self.norm(f"{name}.second.1", self.conv(f"{name}.second.0", inner)))
        if f"{name}.shortcut.0.weight" in self.state:
            x = self.norm(f"{name}.shortcut.1", self.conv(f"{name}.shortcut.0", x, stride))
        return (inner + x).relu()

    def gate(self, name, x):
        return x * self.conv(f"{name}.layers.0", F.adaptive_avg_pool3d(x, 1)).sigmoid()


def gathered(frame: Tensor, weight: Tensor, rows: Tensor, columns: Tensor, dilation: int) -> Tensor:
    """AdaCoF by gathering, tap by tap: frame (B, C, H, W), the rest (B, k*k, H, W) -> (B, C, H, W)."""
    batch, channels, height, width = frame.shape
    side = round(weight.shape[1] ** 0.5)
    reach = (side - 1) * dilation // 2
    y, x = torch.arange(height)[:, None], torch.arange(width)
    flat = frame.flatten(2)
    out = torch.zeros_like(frame)
    for tap, (share, alpha, beta) in enumerate(
        zip(weight.unbind(1), rows.unbind(1), columns.unbind(1), strict=True)
    ):
        place_y = y + tap // side * dilation - reach + alpha.trunc().long()
        place_x = x + tap % side * dilation - reach + beta.trunc().long()
        part_y, part_x = alpha - alpha.trunc(), beta - beta.trunc()
        for row, by_row in ((0, 1 - part_y), (1, part_y)):
            for column, by_column in ((0, 1 - part_x), (1, part_x)):
                index = (place_y + row).clamp(0, height - 1) * width + (place_x + column).clamp(0, width - 1)
                picked = flat.gather(2, index.view(batch, 1, -1).expand(-1, channels, -1))
                out += picked.view_as(frame) * (share * by_row * by_column)[:, None]
    return out


def clear_of_jumps(offsets: Tensor, dim: int) -> Tensor:
    """Which pixels have no offset, of all those along ``dim``, that is nearly a negative integer."""
    return (((offsets - offsets.round()).abs() > NEAR) | (offsets.round() >= 0)).all(dim)
