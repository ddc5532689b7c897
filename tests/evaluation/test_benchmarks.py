from __future__ import annotations

import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest
import torch

from tweenlet import video
from tweenlet.evaluation import Clip, Sample, benchmark, clips

Footage = Callable[[Path, int], Path]


def numbers(sample: Sample) -> list[int]:
    """The frame numbers in a sample, read off its red channel; the truth last."""
    pictures = torch.cat((sample.frames, sample.truth[None]))
    return (pictures[:, 0, 0, 0] * 255).round().int().tolist()


def windows_file(folder: Path, windows: dict[str, list[int]]) -> None:
    (folder / "eval_windows.json").write_text(json.dumps({"windows": windows}))


def test_a_sample_is_four_frames_and_the_one_in_their_middle(tmp_path: Path, footage: Footage) -> None:
    samples = list(Clip(footage(tmp_path / "tennis", 12), (0, 1, 5)))
    assert [sample.name for sample in samples] == ["tennis/00000", "tennis/00001", "tennis/00005"]
    assert [numbers(sample) for sample in samples] == [[0, 2, 4, 6, 3], [1, 3, 5, 7, 4], [5, 7, 9, 11, 8]]
    assert samples[0].frames.shape == (4, 3, 24, 40)
    assert samples[0].truth.shape == (3, 24, 40)
    assert samples[0].truth[1:, 0, 0].tolist() == pytest.approx([100 / 255, 200 / 255])


def test_the_windows_file_beside_or_in_the_folder_fixes_the_samples(tmp_path: Path, footage: Footage) -> None:
    for name in ("a", "b", "c"):
        footage(tmp_path / "eval" / name, 10)
    windows_file(tmp_path, {"eval/b/": [3, 0], "eval/a/": [1]})
    expected = ["b/00000", "b/00003", "a/00001"]
    beside = clips(tmp_path / "eval")
    assert (beside.name, beside.count) == ("clips2", 3)
    assert [sample.name for sample in beside] == expected
    assert [sample.name for sample in clips(tmp_path)] == expected


def test_without_it_every_clip_counts_and_every_second_frame(tmp_path: Path, footage: Footage) -> None:
    footage(tmp_path / "one", 10)
    footage(tmp_path / "short", 6)
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes.txt").touch()
    found = clips(tmp_path)
    assert (found.name, found.count) == ("clips2", None)
    assert [sample.name for sample in found] == ["one/00000", "one/00002"]
    assert [sample.name for sample in clips(tmp_path / "one")] == ["one/00000", "one/00002"]


def test_a_video_file_is_a_clip(tmp_path: Path, footage: Footage) -> None:
    with (
        video.read(footage(tmp_path / "frames", 8)) as reader,
        video.write(tmp_path / "clip.mp4", reader, rate=Fraction(24)) as writer,
    ):
        for frame in reader:
            writer.write(frame, frame.time, frame.duration)
    (sample,) = clips(tmp_path / "clip.mp4")
    assert sample.name == "clip.mp4/00000"
    assert sample.frames.shape == (4, 3, 24, 40)


def test_parts_share_out_the_samples(tmp_path: Path, footage: Footage) -> None:
    footage(tmp_path / "eval" / "a", 12)
    windows_file(tmp_path, {"eval/a/": [0, 1, 2, 3, 4]})
    place = f"clips:{tmp_path / 'eval'}"
    parts = [benchmark(place, f"{k}/2") for k in (1, 2)]
    assert [part.name for part in parts] == ["clips1, part 1/2", "clips1, part 2/2"]
    assert [part.count for part in parts] == [3, 2]
    assert [[numbers(s)[0] for s in part] for part in parts] == [[0, 2, 4], [1, 3]]
    assert [numbers(s)[0] for s in benchmark(place)] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("part", ["0/3", "4/3", "1/0", "third", "1/3/2", "-1/3"])
def test_no_such_part(tmp_path: Path, footage: Footage, part: str) -> None:
    with pytest.raises(ValueError, match="expected a part such as 1/3"):
        benchmark(f"clips:{footage(tmp_path / 'a', 7)}", part)


@pytest.mark.parametrize("name", ["davis:somewhere", "somewhere", "clips:", "clips"])
def test_no_such_benchmark(name: str) -> None:
    with pytest.raises(ValueError, match=f"expected a benchmark such as clips:PATH; got {name}"):
        benchmark(name)


def test_what_is_missing_is_named(tmp_path: Path, footage: Footage) -> None:
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
    (tmp_path / "eval_windows.json").write_text('["eval/a/"]')
    with pytest.raises(ValueError, match=r"expected .* in .*eval_windows\.json"):
        clips(tmp_path / "eval")
