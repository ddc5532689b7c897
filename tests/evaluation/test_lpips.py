"""LPIPS against torchmetrics, which is given networks of torchvision's shapes with random weights."""

from __future__ import annotations

import hashlib
import re
import sys
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch
from torch import Tensor, nn
from torchmetrics.functional.image import lpips as theirs

from tweenlet.evaluation import lpips
from tweenlet.evaluation.catalogue import resolve_metrics
from tweenlet.evaluation.lpips import BACKBONES, load

# What torchvision publishes: name of the network, its parameters, those of its classifier.
PUBLISHED = {
    "alex": ("alexnet", 61_100_840, 58_631_144),
    "squeeze": ("squeezenet1_1", 1_235_496, 513_000),
    "vgg": ("vgg16", 138_357_544, 123_642_856),
}


def plain(plan: list[tuple[int, int, int, int] | None], pool: int) -> list[nn.Module]:
    """Convolutions (channels, kernel, stride, padding), each with its ReLU; None is a pooling by 2."""
    layers: list[nn.Module] = []
    channels = 3
    for step in plan:
        if step is None:
            layers.append(nn.MaxPool2d(pool, 2))
        else:
            layers += [nn.Conv2d(channels, step[0], *step[1:]), nn.ReLU(inplace=True)]
            channels = step[0]
    return layers


class Fire(nn.Module):
    def __init__(self, channels: int, few: int, each: int) -> None:
        super().__init__()
        self.squeeze, self.squeeze_activation = nn.Conv2d(channels, few, 1), nn.ReLU(inplace=True)
        self.expand1x1, self.expand1x1_activation = nn.Conv2d(few, each, 1), nn.ReLU(inplace=True)
        self.expand3x3, self.expand3x3_activation = nn.Conv2d(few, each, 3, 1, 1), nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.squeeze_activation(self.squeeze(x))
        sides = self.expand1x1_activation(self.expand1x1(x)), self.expand3x3_activation(self.expand3x3(x))
        return torch.cat(sides, 1)


def alexnet() -> list[nn.Module]:
    three = (3, 1, 1)
    ends: list[tuple[int, int, int, int] | None] = [(384, *three), (256, *three), (256, *three), None]
    return plain([(64, 11, 4, 2), None, (192, 5, 1, 2), None, *ends], pool=3)


def vgg16() -> list[nn.Module]:
    widths = [64, 64, None, 128, 128, None, *[256] * 3, None, *[512] * 3, None, *[512] * 3, None]
    return plain([width and (width, 3, 1, 1) for width in widths], pool=2)


def squeezenet() -> list[nn.Module]:
    channels = 64
    layers: list[nn.Module] = [nn.Conv2d(3, channels, 3, 2), nn.ReLU(inplace=True)]
    for few, many in ((16, 2), (32, 2), (48, 2), (64, 2)):
        if few != 64:
            layers.append(nn.MaxPool2d(3, 2, ceil_mode=True))
        for _ in range(many):
            layers.append(Fire(channels, few, 4 * few))
            channels = 8 * few
    return layers


FEATURES = {"alex": alexnet, "squeeze": squeezenet, "vgg": vgg16}
Published = Callable[..., tuple[Path, nn.Sequential]]


def features(name: str, faint: float = 1e-3) -> nn.Sequential:
    """Random ones, so ``faint`` that the small constant under the root counts."""
    torch.manual_seed(7)
    layers = nn.Sequential(*FEATURES[name]())
    for parameter in layers.parameters():  # as a trained network's: features that do not fade with depth
        nn.init.kaiming_normal_(parameter) if parameter.ndim > 1 else nn.init.normal_(
            parameter, 0, faint / 10
        )
    with torch.no_grad():
        next(layers.parameters()).mul_(faint)
    return layers


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Published:
    """Writes a file of random weights as torchvision would, and has its hash known in place of the true."""

    def write(name: str, zipped: bool = True) -> tuple[Path, nn.Sequential]:
        layers = features(name)
        tensors = OrderedDict((f"features.{key}", value) for key, value in layers.state_dict().items())
        tensors["classifier.1.weight"] = torch.zeros(4, 4)
        path = tmp_path / f"{name}.pth"
        torch.save(tensors, path, _use_new_zipfile_serialization=zipped)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        (backbone,) = (backbone for backbone in BACKBONES.values() if backbone.name == name)
        monkeypatch.setattr(lpips, "BACKBONES", {digest[:8]: backbone})
        return path, layers

    return write


def pair(height: int = 71, width: int = 93) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(8)
    truth = torch.rand(3, height, width, generator=generator)
    return truth + 0.2 * torch.randn(3, height, width, generator=generator), truth


def rounded(picture: Tensor) -> Tensor:
    return (picture.clamp(0, 1) * 255).round() / 255


@pytest.mark.parametrize("name", FEATURES)
def test_lpips_is_that_of_torchmetrics(
    name: str, published: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, layers = published(name)
    network = PUBLISHED[name][0]
    models = ModuleType("torchvision.models")
    setattr(models, theirs._weight_map[network], SimpleNamespace(DEFAULT="published"))
    setattr(models, network, lambda weights: SimpleNamespace(features=layers))
    torchvision = ModuleType("torchvision")
    torchvision.models = models  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torchvision", torchvision)
    monkeypatch.setattr(theirs, "_TORCHVISION_AVAILABLE", True)

    output, truth = pair()
    expected = theirs.learned_perceptual_image_patch_similarity(
        rounded(output)[None], rounded(truth)[None], net_type=name, normalize=True
    ).item()
    assert 0.01 < expected < 2
    assert load(path)(output, truth) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", FEATURES)
def test_the_networks_are_as_large_as_the_published_ones(name: str) -> None:
    _, whole, classifier = PUBLISHED[name]
    (backbone,) = (backbone for backbone in BACKBONES.values() if backbone.name == name)
    for layers in (backbone.layers(), features(name)):
        assert sum(parameter.numel() for parameter in layers.parameters()) == whole - classifier


@pytest.mark.parametrize("name", FEATURES)
def test_equal_pictures_score_nothing_and_8_bits_count(name: str, published: Published) -> None:
    distance = load(published(name)[0])
    output, truth = pair(32, 40)
    assert distance(truth, truth) == 0
    assert distance(output, truth) > 0
    assert distance(output, truth) == distance(rounded(output), rounded(truth))


def test_a_file_in_the_format_of_old_torch_is_read(published: Published) -> None:
    output, truth = pair(40, 40)
    new, old = (load(published("squeeze", zipped)[0])(output, truth) for zipped in (True, False))
    assert new == old


def test_chosen_names_the_network_in_the_label(published: Published) -> None:
    path, _ = published("squeeze")
    result = resolve_metrics(["psnr", "lpips"], lpips=path)
    assert result["lpips_squeeze"].label == "LPIPS (squeeze)"
    assert (result["lpips_squeeze"].better, result["lpips_squeeze"].digits) == ("lower", 4)
    assert result["lpips_squeeze"].measure(*pair(), torch.rand(2, 3, 40, 40)) == load(path)(*pair())


def test_scores_are_the_same_from_many_threads(published: Published) -> None:
    distance = load(published("alex")[0])
    pairs = [pair(64, 64 + number) for number in range(6)]
    alone = [distance(*each) for each in pairs]
    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(lambda each: distance(*each), pairs)) == alone


def test_the_published_hashes_are_those_of_the_files_names() -> None:
    named = re.findall(r"(\w[\w.-]*)-([0-9a-f]{8})\.pth", lpips.HOW_TO_GET)
    assert {digits: BACKBONES[digits].name for _, digits in named} == {
        "7be5be79": "alex",
        "b8a52dc0": "squeeze",
        "397923af": "vgg",
    }


def test_any_other_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "alexnet-owt-7be5be79.pth"
    path.write_bytes(b"cut short")
    begins = hashlib.sha256(b"cut short").hexdigest()[:8]
    with pytest.raises(
        ValueError, match=rf"SHA-256 begins with {begins}; .*torchvision.*alexnet-owt-7be5be79"
    ):
        load(path)
    with pytest.raises(ValueError, match="SHA-256 begins with"):
        resolve_metrics(["lpips"], lpips=path)
    with pytest.raises(FileNotFoundError, match=r"nothing\.pth"):
        load(tmp_path / "nothing.pth")


def test_a_picture_too_small_is_refused(published: Published) -> None:
    distance = load(published("vgg")[0])
    with pytest.raises(ValueError, match="lpips needs pictures of at least 32x32, got 40x31"):
        distance(*pair(31, 40))


def test_torchmetrics_is_asked_for_where_it_is_missing(
    published: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, _ = published("squeeze")
    monkeypatch.setitem(sys.modules, "torchmetrics", None)
    with pytest.raises(OSError, match=r"torchmetrics is not installed: pip install 'tweenlet\[evaluate\]'"):
        resolve_metrics(["lpips"], lpips=path)
