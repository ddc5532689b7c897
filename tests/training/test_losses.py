from __future__ import annotations

import numpy as np
import pytest
import torch

from tweenlet.evaluation.features import feature_distance
from tweenlet.training.losses import LOSSES, charbonnier, combine_losses, detail, laplacian, perceptual, psnr


def test_laplacian_of_one_bright_pixel():
    truth = torch.zeros(1, 3, 32, 32)
    assert laplacian(truth, truth) == 0
    bright = truth.clone()
    bright[..., 16, 16] = 1
    one = laplacian(bright, truth)
    assert laplacian(bright.repeat(5, 1, 1, 1), truth.repeat(5, 1, 1, 1)) == pytest.approx(one.item())
    assert laplacian(2 * bright, truth) == pytest.approx(2 * one.item())


def test_laplacian_and_charbonnier_are_the_published_ones(golden_file):
    stored = np.load(golden_file("op_laplacian_loss.npz"))
    student = torch.from_numpy(stored["student"]).double().requires_grad_()
    truth = torch.from_numpy(stored["gt"]).double()
    loss = laplacian(student, truth)
    assert loss.item() * truth.numel() == pytest.approx(float(stored["loss_student_gt"]), rel=1e-6)
    loss.backward()
    np.testing.assert_allclose(student.grad.numpy() * truth.numel(), stored["grad_student"], atol=1e-4)
    assert charbonnier(student, truth).item() == pytest.approx(float(stored["charbonnier_student_gt"]))


def test_psnr_counts_each_picture():
    truth = torch.zeros(2, 3, 8, 8)
    there = torch.stack([torch.full((3, 8, 8), 0.1), torch.full((3, 8, 8), 0.01)])
    decibels = -10 / np.log(10) * psnr(there, truth).item()
    assert decibels == pytest.approx(30, abs=0.05)


def test_losses_add_up_by_name():
    a, b = torch.rand(2, 3, 16, 16), torch.rand(2, 3, 16, 16)
    total, terms = combine_losses({"charbonnier": 2.0, "laplacian": 0.5})(a, b)
    assert total == pytest.approx(
        2 * LOSSES["charbonnier"](a, b).item() + 0.5 * LOSSES["laplacian"](a, b).item()
    )
    assert sorted(terms) == ["charbonnier", "laplacian"]
    with pytest.raises(ValueError, match="unheard"):
        combine_losses({"unheard": 1.0})


def test_the_perceptual_loss_is_the_feature_distance():
    truth = (torch.rand(1, 3, 96, 64) * 255).round() / 255
    other = (truth + 0.1 * torch.rand(1, 3, 96, 64)).clamp(0, 1)
    other = ((other * 255).round() / 255).requires_grad_()
    feature_distance(truth[0], truth[0])  # asked for first, it must not leave layers without gradients
    loss = perceptual(other, truth)
    assert loss.item() == pytest.approx(feature_distance(other[0].detach(), truth[0]), rel=1e-4)
    loss.backward()
    assert other.grad.isfinite().all()
    assert other.grad.any()


def test_detail_is_lost_and_invented_alike():
    truth = torch.rand(2, 3, 24, 24)
    assert detail(truth, truth) == 0
    soft, sharp = (truth.mean() + factor * (truth - truth.mean()) for factor in (0.5, 2.0))
    assert detail(soft, truth).item() == pytest.approx(np.log(4) ** 2, rel=1e-3)
    assert detail(sharp, truth).item() == pytest.approx(np.log(4) ** 2, rel=1e-3)
    flat = torch.full((1, 3, 24, 24), 0.5)
    assert detail(flat, flat + 1e-4 * torch.rand(1, 3, 24, 24)).item() < 1e-3
