from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from tweenlet.compression.distill import Distillation
from tweenlet.compression.teachers import intermediate_losses, load_teachers
from tweenlet.network import checkpoint as weights
from tweenlet.network.config import TINY
from tweenlet.network.stmfnet import STMFNet
from tweenlet.training.data.batches import sequential
from tweenlet.training.data.build import make_sampler, open_datasets
from tweenlet.training.options import DataOptions, Recipe, TrainOptions

RECIPE = Recipe(samples=6, validation=2, crop=32, synthetic=0, strides=(1,))


@pytest.fixture
def footage(stills, tmp_path) -> Path:
    """Two folders of eight frames of 64x48."""
    for name, still in zip("ab", stills, strict=False):
        (tmp_path / "data" / name).mkdir(parents=True)
        for k in range(8):
            cv2.imwrite(str(tmp_path / "data" / name / f"{k}.png"), still[:48, 3 * k : 3 * k + 64])
    return tmp_path / "data"


def test_footage_becomes_batches(footage, tmp_path):
    heard: list[str] = []
    data_options = DataOptions(batch=2, crop=32, recipe=RECIPE)
    samples, held_out = open_datasets(data_options, [footage], tmp_path / "out", heard.append)
    assert heard[0].startswith("2 clips, 16 frames, 4 windows; 1 clips held out")
    assert (len(samples), len(held_out or ())) == (6, 2)
    assert make_sampler(data_options, samples).batch_at(3).frames.shape == (2, 4, 3, 32, 32)
    elsewhere = DataOptions(batch=2, crop=32, recipe=RECIPE, store=tmp_path / "out" / "store")
    again, _ = open_datasets(elsewhere, [footage], tmp_path / "other")
    assert again.folder == samples.folder
    assert not (tmp_path / "other").exists()


@pytest.mark.slow
def test_teachers_come_from_files_and_what_they_say_is_kept(samples, tmp_path):
    torch.manual_seed(0)
    teacher = STMFNet(TINY).eval()
    weights.save(tmp_path / "teacher.safetensors", teacher)
    teachers = load_teachers([tmp_path / "teacher.safetensors"], [], samples)
    batch = next(sequential(samples, 2))
    live = teachers.teachers[0](batch)
    torch.testing.assert_close(live, teacher(batch.frames).detach())
    assert intermediate_losses(STMFNet(TINY), teachers, ["features"])

    before = load_teachers([tmp_path / "teacher.safetensors"], [], samples, precompute=True)
    assert (len(before.teachers), len(before.teacher_frames), before.networks) == (1, 1, ())
    data_options = DataOptions(batch=2, crop=64)
    batch = make_sampler(data_options, samples, before.teacher_frames).batch_at(0)
    loss, _ = Distillation(TrainOptions(), before.teachers, alpha=0.0)(batch.truth, batch)
    assert loss > 0
    file = next(samples.folder.glob("taught-*.npy"))
    time = file.stat().st_mtime_ns
    np.testing.assert_allclose(before.teacher_frames[0][:2] / 255, live.clamp(0, 1), atol=0.51 / 255)
    shutil.copy(tmp_path / "teacher.safetensors", tmp_path / "same.safetensors")
    load_teachers([tmp_path / "same.safetensors"], [], samples, precompute=True)
    assert [f.stat().st_mtime_ns for f in samples.folder.glob("taught-*.npy")] == [time]
    with pytest.raises(ValueError, match="attention and flows need a checkpoint"):
        intermediate_losses(STMFNet(TINY), before, ["features"])


def test_frames_of_any_program_teach(footage, tmp_path):
    data_options = DataOptions(batch=2, crop=32, recipe=RECIPE)
    samples, _ = open_datasets(data_options, [footage], tmp_path / "out")
    folder = tmp_path / "made"
    for clip in footage.iterdir():
        (folder / clip.name).mkdir(parents=True)
        for frame in clip.iterdir():
            picture = cv2.imread(str(frame))
            cv2.imwrite(str(folder / clip.name / f"{int(frame.stem):04d}.png"), 255 - picture)
    teachers = load_teachers([], [folder], samples)
    for step in range(3):
        batch = make_sampler(data_options, samples, teachers.teacher_frames).batch_at(step)
        torch.testing.assert_close(teachers.teachers[0](batch), 1 - batch.truth, atol=0.003, rtol=0)
    cv2.imwrite(str(next((folder / "a").iterdir())), np.zeros((48, 64, 3), np.uint8))
    load_teachers([], [folder], samples)
    assert len(list(samples.folder.glob("taught-*.npy"))) == 2  # read anew, for the folder has changed
    with pytest.raises(FileNotFoundError, match="no such folder of a teacher's frames"):
        load_teachers([], [tmp_path / "nowhere"], samples)


def test_a_config_in_a_file(tmp_path):
    (tmp_path / "tiny.json").write_text(json.dumps(TINY.to_json()))
    assert weights.network_of(str(tmp_path / "tiny.json")).config == TINY
