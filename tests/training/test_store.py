from __future__ import annotations

import json
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from tweenlet.training import footage
from tweenlet.training.footage import find_clips, scan
from tweenlet.training.harvest import Recipe, shares
from tweenlet.training.store import prepare, survey

RECIPE = Recipe(samples=10, validation=4, crop=48, synthetic=0.2)


def texture(seed, height=72, width=176):
    noise = np.random.default_rng(seed).uniform(0, 255, (height // 4, width // 4, 3)).astype(np.float32)
    return cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC).clip(0, 255).astype(np.uint8)


def clip(folder: Path, pictures) -> Path:
    folder.mkdir(parents=True)
    for number, picture in enumerate(pictures):
        assert cv2.imwrite(str(folder / f"f{number}.png"), picture)
    return folder


def pan(seed, count, start=0):
    picture = texture(seed)
    return [picture[:, start + 2 * k : start + 2 * k + 96] for k in range(count)]


def test_windows_avoid_cuts_and_repeats(tmp_path):
    frames = pan(1, 16)
    frames[10:] = pan(2, 6)
    found = scan(clip(tmp_path / "cut", frames))
    assert (found.cuts, found.repeats, found.frames) == (1, 0, 16)
    assert [w.first for w in found.windows if w.stride == 1] == [0, 1, 2, 3]
    assert found.left_out == 6
    assert not [w for w in found.windows if w.stride == 2]
    frames = pan(1, 20)
    frames[5] = frames[4]
    found = scan(clip(tmp_path / "repeat", frames))
    assert (found.cuts, found.repeats) == (0, 1)
    assert [w.first for w in found.windows if w.stride == 1] == list(range(5, 14))
    assert [w.first for w in found.windows if w.stride == 2] == [5, 6, 7]
    assert found.windows[0].frames == (5, 7, 8, 9, 11)


def test_a_store_is_made_once(tmp_path):
    for name in ("a", "b", "c"):
        clip(tmp_path / "data" / name, pan(ord(name), 18))
    (tmp_path / "data" / "broken.mp4").write_bytes(b"not a video")
    clip(tmp_path / "data" / "tiny", [f[:40] for f in pan(4, 9)])
    heard: list[str] = []
    store = tmp_path / "store"
    train, validation = prepare([tmp_path / "data"], store, RECIPE, notify=heard.append)
    assert "broken.mp4" in heard[0]
    assert "2 clips unusable" in heard[0]
    assert "smaller than a crop of 48" in heard[0]
    assert train.frames.shape == (10, 5, 3, 48, 48)
    assert train.flows is not None
    assert train.flows.shape == (10, 4, 2, 48, 48)
    assert validation is not None
    assert len(validation) == 4
    assert train.sources[8:] == ["synthetic"] * 2
    # a pan of 2 pixels a frame, 4 an input step: the middle flows say so
    flows = np.array(train.flows[:8], np.float32)
    strides = np.array([int(source[-1]) for source in train.sources[:8]])
    seen = np.median(flows[:, 1, 0], axis=(1, 2))
    np.testing.assert_allclose(seen, -4.0 * strides, atol=0.5)
    held = {source.split("#")[0] for source in validation.sources}
    assert not held & {source.split("#")[0] for source in train.sources}

    made = (store / "train" / "frames.npy").stat().st_mtime_ns
    prepare([tmp_path / "data"], store, RECIPE)
    assert (store / "train" / "frames.npy").stat().st_mtime_ns == made
    other, _ = prepare(
        [tmp_path / "data"], store, Recipe(samples=6, validation=2, crop=48, synthetic=0, flows=False)
    )
    assert len(other) == 6
    assert other.flows is None
    assert json.loads((store / "recipe.json").read_text())["recipe"]["samples"] == 6


def test_a_store_is_made_whole_or_not_at_all(tmp_path):
    clip(tmp_path / "data" / "a", pan(1, 10))
    clip(tmp_path / "data" / "b", pan(2, 10))

    def stop(what, done, total):
        if what.startswith("harvesting"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare([tmp_path / "data"], tmp_path / "store", RECIPE, progress=stop)
    assert [p.name for p in tmp_path.iterdir()] == ["data"]


def test_bad_footage_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such"):
        find_clips([tmp_path / "nowhere"])
    with pytest.raises(ValueError, match="no video and no folder of 7"):
        find_clips([tmp_path])
    (tmp_path / "x.mp4").write_bytes(b"")
    with pytest.raises(ValueError, match=r"none of 1 clips can be trained on .*x\.mp4"):
        survey([tmp_path], crop=32)


def test_shares_add_up():
    assert shares([1, 1, 2], 8) == [2, 2, 4]
    assert sum(shares([0.3, 5, 1, 1.7], 101)) == 101


def video(path: Path, pictures) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt, stream.bit_rate = "yuv420p", 8_000_000
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture[..., ::-1]))))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("decoder", ["av", "opencv"])
def test_videos_are_read_by_either_decoder(tmp_path, monkeypatch, decoder):
    path = video(tmp_path / "pan.mkv", pan(3, 15))
    if decoder == "opencv":
        monkeypatch.setattr(footage, "av", None)
    seen = list(footage.frames_of(path))
    assert len(seen) == 15
    for there, here in zip(pan(3, 15), seen, strict=True):
        assert np.abs(there[..., ::-1].astype(int) - here).mean() < 20  # a lossy codec, colours in place
    found = scan(path)
    assert (found.frames, found.width, found.height) == (15, 96, 72)
    assert len([w for w in found.windows if w.stride == 1]) == 9


def test_a_video_cut_short_is_unusable(tmp_path):
    whole = video(tmp_path / "whole.mp4", pan(3, 15)).read_bytes()
    (tmp_path / "half.mp4").write_bytes(whole[: len(whole) // 2])
    found = survey([tmp_path], crop=48)
    assert [Path(file).name for file, _ in found.unusable] == ["half.mp4"]
