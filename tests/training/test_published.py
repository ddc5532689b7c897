"""Published data sets are trained on to the letter: every sample once an epoch, another crop each time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.test_runs import published
from tweenlet.training.data.batches import BatchSampler
from tweenlet.training.data.build import open_datasets
from tweenlet.training.data.clips import find_clips
from tweenlet.training.data.published import PublishedDataset
from tweenlet.training.options import DataOptions, DistillOptions, TrainOptions, follow_paper


@pytest.fixture
def clips(tmp_path: Path) -> list[Path]:
    published(tmp_path)
    return find_clips([tmp_path / "vimeo", tmp_path / "bvi"])


def test_every_sample_comes_once_an_epoch_with_another_crop(clips):
    dataset = PublishedDataset(clips, 32)
    sampler = BatchSampler(dataset, 4, 32, augment="flips")
    epochs = [[sampler.batch_at(2 * epoch + step) for step in (0, 1)] for epoch in range(3)]
    assert len(dataset) == 8
    for epoch in epochs:
        assert sorted(source for batch in epoch for source in batch.sources) == sorted(dataset.sources)
    crops = {}
    for batch in (batch for epoch in epochs for batch in epoch):
        for source, truth in zip(batch.sources, batch.truth, strict=True):
            crops.setdefault(source, set()).add(truth.numpy().tobytes())
    assert sum(len(found) for found in crops.values()) > 20  # of 24


def test_the_truth_lies_in_the_middle_of_both_layouts(clips):
    dataset = PublishedDataset(clips, 32)
    vimeo = next(clip for clip in clips if clip.parent.parent.name == "sequences")
    window = dataset.window(clips.index(vimeo))
    assert window.shape == (5, 3, 48, 64)
    for frame, number in zip(window, (1, 3, 4, 5, 7), strict=True):
        assert np.array_equal(frame.transpose(1, 2, 0), np.asarray(Image.open(vimeo / f"im{number}.png")))
    bvi = dataset.window(clips.index(next(clip for clip in clips if clip.parent.name == "bvi")))
    assert bvi.shape == (5, 3, 48, 48)
    assert (
        dataset.fingerprint
        == PublishedDataset(clips, 32).fingerprint
        != PublishedDataset(clips[1:], 32).fingerprint
    )


def test_what_is_not_published_is_refused(clips, tmp_path):
    (clips[-1] / "im4.png").unlink()
    with pytest.raises(ValueError, match="septuplets of Vimeo-90K and quintuplets of BVI-DVC"):
        PublishedDataset(clips, 32)
    with pytest.raises(OSError, match="smaller than a crop of 256"):
        PublishedDataset(clips[:-1], 256)
    options = DataOptions(source="published", crop=32)
    with pytest.raises(ValueError, match="--validate"):
        open_datasets(options, [tmp_path / "vimeo"], tmp_path / "out")


def test_the_recipe_is_the_papers_and_what_is_asked_for_stays():
    options = follow_paper(TrainOptions(learning_rate=5e-4))
    assert (options.optimiser, options.learning_rate, options.weight_decay) == ("adamax", 5e-4, 0.0)
    assert follow_paper(DistillOptions()).max_grad_norm == float("inf")
    data = follow_paper(DataOptions(crop=64))
    assert (data.source, data.crop, data.augment) == ("published", 64, "flips")
    rates = [options.rate_at(step, epoch_steps=10) for step in (0, 199, 200, 399, 400)]
    assert rates == [5e-4, 5e-4, 2.5e-4, 2.5e-4, 1.25e-4]
    assert TrainOptions(epochs=3).over(10, 4).steps == 8
