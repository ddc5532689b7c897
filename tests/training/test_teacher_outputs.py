from __future__ import annotations

import errno
import os
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from tests.training.test_store import clip, pan
from tweenlet.training.data import teacher_outputs
from tweenlet.training.data.build import build_dataset
from tweenlet.training.data.clips import list_frames
from tweenlet.training.data.dataset import load_array
from tweenlet.training.data.teacher_outputs import predict_all, read_teacher_frames, store_frames
from tweenlet.training.options import Recipe

RECIPE = Recipe(
    samples=14, validation=4, crop=32, short_side=48, synthetic=0, strides=(1,)
)  # fmt: skip


@pytest.fixture
def footage(tmp_path):
    """Frames (H, W, 3) BGR of two clips."""
    pictures = {name: pan(ord(name), 16) for name in ("a", "b")}
    for name, frames in pictures.items():
        clip(tmp_path / "data" / name, frames)
    return pictures


@pytest.fixture
def stored(footage, tmp_path):
    return build_dataset([tmp_path / "data"], tmp_path / "store", RECIPE)[0]


def teach(folder: Path, samples, change=lambda picture: picture, name="{:05}.png") -> Path:
    """What a program would write that knew the truth: the frames themselves, changed."""
    for place in samples.locations:
        (folder / Path(place.clip).stem).mkdir(parents=True, exist_ok=True)
        n = place.first + 3
        frame = cv2.imread(str(Path(place.clip) / f"f{n}.png"))
        assert cv2.imwrite(str(folder / Path(place.clip).stem / name.format(n)), change(frame))
    return folder


@pytest.mark.parametrize("name", ["{:05}.png", "{}.bmp"])
def test_frames_are_cut_as_the_samples_were(stored, tmp_path, name):
    folder = teach(tmp_path / "teacher", stored, name=name)
    assert len({(place.width, place.top, place.left) for place in stored.locations}) > 3
    pictures = list(read_teacher_frames(folder, stored))
    assert len(pictures) == len(stored)
    for picture, sample in zip(pictures, stored.frames, strict=True):
        assert picture.dtype == np.uint8
        assert np.array_equal(picture, sample[2])
    inverted = teach(tmp_path / "inverted", stored, lambda frame: 255 - frame)
    apart = np.stack(list(read_teacher_frames(inverted, stored))).astype(int) + stored.frames[:, 2]
    assert np.abs(apart - 255).max() <= 1


def test_a_frame_is_read_once_for_its_crops(stored, tmp_path, monkeypatch):
    folder = teach(tmp_path / "teacher", stored)
    read = []
    whole = teacher_outputs.read_image
    monkeypatch.setattr(teacher_outputs, "read_image", lambda path: read.append(path) or whole(path))
    assert len(list(read_teacher_frames(folder, stored))) == 14
    windows = {(place.clip, place.first) for place in stored.locations}
    assert len(read) == len(windows) < 14


def test_missing_frames_are_named_at_once(stored, tmp_path):
    folder = teach(tmp_path / "teacher", stored)
    expected = {(Path(place.clip).stem, place.first + 3) for place in stored.locations}
    paths = sorted(folder.rglob("*.png"))
    for path in paths[1:]:
        path.unlink()
    with pytest.raises(
        FileNotFoundError, match=f"{len(expected) - 1} of {len(expected)} frames are missing"
    ) as e:
        read_teacher_frames(folder, stored)
    assert f"{Path(paths[0]).parent.name}/{int(paths[0].stem)}," not in str(e.value)
    assert f"and {len(expected) - 4} more" in str(e.value)
    with pytest.raises(FileNotFoundError, match=f"{len(expected)} of {len(expected)} frames"):
        read_teacher_frames(tmp_path / "nowhere", stored)


def test_frames_of_another_size(stored, tmp_path):
    folder = teach(tmp_path / "teacher", stored, lambda frame: frame[:, 1:])
    with pytest.raises(ValueError, match=r"\d\.png: expected 96x72 pixels as in .*, got 95x72"):
        next(read_teacher_frames(folder, stored))


@pytest.mark.parametrize("why", ["strides", "synthetic", "old"])
def test_samples_that_no_frames_can_be_made_for(footage, tmp_path, why):
    recipe = {
        "strides": Recipe(samples=14, crop=32, short_side=48, synthetic=0, strides=(2,)),
        "synthetic": Recipe(samples=14, crop=32, synthetic=0.2, strides=(1,)),
        "old": RECIPE,
    }[why]
    samples, _ = build_dataset([tmp_path / "data"], tmp_path / "store", recipe)
    if why == "old":
        samples.locations = []
    got = {"strides": 0, "synthetic": 11, "old": 0}[why]
    expected = rf"expected 14 samples .* got {got}: build them with --recipe.strides 1"
    with pytest.raises(ValueError, match=expected):
        read_teacher_frames(tmp_path, samples)


def test_clips_of_one_name(footage, tmp_path):
    for name, frames in footage.items():
        clip(tmp_path / "twins" / name / "same", frames)
    clip(tmp_path / "validation" / "c", pan(5, 10))
    samples, _ = build_dataset([tmp_path / "twins"], tmp_path / "store", RECIPE, [tmp_path / "validation"])
    outputs = tmp_path / "made"
    for place in samples.locations:
        folder = outputs / Path(place.clip).parent.name / "same"
        folder.mkdir(parents=True, exist_ok=True)
        picture = cv2.imread(str(list_frames(Path(place.clip))[place.first + 3]))
        cv2.imwrite(str(folder / f"{place.first + 3}.png"), 255 - picture)
    for stored, frames in zip(read_teacher_frames(outputs, samples), samples.frames, strict=True):
        assert np.abs(255 - stored.astype(int) - frames[2]).max() <= 1
    with pytest.raises(FileNotFoundError, match=r"frames are missing in .*: \w+/same/\d"):
        read_teacher_frames(tmp_path, samples)


def test_pictures_are_kept_on_disk(tmp_path):
    pictures = np.random.default_rng(0).integers(0, 256, (5, 3, 4, 6), np.uint8)
    heard = []
    stored = store_frames(
        tmp_path / "teacher.npy", pictures, 5, (3, 4, 6), lambda *reports: heard.append(reports)
    )
    assert isinstance(stored, np.memmap)
    assert stored.dtype == np.uint8
    assert np.array_equal(stored, pictures)
    assert heard[-1][1:] == (5, 5)
    assert [path.name for path in tmp_path.iterdir()] == ["teacher.npy"]


@pytest.mark.parametrize(
    ("pictures", "expected"),
    [
        (np.zeros((4, 3, 4, 6), np.uint8), "expected 5 frames, got 4"),
        (np.zeros((6, 3, 4, 6), np.uint8), "expected 5 frames, got more"),
        (np.zeros((5, 1, 4, 6), np.uint8), r"of \(3, 4, 6\), got uint8 of \(1, 4, 6\)"),
        (np.zeros((5, 3, 4, 6)), r"got float64 of \(3, 4, 6\)"),
    ],
)
def test_pictures_are_kept_whole_or_not_at_all(tmp_path, pictures, expected):
    path = tmp_path / "teacher.npy"
    with pytest.raises(ValueError, match=expected):
        store_frames(path, pictures, 5, (3, 4, 6))
    assert not list(tmp_path.iterdir())

    def torn():
        yield np.zeros((3, 4, 6), np.uint8)
        raise KeyboardInterrupt

    path.write_bytes(b"as it was")
    with pytest.raises(KeyboardInterrupt):
        store_frames(path, torn(), 5, (3, 4, 6))
    assert path.read_bytes() == b"as it was"
    assert list(tmp_path.iterdir()) == [path]


def test_a_teacher_sees_every_sample_and_is_rounded(samples):
    sizes = []
    weight = torch.ones(1, requires_grad=True)

    def teacher(batch):
        sizes.append(len(batch.truth))
        pictures = batch.truth * weight + 0.4 / 255
        assert not pictures.requires_grad
        return pictures

    pictures = np.stack(list(predict_all(teacher, samples, batch_size=5)))
    assert sizes == [5, 5, 2]
    assert pictures.dtype == np.uint8
    assert np.array_equal(pictures, samples.frames[:, 2])
    over = np.stack(list(predict_all(lambda batch: batch.truth * 3 - 1, samples)))
    expected = np.clip(samples.frames[:, 2].astype(int) * 3 - 255, 0, 255)
    assert np.array_equal(over, expected)


def test_a_teacher_may_pause_between_pictures_without_stopping_gradients(samples):
    pictures = predict_all(lambda batch: batch.truth, samples)
    next(pictures)
    assert torch.is_grad_enabled()


def test_what_a_teacher_must_return(samples):
    with pytest.raises(ValueError, match=r"of \(8, 3, 64, 64\) from the teacher, got \(8, 3, 32, 32\)"):
        next(predict_all(lambda batch: batch.truth[..., ::2, ::2], samples))
    with pytest.raises(ValueError, match="not finite, in the batch of scene 0"):
        next(predict_all(lambda batch: batch.truth / 0, samples))


def test_a_full_disk_is_one_error_before_the_frames_and_no_end_by_a_signal(tmp_path, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no room")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match=r"cannot allocate 1 kB for .*: No space left on device"):
        store_frames(tmp_path / "teacher.npy", iter([]), 12, (3, 4, 6))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "content", [b"", b"PK\x03\x04 no archive", b"(", b"{'descr': [}", b"{'shape': (\n", b"\xff\xfe"]
)
def test_an_array_with_a_damaged_header_is_named(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "frames.npy"
    np.save(path, np.zeros((2, 3), np.uint8))
    whole = path.read_bytes()
    start = 0 if content.startswith(b"PK") else 10
    path.write_bytes(whole[:start] + content + whole[start + max(len(content), 1) :])
    with pytest.raises(ValueError, match=re.escape(f"{path} is damaged")):
        load_array(path)
