"""Clips: which windows of which clips count, with a file that fixes them and without."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest

from tweenlet import video
from tweenlet.evaluation.benchmarks import benchmark
from tweenlet.evaluation.clips import clips
from tweenlet.evaluation.samples import UnreadableSample

Footage = Callable[[Path, int], Path]


def windows_file(folder: Path, windows: dict[str, list[int]]) -> None:
    (folder / "eval_windows.json").write_text(json.dumps({"windows": windows}))


def test_the_windows_file_beside_or_in_the_folder_fixes_the_samples(tmp_path: Path, footage: Footage) -> None:
    for name in ("a", "b", "c"):
        footage(tmp_path / "eval" / name, 10)
    windows_file(tmp_path, {"eval/b/": [3, 0], "eval/a/": [1]})
    expected = ["b/00000", "b/00003", "a/00001"]
    beside = clips(tmp_path / "eval")
    assert (beside.name, beside.count) == ("clips2", 3)
    assert [sample.name for sample in beside] == expected
    assert [sample.name for sample in clips(tmp_path)] == expected
    footage(tmp_path / "d", 9)
    windows_file(tmp_path, {"eval/b/": [3, 0], "d": [2]})
    assert [sample.name for sample in clips(tmp_path / "d")] == ["d/00002"]


def test_without_it_every_clip_counts_and_every_second_frame(tmp_path: Path, footage: Footage) -> None:
    footage(tmp_path / "one", 10)
    footage(tmp_path / "short", 6)
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes.txt").touch()
    found = clips(tmp_path)
    assert (found.name, found.count) == ("clips2", None)
    samples = [sample for sequence in found.sequences for sample in sequence.samples()]
    assert [sample.name for sample in samples] == ["one/00000", "one/00002", "short/00000"]
    assert isinstance(short := samples[-1], UnreadableSample)
    assert "has 6 frames, but its window at 0 needs 7" in short.reason
    assert [sample.name for sample in clips(tmp_path / "one")] == ["one/00000", "one/00002"]


def test_a_picture_beside_videos_is_not_a_clip(tmp_path: Path, footage: Footage) -> None:
    for name in ("a.mp4", "b.mkv"):
        (tmp_path / name).touch()
    footage(tmp_path / "frames", 7)
    shutil.copy(tmp_path / "frames/00000.png", tmp_path / "poster.png")
    assert [clip.path.name for clip in clips(tmp_path).sequences] == ["a.mp4", "b.mkv", "frames"]
    for number in range(6):
        shutil.copy(tmp_path / "poster.png", tmp_path / f"{number}.png")
    assert [clip.path.name for clip in clips(tmp_path).sequences] == [
        *(tmp_path.name, "a.mp4", "b.mkv", "frames")
    ]


def test_clips_of_one_name_are_told_apart_by_their_folders(tmp_path: Path, footage: Footage) -> None:
    windows_file(tmp_path, {"day/cat": [0], "night/cat": [0]})
    for time in ("day", "night"):
        footage(tmp_path / time / "cat", 7)
    assert [sample.name for sample in clips(tmp_path)] == ["day/cat/00000", "night/cat/00000"]


def test_a_video_file_is_a_clip(tmp_path: Path, footage: Footage, monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        video.read(footage(tmp_path / "frames", 8)) as reader,
        video.write(tmp_path / "clip.mp4", reader, rate=Fraction(24)) as writer,
    ):
        for frame in reader:
            writer.write(frame, frame.time, frame.duration)
    monkeypatch.setenv("HOME", str(tmp_path))
    for place in (tmp_path / "clip.mp4", "~/clip.mp4"):
        (sample,) = benchmark(f"clips:{place}")
        assert sample.name == "clip.mp4/00000"
        assert sample.frames.shape == (4, 3, 24, 40)


def test_parts_share_out_the_samples(tmp_path: Path, footage: Footage) -> None:
    footage(tmp_path / "eval" / "a", 12)
    windows_file(tmp_path, {"eval/a/": [0, 1, 2, 3, 4]})
    place = f"clips:{tmp_path / 'eval'}"
    parts = [benchmark(place, f"{k}/2") for k in (1, 2)]
    assert [part.name for part in parts] == ["clips1, part 1/2", "clips1, part 2/2"]
    assert [part.count for part in parts] == [3, 2]
    assert [[sample.name for sample in part] for part in parts] == [
        ["a/00000", "a/00002", "a/00004"],
        ["a/00001", "a/00003"],
    ]
    assert [sample.name for sample in benchmark(place)] == [f"a/0000{start}" for start in range(5)]


def test_clips_that_are_missing_are_named(tmp_path: Path, footage: Footage) -> None:
    with pytest.raises(FileNotFoundError, match=r"no such folder of clips or video: .*nowhere"):
        clips(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"expected videos or folders of frames in .*empty, found none"):
        clips(tmp_path / "empty")
    footage(tmp_path / "eval" / "a", 8)
    windows_file(tmp_path, {"eval/a/": [0], "eval/gone.mp4": [0]})
    with pytest.raises(FileNotFoundError, match=r"names clips that are not there: .*gone\.mp4$"):
        clips(tmp_path / "eval")
    windows_file(tmp_path, {"eval/a/": [0, 2]})
    with pytest.raises(ValueError, match="a has 8 frames, but its window at 2 needs 9"):
        list(clips(tmp_path / "eval"))


@pytest.mark.parametrize(
    "text",
    [
        '["eval/a/"]',
        "{",
        '{"windows": {"a": [-1]}}',
        '{"windows": {"a": ["3"]}}',
        '{"windows": {"a": [1.5]}}',
        '{"windows": {"a": 3}}',
        '{"windows": {"' + "a" * 300 + '": [3]}}',
        "[" * 100_000,
    ],
)
def test_a_windows_file_of_another_form_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "eval_windows.json").write_text(text)
    with pytest.raises(ValueError, match=r"expected \{\"windows\": .* in .*eval_windows\.json"):
        clips(tmp_path)
