"""LPIPS: distance of two pictures in the features of a network trained on image classification.

::

    output, truth (3, H, W) -> eight_bit -> features of a layer -> the vector of each place made of length 1
                                            -> squared difference -> weighted sum over channels
                                            -> mean over places -> sum over layers

Zhang et al., 2018, version 0.1. The network's weights are a file supplied by the user, identified by its
SHA-256; the weights of the channels come with torchmetrics. Scores by different networks are not comparable:
ST-MFNet's evaluation uses AlexNet, CDFI's SqueezeNet.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tweenlet.evaluation.metrics import pair
from tweenlet.runtime.extras import import_extra

LEAST = 32
"""Smallest side, in pixels: less leaves nothing in the last layers."""

HOW_TO_GET = (
    "give it a file of https://download.pytorch.org/models/ as torchvision publishes it: "
    "alexnet-owt-7be5be79.pth (which ST-MFNet's evaluation takes), squeezenet1_1-b8a52dc0.pth (CDFI's) or "
    "vgg16-397923af.pth"
)

_MEAN = (-0.030, -0.088, -0.188)  # of pictures in [-1, 1]
_DEVIATION = (0.458, 0.448, 0.450)


@dataclass(frozen=True)
class Backbone:
    """A network of torchvision, up to the last layer that LPIPS uses."""

    name: str
    layers: Callable[[], nn.Sequential]
    seen: tuple[int, ...]
    """Numbers of the layers that LPIPS uses."""


class Lpips:
    """Distance of two pictures in the features of one network."""

    def __init__(self, backbone: str, layers: nn.Sequential, heads: dict[int, Tensor]) -> None:
        self.backbone = backbone
        """alex, squeeze or vgg."""
        self._layers = layers.eval().requires_grad_(False)
        self._heads = heads
        self._mean, self._deviation = (torch.tensor(values).view(3, 1, 1) for values in (_MEAN, _DEVIATION))

    @torch.inference_mode()
    def __call__(self, output: Tensor, truth: Tensor) -> float:
        """Distance of two pictures (3, H, W), RGB in [0, 1]; 0 if equal. ValueError under 32 x 32 pixels."""
        pictures = torch.stack(pair(output, truth, "lpips", LEAST)) / 255
        values = (2 * pictures - 1 - self._mean) / self._deviation
        distance = 0.0
        for number, layer in enumerate(self._layers):
            values = layer(values)
            if number in self._heads:
                made, wanted = values / (values.square().sum(1, keepdim=True) + 1e-8).sqrt()
                places = torch.einsum("c,chw->hw", self._heads[number], (made - wanted).square())
                distance += places.mean(dtype=torch.float64).item()
        return distance


def load(path: Path) -> Lpips:
    """LPIPS with the network whose weights are in ``path``, one of the three in :data:`HOW_TO_GET`.

    ValueError for any other file; OSError if it cannot be read, or without torchmetrics.
    """
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest[:8] not in BACKBONES:
        raise ValueError(f"lpips does not know {path}, whose SHA-256 begins with {digest[:8]}; {HOW_TO_GET}")
    backbone = BACKBONES[digest[:8]]
    layers, prefix = backbone.layers(), "features."
    tensors = {name.removeprefix(prefix): v for name, v in _tensors(path).items() if name.startswith(prefix)}
    layers.load_state_dict(tensors)
    heads = _heads(backbone.name)
    weights = [heads[f"lin{number}.model.1.weight"].flatten() for number in range(len(backbone.seen))]
    return Lpips(backbone.name, layers, dict(zip(backbone.seen, weights, strict=True)))


def _alexnet() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 64, 11, stride=4, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(),
        nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(),
        nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(),
    )  # fmt: skip


class _Fire(nn.Module):
    """SqueezeNet's Fire block: a squeeze layer, then expansion, half of it by 3 x 3 kernels."""

    def __init__(self, channels: int, few: int, many: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(channels, few, 1)
        self.expand1x1 = nn.Conv2d(few, many // 2, 1)
        self.expand3x3 = nn.Conv2d(few, many // 2, 3, padding=1)

    def forward(self, values: Tensor) -> Tensor:
        few = self.squeeze(values).relu()
        return torch.cat((self.expand1x1(few), self.expand3x3(few)), 1).relu()


def _squeezenet() -> nn.Sequential:
    def smaller() -> nn.MaxPool2d:
        return nn.MaxPool2d(3, 2, ceil_mode=True)

    return nn.Sequential(
        nn.Conv2d(3, 64, 3, stride=2), nn.ReLU(),
        smaller(), _Fire(64, 16, 128), _Fire(128, 16, 128),
        smaller(), _Fire(128, 32, 256), _Fire(256, 32, 256),
        smaller(), _Fire(256, 48, 384), _Fire(384, 48, 384), _Fire(384, 64, 512), _Fire(512, 64, 512),
    )  # fmt: skip


def _vgg16() -> nn.Sequential:
    layers: list[nn.Module] = []
    channels = 3
    for width, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        if layers:
            layers.append(nn.MaxPool2d(2))
        for _ in range(count):
            layers += nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()
            channels = width
    return nn.Sequential(*layers)


BACKBONES = {
    "7be5be79": Backbone("alex", _alexnet, (1, 4, 7, 9, 11)),
    "b8a52dc0": Backbone("squeeze", _squeezenet, (1, 4, 7, 9, 10, 11, 12)),
    "397923af": Backbone("vgg", _vgg16, (3, 8, 15, 22, 29)),
}
"""Backbones by the first eight digits of the SHA-256 of torchvision's file, which end its name."""


def _heads(backbone: str) -> dict[str, Any]:
    """The weights of the channels, from a file of torchmetrics."""
    place = Path(import_extra("torchmetrics").__file__).parent
    return _tensors(place / "functional" / "image" / "lpips_models" / f"{backbone}.pth")


def _tensors(path: Path) -> dict[str, Any]:
    tensors: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return tensors
