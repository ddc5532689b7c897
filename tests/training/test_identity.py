"""A folder is gone on with by the run that it holds, or not at all."""

from __future__ import annotations

import shutil
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tweenlet.compression.distill import distill, network_teacher
from tweenlet.training.data.batches import BatchSampler
from tweenlet.training.data.dataset import CropDataset
from tweenlet.training.loop import train
from tweenlet.training.options import DistillOptions, TrainOptions

OPTIONS = TrainOptions(steps=2, warmup=1, log_every=1, validate_every=5, save_every=1)


class Mean(nn.Module):
    """A network of one layer."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.layer = nn.Conv2d(12, 3, 1)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        return self.layer(frames.flatten(1, 2))


def go_on(samples: CropDataset, folder: Path, **changes):
    model = changes.pop("model", None) or Mean()
    sampling = {"batch_size": 2, "crop": 32, "seed": 0, "augment": "all"}
    sampling |= {name: changes.pop(name) for name in list(changes) if name in sampling}
    validation = changes.pop("validation", None)
    anyway = changes.pop("anyway", False)
    sampler = BatchSampler(changes.pop("data", samples), **sampling)
    return train(model, sampler, validation, replace(OPTIONS, **changes), folder, anyway=anyway)


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"learning_rate": 1e-5}, "learning_rate was 0.0004, now 1e-05"),
        ({"loss": {"psnr": 1.0}}, r"loss was {\"laplacian\": 1.0}, now {\"psnr\": 1.0}"),
        ({"batch_size": 4}, "batch was 2, now 4"),
        ({"crop": 16}, "crop was 32, now 16"),
        ({"seed": 3}, "seed was 0, now 3"),
        ({"augment": "flips"}, 'augment was "all", now "flips"'),
        ({"model": Mean(7)}, "the network that it starts from differs"),
    ],
)
def test_another_run_is_refused_by_the_field_that_differs(samples, tmp_path, changes, difference):
    go_on(samples, tmp_path)
    with pytest.raises(ValueError, match=difference):
        go_on(samples, tmp_path, steps=3, **changes)
    assert go_on(samples, tmp_path, steps=3, anyway=True, **changes).step == 3


def test_longer_training_and_other_logging_are_the_same_run(samples, tmp_path):
    go_on(samples, tmp_path)
    result = go_on(samples, tmp_path, steps=4, log_every=7, validate_every=9, save_every=3, keep=1, minutes=9)
    assert result.step == 4


def test_data_is_known_by_its_content(samples, tmp_path):
    go_on(samples, tmp_path / "run")
    shutil.copytree(samples.folder, tmp_path / "moved")
    moved = CropDataset(tmp_path / "moved")
    assert go_on(samples, tmp_path / "run", data=moved, steps=3).step == 3
    frames = np.load(tmp_path / "moved" / "frames.npy")
    np.save(tmp_path / "moved" / "frames.npy", frames[::-1].copy())
    with pytest.raises(ValueError, match="the training samples differ"):
        go_on(samples, tmp_path / "run", data=CropDataset(tmp_path / "moved"), steps=4)
    with pytest.raises(ValueError, match="the held-out samples differ"):
        go_on(samples, tmp_path / "run", validation=samples, steps=4)


def test_a_stage_does_not_go_on_with_another_and_teachers_count(samples, tmp_path):
    batches, options = BatchSampler(samples, 2, 32), DistillOptions(steps=2, warmup=1, save_every=1)
    train(Mean(), batches, None, replace(OPTIONS, steps=1), tmp_path / "trained")
    teacher = network_teacher(Mean(1))
    with pytest.raises(ValueError, match="made by tweenlet train, not by tweenlet distill"):
        distill(Mean(), [teacher], batches, None, options, tmp_path / "trained")
    distill(Mean(), [teacher], batches, None, options, tmp_path / "taught", identity={"teachers": ["a"]})
    longer = replace(options, steps=3)
    for identity, alpha, difference in (
        ({"teachers": ["b"]}, 0.1, "the teachers differ"),
        ({"teachers": ["a"]}, 0.5, "alpha was 0.1, now 0.5"),
    ):
        with pytest.raises(ValueError, match=difference):
            distill(
                Mean(), [teacher], batches, None, longer, tmp_path / "taught", alpha=alpha, identity=identity
            )


def test_ctrl_c_in_the_last_step_is_heard(samples, tmp_path):
    def interrupt(info):
        if info.step == info.steps:
            signal.raise_signal(signal.SIGINT)

    batches = BatchSampler(samples, 2, 32)
    result = train(Mean(), batches, None, OPTIONS, tmp_path, interrupt)
    assert (result.stopped, result.step) == ("interrupted", 2)
    assert train(Mean(), batches, None, OPTIONS, tmp_path).stopped == "finished"


def test_the_best_and_the_last_weights_are_kept_and_training_stops_early(samples, tmp_path):
    options = TrainOptions(
        steps=40, learning_rate=0.5, warmup=1, plateau=1.0, ema_decay=0.0, log_every=1, validate_every=1,
        save_every=2, keep=2, patience=3, metrics=("ssim",), max_grad_norm=float("inf"),
    )  # fmt: skip
    result = train(Mean(), BatchSampler(samples, 2, 32), samples, options, tmp_path)
    assert result.stopped == "patience"
    assert 4 <= result.step < 40
    names = sorted(path.name for path in tmp_path.glob("*.safetensors"))
    assert names[:2] == ["best.safetensors", "model.safetensors"]
    assert len(names) == 4
    log = (tmp_path / "log.jsonl").read_text()
    assert '"ssim"' in log
    assert '"epoch"' in log


def test_parts_of_a_batch_give_the_gradient_of_the_whole(samples, tmp_path):
    batches = BatchSampler(samples, 4, 32)
    results = [
        train(Mean(), batches, None, replace(OPTIONS, steps=3, accumulate=parts), tmp_path / str(parts)).model
        for parts in (1, 2)
    ]
    for one, other in zip(*(model.parameters() for model in results), strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-4)
    with pytest.raises(ValueError, match="divided into 3 equal parts, got 4"):
        train(Mean(), batches, None, replace(OPTIONS, accumulate=3), tmp_path / "uneven")
