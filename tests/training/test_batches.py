from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from tweenlet.training.data.batches import Augmentation, BatchSampler, prefetch, sequential
from tweenlet.training.data.synthetic import _moved, moving_scene


@pytest.fixture(scope="module")
def sample(stills):
    """Five frames (5, 3, h, w)."""
    return moving_scene(stills, 96, np.random.default_rng(2)).transpose(0, 3, 1, 2)


def test_synthetic_motion_passes_through_the_truth(stills):
    picture = stills[0].astype(np.float32)
    velocity = np.full((160, 160, 2), (4, -2), np.float32)
    before, nearer, truth, _, after = _moved(picture, velocity, bend=0.0)
    assert np.array_equal(truth, picture)
    np.testing.assert_allclose(before[8:-8, 8:-8], picture[11:-5, 2:-14], atol=1e-3)  # 1.5 steps back
    np.testing.assert_allclose(nearer[8:-8, 8:-8], picture[9:-7, 6:-10], atol=1e-3)
    np.testing.assert_allclose(after[8:-8, 8:-8], picture[5:-11, 14:-2], atol=1e-3)


def test_truth_stays_in_the_middle(sample):
    turned = Augmentation(reversed=True, channels=(1, 2, 0)).apply_to_window(sample)
    assert np.array_equal(turned[2], sample[2][[1, 2, 0]])
    assert np.array_equal(turned[0], sample[4][[1, 2, 0]])


def test_a_sample_is_turned_in_space(sample):
    frames = Augmentation(left_right=True, transposed=True).apply_to_window(sample)
    assert np.array_equal(frames[1, 2], sample[1, 2].T[:, ::-1])
    assert np.array_equal(Augmentation(up_down=True).apply_to_images(sample[:2]), sample[:2, :, ::-1])


def test_a_batch_is_fixed_by_seed_and_step(samples):
    batches = BatchSampler(samples, batch_size=4, crop=48, seed=3)
    one, again, other = (
        batches.batch_at(7),
        BatchSampler(samples, 4, 48, 3).batch_at(7),
        BatchSampler(samples, 4, 48, 4).batch_at(7),
    )
    assert torch.equal(one.frames, again.frames)
    assert torch.equal(one.truth, again.truth)
    assert one.sources == again.sources
    assert not torch.equal(one.frames, other.frames)
    assert one.frames.shape == (4, 4, 3, 48, 48)
    assert one.truth.shape == (4, 3, 48, 48)
    assert one.frames.dtype == torch.float32
    assert one.frames.min() >= 0
    assert one.frames.max() <= 1


def test_a_sample_is_cut_and_turned_anew_in_every_step(samples):
    samples.frames, samples.sources = (
        samples.frames[:1],
        samples.sources[:1],
    )
    steps = [BatchSampler(samples, batch_size=1, crop=48).batch_at(step).frames for step in range(4)]
    assert not any(torch.equal(a, b) for a, b in itertools.combinations(steps, 2))


def test_an_epoch_sees_every_sample_once(samples):
    seen = [source for step in range(3) for source in BatchSampler(samples, 4, 32).batch_at(step).sources]
    assert sorted(seen) == sorted(samples.sources)


def test_ahead_is_in_order(samples):
    batches = BatchSampler(samples, 2, 32)
    for step, batch in zip(range(5, 9), prefetch(batches, 5, 9, workers=3), strict=True):
        assert torch.equal(batch.to("cpu").frames, batches.batch_at(step).frames)


def test_in_turn_is_everything_as_it_is(samples):
    parts = list(sequential(samples, 5))
    assert [len(part.truth) for part in parts] == [5, 5, 2]
    truth = torch.cat([part.truth for part in parts])
    assert torch.equal((truth * 255).round().byte(), torch.from_numpy(np.array(samples.frames[:, 2])))


def test_crop_larger_than_the_samples(samples):
    with pytest.raises(ValueError, match="crop of 1 to 64"):
        BatchSampler(samples, 4, 65)
