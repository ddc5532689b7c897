"""MultiFlow: many small motions per pixel (the paper's multi-flow branch, AdaCoF at three scales).

    features (B, C, H/2, W/2), before, after (B, 3, H, W)
        ->  {scale: (B, 6, scale H, scale W)}, the frame synthesised from before and from after

    features --> heads[scale and frame] --> weight, rows, columns
                                                     |
    frame ----> half, itself or double -----------> adacof --> candidate

Occlusions are not masked: both candidates go to the fusion unchanged.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tweenlet.network.blocks import AlignedUpsample, Tile, run
from tweenlet.network.channels import ChannelGraph, Layout
from tweenlet.ops.adacof import adacof
from tweenlet.ops.resample import EIGHT_TAPS, downsample, gaussian_kernel, upsample_8tap

SCALE_NAMES = {2.0: "fine", 1.0: "full", 0.5: "coarse"}


class KernelHead(nn.Module):
    """Predicts the taps of one frame at one scale: three small stacks of convolutions on the features."""

    def __init__(self, inputs: int, hidden: int, taps: int, scale: float):
        super().__init__()
        enlarge = round(2 * scale)  # the features have half the frame's size

        def stack() -> nn.Sequential:
            layers: list[nn.Module] = [
                nn.Conv2d(inputs, hidden, 3, padding=1),
                nn.ReLU(),
                nn.Conv2d(hidden, hidden, 3, padding=1),
                nn.ReLU(),
                nn.Conv2d(hidden, taps, 3, padding=1),
            ]
            if enlarge > 1:
                layers += [
                    nn.ReLU(),
                    AlignedUpsample(enlarge),
                    nn.Conv2d(taps, taps, 3, padding=1),
                ]
            return nn.Sequential(*layers)

        self.weight = stack()
        self.rows = stack()
        self.columns = stack()

    def forward(self, features: Tensor, tile: Tile | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """(B, C, h, w) -> weights that sum to one, row offsets and column offsets, (B, taps, h', w') each."""
        logits = run(self.weight, features, tile)
        precise = torch.promote_types(logits.dtype, torch.float32)
        weight = logits.permute(0, 2, 3, 1).softmax(3, precise).permute(0, 3, 1, 2)  # keeps the memory format
        return weight, run(self.rows, features, tile), run(self.columns, features, tile)


class MultiFlow(nn.Module):
    """Heads for both frames at every scale, and AdaCoF with their taps."""

    def __init__(self, inputs: int, hidden: int, kernel_size: int, dilation: int, scales: tuple[float, ...]):
        super().__init__()
        self.scales = scales
        self.dilation = dilation
        self.heads = nn.ModuleDict(
            {
                f"{SCALE_NAMES[scale]}_{frame}": KernelHead(inputs, hidden, kernel_size**2, scale)
                for scale in scales
                for frame in ("before", "after")
            }
        )
        # constants, but parameters in the published checkpoints
        if 0.5 in scales:
            self.gaussian = nn.Parameter(gaussian_kernel().expand(3, 1, 5, 5).clone(), requires_grad=False)
        if 2.0 in scales:
            taps = torch.tensor(EIGHT_TAPS).expand(3, 1, 1, 8).clone()
            self.eight_taps = nn.Parameter(taps, requires_grad=False)

    def forward(
        self, features: Tensor, before: Tensor, after: Tensor, tile: Tile | None = None
    ) -> dict[float, Tensor]:
        """Features (B, C, H/2, W/2), frames (B, 3, H, W) -> both candidates, (B, 6, h, w) for each scale."""
        candidates = {}
        for scale in self.scales:
            frames = []
            for name, frame in (("before", before), ("after", after)):
                weight, rows, columns = self.heads[f"{SCALE_NAMES[scale]}_{name}"](features, tile)
                frames.append(adacof(self.resize(frame, scale), weight, rows, columns, self.dilation))
            candidates[scale] = torch.cat(frames, 1)
        return candidates

    def resize(self, frame: Tensor, scale: float) -> Tensor:
        """Resize a frame (B, 3, H, W) to ``scale``, for AdaCoF to sample."""
        if scale == 1.0:
            return frame
        return downsample(frame, self.gaussian) if scale < 1 else upsample_8tap(frame, self.eight_taps)

    def declare_channels(self, graph: ChannelGraph, features: Layout) -> None:
        """State which channels enter and leave each stack of the heads."""
        for head in self.heads.values():
            for stack in head.children():
                assert isinstance(stack, nn.Sequential)
                hidden = graph.fresh(stack[2])
                graph.connect(features, hidden, stack[:4], width="kernel_hidden")
                graph.connect(hidden, graph.fresh(stack[4]), stack[4:])
        graph.constants(self)
