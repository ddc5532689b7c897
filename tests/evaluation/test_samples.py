from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tweenlet import video
from tweenlet.evaluation.samples import (
    Benchmark,
    Clip,
    Files,
    Fit,
    Sample,
    Stills,
    UnreadableSample,
    as_it_is,
)

Footage = Callable[[Path, int], Path]
Paint = Callable[..., Path]
ALL = range(0, 10**9, 2)


def numbers(sample: Sample | UnreadableSample) -> list[int]:
    """The frame numbers in a sample, read off its red channel; the truth last."""
    assert isinstance(sample, Sample), sample
    pictures = torch.cat((sample.frames, sample.truth[None]))
    return (pictures[:, 0, 0, 0] * 255).round().int().tolist()


def told(samples: list[Sample | UnreadableSample]) -> list[str]:
    """The names of samples, and for damaged ones what is the matter."""
    return [s.name if isinstance(s, Sample) else f"{s.name}: {s.reason}" for s in samples]


def test_a_clip_gives_four_frames_and_the_one_in_their_middle(tmp_path: Path, footage: Footage) -> None:
    clip = Clip(footage(tmp_path / "tennis", 12), (0, 1, 5))
    samples = list(clip.samples())
    assert (clip.name, clip.count) == ("tennis", 3)
    assert told(samples) == ["tennis/00000", "tennis/00001", "tennis/00005"]
    assert [numbers(s) for s in samples] == [[0, 2, 4, 6, 3], [1, 3, 5, 7, 4], [5, 7, 9, 11, 8]]
    assert samples[0].frames.shape == (4, 3, 24, 40)
    assert samples[0].truth.shape == (3, 24, 40)
    assert samples[0].truth[1:, 0, 0].tolist() == pytest.approx([100 / 255, 200 / 255])


def test_a_clip_has_the_name_that_it_is_given(tmp_path: Path, footage: Footage) -> None:
    clip = Clip(footage(tmp_path / "tennis", 7), (0,), "court/tennis")
    assert told(list(clip.samples())) == ["court/tennis/00000"]
    assert clip.part(1, 2).name == "court/tennis"


def test_only_frames_of_wanted_windows_become_rgb(
    tmp_path: Path, footage: Footage, monkeypatch: pytest.MonkeyPatch
) -> None:
    converted: list[int] = []
    to_rgb = video.Frame.rgb

    def counted(frame: video.Frame) -> np.ndarray:
        converted.append(int(frame.time * video.IMAGE_RATE))
        return to_rgb(frame)

    monkeypatch.setattr(video.Frame, "rgb", counted)
    folder = footage(tmp_path / "a", 30)
    selected = {"a/00002", "a/00004", "a/00020"}
    for windows in (ALL, (0, 2, 4, 11, 20, 22)):
        converted.clear()
        assert set(told(list(Clip(folder, windows).samples(selected.__contains__)))) == selected
        assert converted == [2, 4, 6, 8, 5, 10, 7, 20, 22, 24, 26, 23]  # what two windows share is made once


def test_a_clip_of_which_nothing_is_wanted_is_not_opened(tmp_path: Path) -> None:
    assert list(Clip(tmp_path / "gone.mp4", (0, 4)).samples(lambda name: False)) == []


def test_a_range_ends_with_the_clip_and_a_tuple_must_be_met(tmp_path: Path, footage: Footage) -> None:
    folder = footage(tmp_path / "a", 10)
    assert told(list(Clip(folder, ALL).samples())) == ["a/00000", "a/00002"]
    assert told(list(Clip(folder, range(0, 2, 2)).samples())) == ["a/00000"]
    beyond = f"{folder} has 10 frames, but its window at"
    expected = ["a/00003", f"a/00004: {beyond} 4 needs 11", f"a/00007: {beyond} 7 needs 14"]
    assert told(list(Clip(folder, (3, 4, 7)).samples())) == expected


@pytest.mark.parametrize("windows", [(4, 2), (1, 1), (-1, 0)])
def test_windows_rise(windows: tuple[int, ...], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"expected rising frame numbers from 0 on for .*a\.mp4, got \("):
        Clip(tmp_path / "a.mp4", windows)


def test_what_comes_after_damage_is_damaged(tmp_path: Path, footage: Footage, paint: Paint) -> None:
    folder = footage(tmp_path / "a", 20)
    (folder / "00012.png").write_bytes(b"no picture")
    why = f"{folder} is missing from 0.50 s to 0.54 s: 00012.png cannot be read (after 12 frames)"
    fixed = Clip(folder, (0, 4, 5, 6, 12, 40))
    left = [f"a/{start:05d}: {why}" for start in (6, 12, 40)]
    assert told(list(fixed.samples())) == ["a/00000", "a/00004", "a/00005", *left]
    assert told(list(fixed.samples(lambda name: name in ("a/00004", "a/00040")))) == ["a/00004", left[2]]
    every_second = ["a/00000", "a/00002", "a/00004", f"a/00006: {why}"]
    assert told(list(Clip(folder, ALL).samples())) == every_second
    assert told(list(Clip(folder, ALL).samples(lambda name: name != "a/00006"))) == every_second[:3]
    assert told(list(Clip(folder, ALL).part(2, 3).samples())) == ["a/00002", f"a/00008: {why}"]
    paint(folder / "00012.png", 12)
    assert "all frames must be of one size (after 12 frames)" in told(list(Clip(folder, (6,)).samples()))[0]


def test_a_clip_that_cannot_be_opened_is_damaged(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    why = f"{tmp_path / 'empty.mp4'} is an empty file (after 0 frames)"
    assert told(list(Clip(tmp_path / "empty.mp4", (2, 4)).samples())) == [
        f"empty.mp4/00002: {why}",
        f"empty.mp4/00004: {why}",
    ]
    assert told(list(Clip(tmp_path / "empty.mp4", ALL).samples())) == [f"empty.mp4/00000: {why}"]


def test_a_video_cut_short_gives_what_it_holds_and_then_says_so(tmp_path: Path, footage: Footage) -> None:
    film, rng = tmp_path / "film.mkv", np.random.default_rng(0)
    with (
        video.read(footage(tmp_path / "frames", 40)) as reader,
        video.write(film, reader, rate=Fraction(24)) as writer,
    ):
        for frame in reader:
            writer.write(rng.uniform(0, 1, (3, 24, 40)).astype(np.float32), frame.time, frame.duration)
    assert len(list(Clip(film, ALL).samples())) == 17
    film.write_bytes(film.read_bytes()[: film.stat().st_size * 2 // 3])
    *good, last = Clip(film, range(10**9)).samples()
    assert told(good) == [f"film.mkv/{start:05d}" for start in range(len(good))]
    assert 10 < len(good) < 25
    assert isinstance(last, UnreadableSample)
    assert last.name == f"film.mkv/{len(good):05d}"
    assert last.reason.startswith(f"{film} is missing from ")
    assert "the file is cut short" in last.reason
    assert last.reason.endswith(f"(after {len(good) + 6} frames)")


def stills(folder: Path, name: str, files: str, fit: Fit = as_it_is) -> Stills:
    """A sequence of one sample whose five files are given by name, the truth last."""
    *inputs, truth = (folder / file for file in files.split())
    return Stills(name, (Files(name, tuple(inputs), truth),), fit)


def test_stills_are_read_as_they_are_listed(tmp_path: Path, paint: Paint) -> None:
    files = [paint(tmp_path / f"{n}.png", n) for n in range(9)]
    listed = tuple(Files(f"at {t}", tuple(files[t + i] for i in (0, 2, 4, 6)), files[t + 3]) for t in (0, 2))
    sequence = Stills("nine", listed)
    assert sequence.count == 2
    assert [(s.name, s.sequence, numbers(s)) for s in sequence.samples()] == [
        ("at 0", "nine", [0, 2, 4, 6, 3]),
        ("at 2", "nine", [2, 4, 6, 8, 5]),
    ]
    assert told(list(sequence.samples("at 2".__eq__))) == ["at 2"]
    assert told(list(sequence.part(2, 2).samples())) == ["at 2"]
    first = next(sequence.samples())
    assert first.frames.shape == (4, 3, 3, 4)
    assert first.frames.is_contiguous()
    assert first.frames.dtype == torch.float32


def test_values_and_channels_are_those_of_the_file(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    (sample,) = stills(tmp_path, "a", "a.png a.png a.png a.png a.png").samples()
    assert isinstance(sample, Sample)
    expected = torch.from_numpy(pixels).permute(2, 0, 1).float() / 255
    assert all(torch.equal(picture, expected) for picture in (*sample.frames, sample.truth))


def test_neighbours_share_what_they_have_read(tmp_path: Path, paint: Paint) -> None:
    read: list[int] = []

    def noted(pixels: np.ndarray) -> np.ndarray:
        read.append(int(pixels[0, 0, 0]))
        return pixels

    files = [paint(tmp_path / f"{n}.png", n) for n in range(9)]
    listed = tuple(Files(str(t), (*[files[t]] * 2, *[files[t + 2]] * 2), files[t + 1]) for t in (0, 2, 4))
    assert [numbers(s) for s in Stills("pairs", listed, noted).samples()] == [
        [0, 0, 2, 2, 1],
        [2, 2, 4, 4, 3],
        [4, 4, 6, 6, 5],
    ]
    assert read == [0, 2, 1, 4, 3, 6, 5]


@pytest.mark.parametrize(
    ("mode", "colour"), [("L", 77), ("P", 0), ("RGBA", (77, 77, 77, 255)), ("LA", (77, 255)), ("1", 1)]
)
def test_other_kinds_of_pictures_are_taken_where_nothing_is_lost(
    mode: str, colour: int | tuple[int, ...], tmp_path: Path
) -> None:
    picture = Image.new(mode, (4, 3), colour)
    if mode == "P":
        picture.putpalette([77] * 768)
    picture.save(tmp_path / "a.png")
    (sample,) = stills(tmp_path, "a", "a.png a.png a.png a.png a.png").samples()
    assert numbers(sample) == [255 if mode == "1" else 77] * 5


def deep(path: Path, channels: tuple[int, ...]) -> None:
    """A PNG file of 16 bits."""
    cv2 = pytest.importorskip("cv2")
    assert cv2.imwrite(str(path), np.full((3, 4, *channels), 77 * 257, np.uint16))


@pytest.mark.parametrize(
    ("write", "why"),
    [
        (lambda path: deep(path, (3,)), "it has more than 8 bits, expected 8-bit RGB"),
        (lambda path: deep(path, ()), "it has more than 8 bits, expected 8-bit RGB"),
        (lambda path: Image.new("RGBA", (4, 3), (1, 2, 3, 254)).save(path), "it has transparent parts"),
        (lambda path: Image.new("P", (4, 3)).save(path, transparency=0), "it has transparent parts"),
        (lambda path: Image.new("CMYK", (4, 3)).save(path, "JPEG"), "it has CMYK colours"),
        (lambda path: path.write_bytes(b"no picture"), "cannot identify image file"),
        (lambda path: path.write_bytes(path.read_bytes()[:40]), "b.png cannot be used: "),
        (lambda path: path.unlink(), r"b\.png is missing"),
    ],
    ids=["16-bit", "16-bit-gray", "alpha", "palette-alpha", "cmyk", "text", "cut-short", "gone"],
)
def test_what_cannot_be_used_is_damaged_and_says_why(
    write: Callable[[Path], None], why: str, tmp_path: Path, paint: Paint
) -> None:
    paint(tmp_path / "a.png", 1)
    write(paint(tmp_path / "b.png", 2))
    (sample,) = stills(tmp_path, "x", "a.png a.png b.png b.png a.png").samples()
    assert isinstance(sample, UnreadableSample)
    assert (sample.name, sample.sequence) == ("x", "x")
    assert str(tmp_path / "b.png") in sample.reason
    with pytest.raises(ValueError, match=why):
        raise ValueError(sample.reason)


def test_pictures_of_one_sample_are_of_one_size(tmp_path: Path, paint: Paint) -> None:
    for name in "abc":
        paint(tmp_path / f"{name}.png", 1)
    paint(tmp_path / "c.png", 1, (4, 4))
    assert told(list(stills(tmp_path, "x", "a.png a.png b.png b.png c.png").samples())) == [
        f"x: {tmp_path} has pictures of different sizes in one sample: a.png 4x3, b.png 4x3, c.png 4x4"
    ]


def test_damage_does_not_end_a_sequence(tmp_path: Path, paint: Paint) -> None:
    files = [paint(tmp_path / f"{n}.png", n) for n in range(5)]
    files[2].write_bytes(b"")
    listed = tuple(Files(str(n), (files[n],) * 4, files[n]) for n in range(5))
    samples = list(Stills("five", listed).samples())
    assert [type(s) for s in samples] == [Sample, Sample, UnreadableSample, Sample, Sample]
    assert numbers(samples[3]) == [3] * 5


def test_a_benchmark_gives_everything_in_order_or_says_what_is_damaged(
    tmp_path: Path, footage: Footage
) -> None:
    first = Clip(footage(tmp_path / "a", 9), (0, 2))
    whole = Benchmark("both", (first, Clip(footage(tmp_path / "b", 8), (1,))))
    assert [s.name for s in whole] == ["a/00000", "a/00002", "b/00001"]
    assert whole.count == 3
    broken = Benchmark("broken", (first, Clip(tmp_path / "b", (2,))))
    with pytest.raises(ValueError, match=r"sample b/00002 is damaged: .*b has 8 frames, but"):
        list(broken)
    assert Benchmark("open", (first, Clip(tmp_path / "b", ALL))).count is None


def test_parts_share_out_samples(tmp_path: Path) -> None:
    def files(*names: str) -> tuple[Files, ...]:
        return tuple(Files(name, (tmp_path,) * 4, tmp_path) for name in names)

    def names(part: Benchmark) -> list[str]:
        listed = (sequence for sequence in part.sequences if isinstance(sequence, Stills))
        return [file.name for sequence in listed for file in sequence.files]

    long = Benchmark("long", (Stills("a", files(*"01234")), Stills("b", files(*"567"))), note="a note")
    parts = [long.part(k, 4) for k in range(1, 5)]
    assert [names(part) for part in parts] == [["0", "4", "5"], ["1", "6"], ["2", "7"], ["3"]]
    assert [part.count for part in parts] == [3, 2, 2, 1]
    assert [len(part.sequences) for part in parts] == [2, 2, 2, 1]
    assert (parts[1].name, parts[1].note) == ("long, part 2/4", "a note")
    single = Benchmark("single", tuple(Stills(name, files(name)) for name in "abcde"), True)
    assert [names(single.part(k, 2)) for k in (1, 2)] == [["a", "c", "e"], ["b", "d"]]
    assert single.part(1, 2).two_frames
    open_ended = Benchmark("open", (Clip(tmp_path, range(0, 12, 2)),)).part(2, 2)
    assert open_ended.sequences == (Clip(tmp_path, range(2, 12, 4)),)
    for number, of in ((0, 3), (4, 3), (1, 0), (-1, 3)):
        with pytest.raises(ValueError, match="expected a subset such as 1/3 or 3/3, got"):
            long.part(number, of)


def test_names_tell_samples_apart(tmp_path: Path) -> None:
    file = Files("x", (tmp_path,) * 4, tmp_path)
    with pytest.raises(ValueError, match="twice lists a more than once"):
        Benchmark("twice", (Stills("a", ()), Stills("b", ()), Stills("a", ())))
    with pytest.raises(ValueError, match="twice lists x more than once"):
        Benchmark("twice", (Stills("a", (file,)), Stills("b", (file,))))


def test_a_truth_that_is_not_half_way_in_time_is_none(tmp_path: Path, footage: Footage) -> None:
    """Of a clip that lost its frame 9: the frames around it are there, but not where they should be."""
    clip = tmp_path / "clip.mkv"
    with (
        video.read(footage(tmp_path / "frames", 20)) as reader,
        video.write(clip, reader, rate=Fraction(24)) as writer,
    ):
        for number, frame in enumerate(reader):
            if number != 9:
                writer.write(frame, frame.time, frame.duration)
    samples = list(Clip(clip, range(100)).samples())
    damaged = [sample for sample in samples if isinstance(sample, UnreadableSample)]
    assert [sample.name for sample in damaged] == ["clip.mkv/00005", "clip.mkv/00006"]
    assert all("not half-way in time" in sample.reason for sample in damaged)
    assert len(samples) == 19 - 6
