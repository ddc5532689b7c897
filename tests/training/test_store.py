from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from tweenlet.training.data.build import build_dataset
from tweenlet.training.data.clips import find_clips, read_frames
from tweenlet.training.data.plan import apportion
from tweenlet.training.data.scan import scan_clip, scan_footage
from tweenlet.training.options import Recipe

STORED = ("frames.npy", "sources.json", "places.json")
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


def shift(before, after, most=12):
    """How many pixels to the right frames (3, h, w) move."""
    before, after = before.astype(np.float32), after.astype(np.float32)
    width = before.shape[-1]
    errors = {
        d: np.abs(
            before[..., max(-d, 0) : width - max(d, 0)] - after[..., max(d, 0) : width - max(-d, 0)]
        ).mean()
        for d in range(-most, most + 1)
    }
    return min(errors, key=errors.get)


def test_windows_avoid_cuts_and_repeats(tmp_path):
    frames = pan(1, 16)
    frames[10:] = pan(2, 6)
    scanned = scan_clip(clip(tmp_path / "cut", frames))
    assert (scanned.cuts, scanned.repeats, scanned.frames) == (1, 0, 16)
    assert [w.first for w in scanned.windows if w.stride == 1] == [0, 1, 2, 3]
    assert scanned.rejected == 6
    assert not [w for w in scanned.windows if w.stride == 2]
    frames = pan(1, 20)
    frames[5] = frames[4]
    scanned = scan_clip(clip(tmp_path / "repeat", frames))
    assert (scanned.cuts, scanned.repeats) == (0, 1)
    assert [w.first for w in scanned.windows if w.stride == 1] == list(range(5, 14))
    assert [w.first for w in scanned.windows if w.stride == 2] == [5, 6, 7]
    assert scanned.windows[0].frames == (5, 7, 8, 9, 11)


def test_a_store_is_made_once(tmp_path):
    for name in ("a", "b", "c"):
        clip(tmp_path / "data" / name, pan(ord(name), 18))
    (tmp_path / "data" / "broken.mp4").write_bytes(b"not a video")
    clip(tmp_path / "data" / "tiny", [f[:40] for f in pan(4, 9)])
    heard: list[str] = []
    store = tmp_path / "store"
    train, validation = build_dataset([tmp_path / "data"], store, RECIPE, notify=heard.append)
    assert "broken.mp4" in heard[0]
    assert "2 clips unusable" in heard[0]
    assert "smaller than a crop of 48" in heard[0]
    assert train.frames.shape == (10, 5, 3, 48, 48)
    assert validation is not None
    assert len(validation) == 4
    assert train.sources[8:] == ["synthetic"] * 2
    # a pan of 2 pixels a frame, 4 an input step
    strides = [int(source[-1]) for source in train.sources[:8]]
    assert [shift(frames[1], frames[3]) for frames in train.frames[:8]] == [-4 * n for n in strides]
    held = {source.split("#")[0] for source in validation.sources}
    assert not held & {source.split("#")[0] for source in train.sources}

    time = (store / "train" / "frames.npy").stat().st_mtime_ns
    build_dataset([tmp_path / "data"], store, RECIPE)
    assert (store / "train" / "frames.npy").stat().st_mtime_ns == time
    assert time == (store / "train" / "frames.npy").stat().st_mtime_ns


def test_flows_that_were_once_stored_with_samples_are_ignored(tmp_path):
    clip(tmp_path / "data", pan(1, 10))
    recipe = Recipe(samples=2, validation=1, crop=32, synthetic=0, strides=(1,))
    dataset, _ = build_dataset([tmp_path / "data"], tmp_path / "store", recipe)
    label = json.loads((tmp_path / "store" / "recipe.json").read_text())
    label["recipe"]["flows"] = True
    (tmp_path / "store" / "recipe.json").write_text(json.dumps(label))
    np.save(tmp_path / "store" / "train" / "flows.npy", np.zeros((2, 4, 2, 32, 32), np.float16))
    again, _ = build_dataset([tmp_path / "data"], tmp_path / "store", recipe)
    assert np.array_equal(again.frames, dataset.frames)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("name", ["store", ".", "store.making"])
def test_what_is_no_store_is_left_as_it_is(tmp_path, name):
    clip(tmp_path / "data" / "a", pan(1, 10))
    folder = tmp_path / "mine" / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "thesis.txt").write_text("precious")
    store = tmp_path / "mine" / ("store" if name == "store.making" else name)
    if name == "store.making":
        build_dataset([tmp_path / "data"], store, replace(RECIPE, synthetic=0.0))
    else:
        with pytest.raises(ValueError, match="holds no samples: name another folder"):
            build_dataset([tmp_path / "data"], store, RECIPE)
    assert (folder / "thesis.txt").read_text() == "precious"


def test_a_store_is_never_replaced_and_what_differs_is_named(tmp_path):
    for name in "abc":
        clip(tmp_path / "data" / name, pan(ord(name), 10))
    recipe = Recipe(samples=4, validation=1, crop=32, synthetic=0)
    data, store = tmp_path / "data", tmp_path / "store"
    build_dataset([data], store, recipe)
    (store / "train" / "taught-1.npy").write_text("81 GB")
    before = contents(store)
    for other, message in (
        (replace(recipe, samples=5), "--recipe.samples was 4, now 5"),
        (
            replace(recipe, crop=48, strides=(1,)),
            r"--recipe.crop was 32, now 48; --recipe.strides was \[1, 2\]",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            build_dataset([data], store, other)
    with pytest.raises(ValueError, match="--validate was None, now"):
        build_dataset([data], store, recipe, [data / "c"])
    (data / "a").rename(data / "z")
    with pytest.raises(ValueError, match=r"the clips differ: 1 gone \(.*/a\), 1 new \(.*/z\)"):
        build_dataset([data], store, recipe)
    assert contents(store) == before


def test_two_runs_cannot_make_one_store(tmp_path):
    clip(tmp_path / "data" / "a", pan(1, 10))
    recipe = Recipe(samples=2, crop=32, synthetic=0)
    messages = []

    def second(what, *_):
        if not messages:
            with pytest.raises(BlockingIOError, match="another run is writing") as error:
                build_dataset([tmp_path / "data"], tmp_path / "store", recipe)
            messages.append(error)

    samples, _ = build_dataset([tmp_path / "data"], tmp_path / "store", recipe, progress=second)
    assert len(samples) == 2
    assert messages
    assert sorted(p.name for p in tmp_path.iterdir()) == ["data", "store"]


def test_a_disk_without_room_is_found_out_first(tmp_path):
    clip(tmp_path / "data" / "a", pan(1, 10))
    heard = []
    with pytest.raises(OSError, match="not enough room in"):
        build_dataset(
            [tmp_path / "data"], tmp_path / "store", Recipe(samples=2**40, crop=32, synthetic=0),
            progress=lambda what, *_: heard.append(what),
        )  # fmt: skip
    assert set(heard) == {"scanning footage"}
    assert [p.name for p in tmp_path.iterdir()] == ["data"]


@pytest.mark.parametrize("name", ["recipe.json", *(f"train/{n}" for n in STORED)])
@pytest.mark.parametrize(
    "content", [b"", b"[", b"[" * 100_000, b"{}", b"[1]", b"\xff\xfe", b'{"recipe": 3}', None]
)
def test_a_damaged_store_is_named(tmp_path, name, content):
    clip(tmp_path / "data" / "a", pan(1, 10))
    recipe = Recipe(samples=2, crop=32, synthetic=0)
    build_dataset([tmp_path / "data"], tmp_path / "store", recipe)
    file = tmp_path / "store" / name
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2] if content is None else content)
    with pytest.raises(ValueError, match=file.name):
        build_dataset([tmp_path / "data"], tmp_path / "store", recipe)


def edited(value):
    """The JSON value with each value in it, itself included, replaced by ones of other kinds in turn."""
    yield from (True, None, -1, "x", [], {})
    for key, inner in value.items() if isinstance(value, dict) else ():
        yield from ({**value, key: other} for other in edited(inner))
    for number, inner in enumerate(value) if isinstance(value, list) else ():
        yield from ([*value[:number], other, *value[number + 1 :]] for other in edited(inner))


def test_an_edited_label_is_taken_or_refused_in_words(tmp_path):
    clip(tmp_path / "data" / "a", pan(1, 10))
    recipe = Recipe(samples=2, crop=32, synthetic=0)
    build_dataset([tmp_path / "data"], tmp_path / "store", recipe)
    file = tmp_path / "store" / "recipe.json"
    refused = 0
    for label in edited(json.loads(file.read_text())):
        file.write_text(json.dumps(label))
        try:
            build_dataset([tmp_path / "data"], tmp_path / "store", recipe)
        except ValueError:
            refused += 1
    assert refused > 50


def test_a_store_is_made_whole_or_not_at_all(tmp_path):
    clip(tmp_path / "data" / "a", pan(1, 10))
    clip(tmp_path / "data" / "b", pan(2, 10))

    def stop(what, done, total):
        if what.startswith("extracting"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_dataset([tmp_path / "data"], tmp_path / "store", RECIPE, progress=stop)
    assert [p.name for p in tmp_path.iterdir()] == ["data"]


def test_bad_footage_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such"):
        find_clips([tmp_path / "nowhere"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"no video, no folder of images .* in .*empty"):
        find_clips([tmp_path / "empty"])
    (tmp_path / "x.mp4").write_bytes(b"")
    with pytest.raises(ValueError, match=r"none of 1 clips can be trained on .*x\.mp4"):
        scan_footage(find_clips([tmp_path]), crop=32)


def test_shares_add_up():
    assert apportion([1, 1, 2], 8) == [2, 2, 4]
    assert sum(apportion([0.3, 5, 1, 1.7], 101)) == 101


def test_few_shares_are_spread_over_many_clips():
    few = np.array(apportion([1.0] * 900 + [3.0] * 100, 100))
    assert few.sum() == 100
    assert few.max() == 1
    parts = [part.sum() for part in np.split(few, 10)]
    assert set(parts[:9]) == {8, 9}
    assert parts[9] == 25


def test_samples_know_their_places(tmp_path):
    frames = {name: pan(ord(name), 18) for name in "ab"}
    for name, pictures in frames.items():
        clip(tmp_path / "data" / name, pictures)
    recipe = Recipe(samples=12, validation=2, crop=32, short_side=48, synthetic=0.25, strides=(1,))
    train, _ = build_dataset([tmp_path / "data"], tmp_path / "store", recipe)
    assert train.locations[9:] == [None] * 3
    assert train.sources[:9] == [f"{p.clip}#{p.first}+1" for p in train.locations[:9]]
    assert {(p.width, p.height) for p in train.locations[:9]} <= {(64, 48), (96, 72), (43, 32)}
    for sample, place in zip(train.frames, train.locations[:9], strict=False):
        truth = frames[Path(place.clip).name][place.first + 3 * place.stride]
        whole = cv2.resize(truth, (place.width, place.height), interpolation=cv2.INTER_AREA)[..., ::-1]
        there = whole[place.top : place.top + 32, place.left : place.left + 32]
        assert np.array_equal(sample[2], there.transpose(2, 0, 1))


@pytest.mark.parametrize("strides", [(1,), (2,), (1, 3)])
def test_a_recipe_chooses_the_strides(tmp_path, strides):
    clip(tmp_path / "a", pan(1, 24))
    found = scan_footage(find_clips([tmp_path]), crop=32, strides=strides)
    assert {window.stride for window in found.training[0].windows} == set(strides)
    recipe = Recipe(samples=20, crop=32, synthetic=0, strides=strides)
    train, held_out = build_dataset([tmp_path], tmp_path / "store", recipe)
    assert held_out is None
    assert {place.stride for place in train.locations} <= set(strides)
    made = (tmp_path / "store" / "recipe.json").stat().st_mtime_ns
    build_dataset([tmp_path / "a"], tmp_path / "store", recipe)
    assert (tmp_path / "store" / "recipe.json").stat().st_mtime_ns == made


def test_strides_that_are_none():
    for strides in ((), (0, 1)):
        with pytest.raises(ValueError, match="strides of 1 or more, got"):
            Recipe(strides=strides)


def test_a_store_of_before_places_and_strides_is_not_made_again(tmp_path):
    clip(tmp_path / "data" / "a", pan(1, 16))
    recipe = Recipe(samples=3, crop=32, synthetic=0)
    new, _ = build_dataset([tmp_path / "data"], tmp_path / "store", recipe)
    label = tmp_path / "store" / "recipe.json"
    made = json.loads(label.read_text())
    del made["recipe"]["strides"]
    label.write_text(json.dumps(made))
    (tmp_path / "store" / "train" / "places.json").unlink()
    old, _ = build_dataset([tmp_path / "data"], tmp_path / "store", recipe)
    assert (old.locations, old.sources) == ([], new.sources)
    with pytest.raises(ValueError, match=r"--recipe.strides was \[1, 2\], now \[1\]"):
        build_dataset([tmp_path / "data"], tmp_path / "store", replace(recipe, strides=(1,)))


def test_frames_too_small_for_stills(tmp_path):
    clip(tmp_path / "data" / "a", pan(1, 10))
    heard = []
    expected = r"at least 96x96 for a crop of 64; the largest are 96x72: set its share to 0"
    with pytest.raises(ValueError, match=expected):
        build_dataset(
            [tmp_path / "data"], tmp_path / "store", Recipe(samples=8, crop=64),
            progress=lambda what, *_: heard.append(what),
        )  # fmt: skip
    assert set(heard) == {"scanning footage"}


def video(path: Path, pictures) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt, stream.bit_rate = "yuv420p", 8_000_000
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture[..., ::-1]))))
        container.mux(stream.encode(None))
    return path


def test_videos_are_read_in_full(tmp_path):
    path = video(tmp_path / "pan.mkv", pan(3, 15))
    seen = list(read_frames(path))
    assert len(seen) == 15
    for there, here in zip(pan(3, 15), seen, strict=True):
        assert np.abs(there[..., ::-1].astype(int) - here).mean() < 20  # a lossy codec, colours in place
    found = scan_clip(path)
    assert (found.frames, found.width, found.height) == (15, 96, 72)
    assert len([w for w in found.windows if w.stride == 1]) == 9


def test_a_video_cut_short_is_unusable(tmp_path):
    whole = video(tmp_path / "whole.mp4", pan(3, 15)).read_bytes()
    (tmp_path / "half.mp4").write_bytes(whole[: len(whole) // 2])
    found = scan_footage(find_clips([tmp_path]), crop=48)
    assert [Path(file).name for file, _ in found.unusable] == ["half.mp4"]
