"""Metrics come by name, and what one needs is said before anything is measured."""

from __future__ import annotations

import runpy
import sys

import pytest
import torch

from tweenlet.evaluation import catalogue
from tweenlet.evaluation.catalogue import DEFAULT, METRICS, resolve_metrics

PACKAGES = {
    "ms_ssim": ("torchmetrics.functional.image", "torchmetrics"),
    "vmaf": ("imageio_ffmpeg", "imageio-ffmpeg"),
    "flip": ("flip_evaluator", "flip-evaluator"),
}


def test_metrics_are_chosen_by_name_in_that_order() -> None:
    assert list(resolve_metrics(["flip", "psnr"])) == ["flip", "psnr"]
    assert resolve_metrics(["flip"])["flip"] is METRICS["flip"]
    with pytest.raises(ValueError, match=r"expected a metric of psnr, detail, .*, lpips; got vmag"):
        resolve_metrics(["psnr", "vmag"])


def test_lpips_without_a_file_says_how_to_get_one() -> None:
    with pytest.raises(ValueError, match=r"needs the weights .*alexnet-owt-7be5be79\.pth"):
        resolve_metrics(["lpips"])
    picture = torch.rand(3, 40, 40)
    with pytest.raises(ValueError, match=r"needs a file of weights: .*lpips=FILE"):
        METRICS["lpips_alex"].measure(picture, picture, torch.stack((picture, picture)))


@pytest.mark.parametrize("name", PACKAGES)
def test_a_missing_package_is_named_before_anything_is_measured(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, package = PACKAGES[name]
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(OSError, match=rf"{package} is not installed: pip install 'tweenlet\[evaluate\]'"):
        resolve_metrics(["psnr", name])


def test_the_default_metrics_need_no_package(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, _ in PACKAGES.values():
        monkeypatch.setitem(sys.modules, module, None)
    assert list(resolve_metrics(DEFAULT)) == list(DEFAULT)
    assert runpy.run_path(catalogue.__file__)["DEFAULT"] == DEFAULT
