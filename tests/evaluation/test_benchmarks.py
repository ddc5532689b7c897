"""Benchmarks: every kind finds its samples, names what is missing, and is what is told of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tweenlet.evaluation.benchmarks import KINDS, benchmark, kinds
from tweenlet.evaluation.datasets import (
    DAVIS,
    MIDDLEBURY,
    SNUFILM,
    XIPH,
    halved_4k,
    middle,
    middle_4k,
)
from tweenlet.evaluation.samples import Benchmark, Sample, UnreadableSample

Footage = Callable[[Path, int], Path]
Paint = Callable[..., Path]
DVF = [str(number) for number in range(1, 3782, 10)]


def numbers(sample: Sample | UnreadableSample) -> list[int]:
    """The frame numbers in a sample, read off its red channel; the truth last."""
    assert isinstance(sample, Sample), sample
    pictures = torch.cat((sample.frames, sample.truth[None]))
    return (pictures[:, 0, 0, 0] * 255).round().int().tolist()


def of(opened: Benchmark, name: str) -> list[tuple[str, list[int]]]:
    """The names of the samples of a sequence, and the numbers in their frames."""
    (sequence,) = (s for s in opened.sequences if s.name == name)
    return [(sample.name, numbers(sample)) for sample in sequence.samples()]


def touch(folder: Path, *names: str) -> None:
    """Files that are there, but no pictures: what is only listed must not be opened."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_ucf101(tmp_path: Path, paint: Paint) -> None:
    names = [f"frame{i}.png" for i in range(4)]
    for number in range(100):
        touch(tmp_path, *(f"{number}/{name}" for name in (*names, "framet.png")))
    for i, name in enumerate((*names, "framet.png")):
        paint(tmp_path / "2" / name, 20 + i)
    result = benchmark(f"ucf101:{tmp_path}")
    assert (result.name, result.count, result.note) == ("ucf101", 100, "")
    assert [s.name for s in result.sequences] == [str(number) for number in range(100)]
    assert of(result, "2") == [("2", [20, 21, 22, 23, 24])]
    assert [s.name for s in result.part(2, 40).sequences] == ["1", "41", "81"]
    (tmp_path / "7" / "frame3.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"ucf101: 1 of 500 files are missing in .*: 7/frame3\.png$"):
        benchmark(f"ucf101:{tmp_path}")


def test_another_number_of_samples_is_noted(tmp_path: Path) -> None:
    for name in ("a", "b"):
        touch(tmp_path / name, *(f"frame{i}.png" for i in "0123t"))
    assert benchmark(f"ucf101:{tmp_path}").note == "2 samples where 100 are published"


def test_ucf101_dvf(tmp_path: Path, paint: Paint) -> None:
    home = tmp_path / "ucf101_interp_ours"
    names = ("frame_00.png", "frame_01_gt.png", "frame_02.png")
    for number in DVF:
        touch(home / number, *names)
    for i, name in enumerate(names):
        paint(home / "3781" / name, 50 + i)
    for place in (tmp_path, home):
        found = benchmark(f"ucf101-dvf:{place}")
        assert (found.name, found.count, found.two_frames, found.note) == ("ucf101-dvf", 379, True, "")
        assert of(found, "3781") == [("3781", [50, 50, 52, 52, 51])]
    (home / "11" / "frame_01_gt.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of 1137 files are missing in .*: 11/frame_01_gt\.png$"):
        benchmark(f"ucf101-dvf:{tmp_path}")


@pytest.fixture
def davis(tmp_path: Path, paint: Paint) -> Path:
    """All of DAVIS; the frames of one sequence are pictures, too."""
    home = tmp_path / "DAVIS" / "JPEGImages" / "480p"
    for name in DAVIS:
        touch(home / name, *(f"{n:05d}.jpg" for n in range(7)))
    for n in range(12):
        paint(home / "camel" / f"{n:05d}.jpg", 10 * n, (2, 480))
    return home


def test_davis_scores_every_window_that_starts_at_an_even_frame(davis: Path) -> None:
    for place in (davis, davis.parents[1], davis.parents[2]):
        result = benchmark(f"davis:{place}")
        assert (result.name, result.two_frames, result.by_sequence, result.note) == ("davis", False, True, "")
        assert [s.name for s in result.sequences] == list(DAVIS)
        assert result.count == 89 + 3
        assert of(result, "camel") == [
            ("camel/00000", [0, 20, 40, 60, 30]),
            ("camel/00002", [20, 40, 60, 80, 50]),
            ("camel/00004", [40, 60, 80, 100, 70]),
        ]
    assert benchmark(f"davis:{davis}", "2/2").sequences[0].name == "camel"
    assert of(benchmark(f"davis:{davis}", "2/2"), "camel") == [("camel/00002", [20, 40, 60, 80, 50])]


def test_davis_names_sequences_that_are_missing(davis: Path) -> None:
    (davis / "bear").rename(davis / "bears")
    (davis / "walking").rename(davis / "running")
    with pytest.raises(
        FileNotFoundError, match=r"davis: 2 of 90 sequences are missing in .*480p: bear, walking$"
    ):
        benchmark(f"davis:{davis.parents[1]}")
    with pytest.raises(FileNotFoundError, match=r"90 of 90 .* bear, bike-packing, blackswan, .*, \.\.\.$"):
        benchmark(f"davis:{davis / 'camel'}")


def test_davis_names_frames_that_are_missing(davis: Path) -> None:
    for name in ("bear/00000.jpg", "camel/00007.jpg", "dog/00006.jpg"):
        (davis / name).unlink()
    missing = r"bear/00000\.jpg, camel/00007\.jpg, dog/00006\.jpg$"
    with pytest.raises(FileNotFoundError, match=f"davis: 3 of 635 frames are missing in .*480p: {missing}"):
        benchmark(f"davis:{davis}")


def test_davis_at_another_resolution_is_not_taken_for_480p(davis: Path, paint: Paint) -> None:
    paint(davis / "camel" / "00006.jpg", 60, (4, 960))
    (camel,) = (s for s in benchmark(f"davis:{davis}").sequences if s.name == "camel")
    samples = list(camel.samples())
    assert all(isinstance(sample, UnreadableSample) for sample in samples)
    assert "00006.jpg cannot be used: expected 480 rows (DAVIS at 480p), got 4x960" in str(samples[0])


def snufilm(root: Path, difficulty: str, sequences: dict[str, tuple[range, list[int]]], step: int) -> None:
    """A list of SNU-FILM: triplets around the numbers given, in folders of a range of frames."""
    lines = []
    for folder, (there, truths) in sequences.items():
        touch(root / folder, *(f"{n:05d}.png" for n in there))
        for n in truths:
            names = (f"data/SNU-FILM/test/{folder}/{i:05d}.png" for i in (n - step, n, n + step))
            lines.append(" ".join(names))
    root.mkdir(parents=True, exist_ok=True)
    (root / f"test-{difficulty}.txt").write_text("\n".join(lines) + "\n\n")


@pytest.mark.parametrize(("difficulty", "step"), SNUFILM.items())
@pytest.mark.parametrize("above", ["", "test", "data/SNU-FILM/test"])
def test_snufilm(difficulty: str, step: int, above: str, tmp_path: Path, paint: Paint) -> None:
    half = step // 2
    truths = [100, 100 + half, 150]
    folder = "YouTube_test/0009"
    snufilm(tmp_path, difficulty, {folder: (range(100 - 3 * half, 151 + 3 * half), truths)}, half)
    if above:
        (tmp_path / above).mkdir(parents=True)
        (tmp_path / "YouTube_test").rename(tmp_path / above / "YouTube_test")
    for n in (100 - 3 * half, 100 - half, 100, 100 + half, 100 + 3 * half):
        paint(tmp_path / above / folder / f"{n:05d}.png", n)
    result = benchmark(f"snufilm-{difficulty}:{tmp_path}")
    assert (result.name, result.count, result.two_frames, result.by_sequence) == (
        f"snufilm-{difficulty}",
        3,
        False,
        False,
    )
    assert result.note == "3 triplets where 310 are published"
    (sequence,) = result.sequences
    assert sequence.name == "0009"
    first = next(iter(sequence.samples()))
    assert first.name == "0009/00100"
    assert numbers(first) == [100 - 3 * half, 100 - half, 100 + half, 100 + 3 * half, 100]


def test_snufilm_leaves_out_the_ends_of_a_sequence_and_counts_them(tmp_path: Path) -> None:
    sequences = {
        "GOPRO_test/one": (range(1, 40), [3, 4, 20, 36, 37]),
        "YouTube_test/0001": (range(50, 80), [52, 60]),
        "GOPRO_test/0001": (range(1, 7), [3]),
    }
    snufilm(tmp_path, "easy", sequences, 1)
    result = benchmark(f"snufilm-easy:{tmp_path}")
    listed = [(s.name, [files.name for files in s.files]) for s in result.sequences]  # type: ignore[attr-defined]
    assert listed == [
        ("GOPRO_test/one", ["GOPRO_test/one/00004", "GOPRO_test/one/00020", "GOPRO_test/one/00036"]),
        ("YouTube_test/0001", ["YouTube_test/0001/00060"]),
    ]
    left_out = "4 of 8 triplets left out: no frame before or after them"
    assert result.note == f"8 triplets where 310 are published; {left_out}"


@pytest.mark.parametrize(
    ("missing", "what"),
    [(19, "an inner frame"), (20, "the truth"), (18, "no frame"), (17, "an outer frame")],
)
def test_snufilm_names_what_is_missing_inside_of_a_sequence(missing: int, what: str, tmp_path: Path) -> None:
    snufilm(tmp_path, "easy", {"GOPRO_test/one": (range(1, 40), [20])}, 1)
    (tmp_path / "GOPRO_test" / "one" / f"{missing:05d}.png").unlink()
    if what == "no frame":
        assert benchmark(f"snufilm-easy:{tmp_path}").count == 1
        return
    named = f"snufilm-easy: 1 of 5 files are missing in .*: GOPRO_test/one/{missing:05d}.png$"
    with pytest.raises(FileNotFoundError, match=named):
        benchmark(f"snufilm-easy:{tmp_path}")


def test_snufilm_names_what_else_is_wrong(tmp_path: Path) -> None:
    place = f"snufilm-hard:{tmp_path}"
    with pytest.raises(FileNotFoundError, match=r"snufilm-hard: no test-hard\.txt in "):
        benchmark(place)
    lists = tmp_path / "eval_modes" / "test-hard.txt"
    touch(tmp_path, "eval_modes/test-hard.txt")
    with pytest.raises(ValueError, match=r"snufilm-hard: .*test-hard\.txt is empty"):
        benchmark(place)
    lists.write_text("test/a/001.png test/a/005.png test/a/009.png")
    with pytest.raises(
        FileNotFoundError, match=r"5 of 5 files are missing in .*: test/a/-07\.png, test/a/001"
    ):
        benchmark(place)
    for line in ("a/1.png a/2.png", "a/1.png b/2.png a/3.png", "a/x.png a/y.png a/z.png"):
        lists.write_text(line)
        with pytest.raises(ValueError, match=f"expected three numbered frames of one folder .*, got {line}"):
            benchmark(place)


def test_vfitex(tmp_path: Path, paint: Paint) -> None:
    for n in range(1, 11):
        paint(tmp_path / "water_4K_pexels" / f"{n:03d}.png", n, (8, 6))
        paint(tmp_path / "fire" / f"{n:03d}.png", 100 + n, (8, 6))
    touch(tmp_path, ".DS_Store", ".hidden/x", "readme.txt")
    result = benchmark(f"vfitex:{tmp_path}")
    assert (result.name, result.count, result.by_sequence) == ("vfitex", 4, True)
    assert result.note == "2 sequences where 20 are published"
    assert of(result, "fire") == [
        ("fire/001", [101, 103, 105, 107, 104]),
        ("fire/003", [103, 105, 107, 109, 106]),
    ]
    assert of(result, "water_4K_pexels")[1] == ("water_4K_pexels/003", [3, 5, 7, 9, 6])
    whole, cropped = (next(iter(sequence.samples())) for sequence in result.sequences)
    assert isinstance(whole, Sample)
    assert isinstance(cropped, Sample)
    assert whole.frames.shape == (4, 3, 6, 8)
    assert cropped.frames.shape == (4, 3, 3, 4)
    assert cropped.truth.shape == (3, 3, 4)
    for name in ("fire/001.png", "fire/005.png"):
        (tmp_path / name).unlink()
    with pytest.raises(FileNotFoundError, match=r"2 of 20 frames are missing in .*: fire/001\.png, fire/005"):
        benchmark(f"vfitex:{tmp_path}")


def test_vimeo(tmp_path: Path, paint: Paint) -> None:
    septuplets = ["00001/0001", "00001/0002", "00007/0002"]
    (tmp_path / "sep_testlist.txt").write_text("\n".join(septuplets))
    for k, septuplet in enumerate(septuplets):
        for n in range(1, 8):
            paint(tmp_path / "sequences" / septuplet / f"im{n}.png", 10 * k + n)
    result = benchmark(f"vimeo:{tmp_path}")
    assert (result.name, result.count, result.by_sequence) == ("vimeo", 3, False)
    assert result.note == "3 samples where 7824 are published"
    assert of(result, "00001") == [("00001/0001", [1, 3, 5, 7, 4]), ("00001/0002", [11, 13, 15, 17, 14])]
    assert of(result, "00007") == [("00007/0002", [21, 23, 25, 27, 24])]
    (tmp_path / "sequences/00001/0002/im2.png").unlink()  # is not used
    assert benchmark(f"vimeo:{tmp_path}").count == 3
    (tmp_path / "sequences/00001/0002/im4.png").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"1 of 15 files are missing .*: sequences/00001/0002/im4\.png"
    ):
        benchmark(f"vimeo:{tmp_path}")
    (tmp_path / "sep_testlist.txt").write_text("00001/0001\n00001/0001\n")
    with pytest.raises(ValueError, match="vimeo lists 00001/0001 more than once"):
        benchmark(f"vimeo:{tmp_path}")
    (tmp_path / "sep_testlist.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"vimeo: no sep_testlist\.txt in "):
        benchmark(f"vimeo:{tmp_path}")


@pytest.mark.parametrize(
    ("inputs", "truth"),
    [
        ("other-data", "other-gt-interp"),
        ("other-color-twoframes/other-data", "other-gt-interp/other-gt-interp"),
        ("other-color-allframes", "other-gt-interp"),
        ("input", "gt"),
    ],
)
def test_middlebury(inputs: str, truth: str, tmp_path: Path, paint: Paint) -> None:
    for name in MIDDLEBURY:
        touch(tmp_path / inputs / name, "frame09.png", "frame10.png", "frame11.png")
        touch(tmp_path / truth / name, "frame10i11.png")
    paint(tmp_path / inputs / "Grove2" / "frame10.png", 10)
    paint(tmp_path / inputs / "Grove2" / "frame11.png", 20)
    paint(tmp_path / truth / "Grove2" / "frame10i11.png", 15)
    found = benchmark(f"middlebury:{tmp_path}")
    assert (found.name, found.count, found.two_frames, found.by_sequence) == ("middlebury", 12, True, False)
    assert of(found, "Grove2") == [("Grove2", [10, 10, 20, 20, 15])]
    (tmp_path / truth / "Venus" / "frame10i11.png").unlink()
    with pytest.raises(FileNotFoundError, match=rf"1 of 36 files .*: {truth}/Venus/frame10i11\.png$"):
        benchmark(f"middlebury:{tmp_path}")


@pytest.fixture(scope="module")
def netflix(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The clips of Xiph; the first frames of one are pictures, too, the fifth of which is too small."""
    home = tmp_path_factory.mktemp("netflix")
    touch(home, *(f"{clip}-{n:03d}.png" for clip in XIPH for n in range(1, 101)))
    for n, size in ((1, (4096, 2160)), (2, (4096, 2160)), (3, (4096, 2160)), (5, (1920, 1080))):
        Image.new("RGB", size, (n, n, n)).save(home / f"Crosswalk-{n:03d}.png", compress_level=1)
    return home


@pytest.mark.parametrize("kind", ["xiph-2k", "xiph-4k"])
def test_xiph(kind: str, netflix: Path) -> None:
    result = benchmark(f"{kind}:{netflix}")
    assert (result.name, result.count, result.two_frames, result.by_sequence) == (kind, 8 * 49, True, False)
    assert [sequence.name for sequence in result.sequences] == list(XIPH)
    first, second = islice(result.sequences[1].samples(), 2)
    assert (first.name, first.sequence) == ("Crosswalk/002", "Crosswalk")
    assert numbers(first) == [1, 1, 3, 3, 2]
    assert isinstance(first, Sample)
    assert first.truth.shape == (3, 1080, 2048)
    assert isinstance(second, UnreadableSample)
    assert second.name == "Crosswalk/004"
    small = "Crosswalk-005.png cannot be used: expected 4096x2160 pixels, got 1920x1080"
    assert second.reason == f"{netflix}/{small}"


@pytest.mark.parametrize("above", ["", "netflix", "frames"])
def test_xiph_names_frames_that_are_missing(above: str, tmp_path: Path) -> None:
    touch(tmp_path / above, *(f"{clip}-{n:03d}.png" for clip in XIPH for n in range(1, 100)))
    assert benchmark(f"xiph-2k:{tmp_path}").count == 392
    (tmp_path / above / "Tango-099.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of 792 files are missing in .*: Tango-099\.png$"):
        benchmark(f"xiph-2k:{tmp_path}")


def test_pictures_of_4k_are_halved_by_averaging_or_cropped_to_the_middle() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (2160, 4096, 3), np.uint8)
    squares = picture.reshape(1080, 2, 2048, 2, 3).astype(np.float64).mean((1, 3))
    np.testing.assert_allclose(halved_4k(picture), squares, rtol=0, atol=0.5)
    np.testing.assert_array_equal(middle_4k(picture), picture[540:1620, 1024:3072])
    for fit in (halved_4k, middle_4k):
        with pytest.raises(ValueError, match="expected 4096x2160 pixels, got 3840x2160"):
            fit(picture[:, :3840])


@pytest.mark.parametrize(
    ("size", "expected"), [((6, 8), (2, 3, 2, 4)), ((7, 7), (2, 3, 2, 3)), ((5, 9), (2, 2, 2, 4))]
)
def test_the_middle_is_where_torchvision_has_it(
    size: tuple[int, int], expected: tuple[int, int, int, int]
) -> None:
    """By its rule ``round((length - cropped) / 2)``, which takes a half to the even number."""
    picture = np.arange(size[0] * size[1], dtype=np.uint8).reshape(*size, 1).repeat(3, 2)
    top, height, left, width = expected
    np.testing.assert_array_equal(middle(picture), picture[top : top + height, left : left + width])


@pytest.mark.parametrize("part", ["0/3", "4/3", "1/0", "third", "1/3/2", "-1/3"])
def test_no_such_part(tmp_path: Path, footage: Footage, part: str) -> None:
    with pytest.raises(ValueError, match="expected a subset such as 1/3"):
        benchmark(f"clips:{footage(tmp_path / 'a', 7)}", part)


@pytest.mark.parametrize("name", ["davos:somewhere", "somewhere", "davis:", "clips"])
def test_no_such_benchmark(name: str) -> None:
    with pytest.raises(
        ValueError, match=f"expected a benchmark as KIND:PATH or .* FILE.json, got {name}; the kinds are\n"
    ) as told:
        benchmark(name)
    assert all(f"\n  {kind}:PATH " in str(told.value) for kind in KINDS)


def everything(folder: Path, footage: Footage) -> Iterable[str]:
    """Every kind of benchmark, as files that are no pictures; where each is."""
    touch(folder / "ucf101" / "0", *(f"frame{i}.png" for i in "0123t"))
    touch(folder / "ucf101-dvf", *(f"{n}/frame_{i}.png" for n in DVF for i in ("00", "01_gt", "02")))
    touch(folder / "davis", *(f"{name}/{n:05d}.jpg" for name in DAVIS for n in range(7)))
    for difficulty, step in SNUFILM.items():
        snufilm(folder / f"snufilm-{difficulty}", difficulty, {"a": (range(1, 98), [49])}, step // 2)
    touch(folder / "vfitex" / "a", *(f"{n:03d}.png" for n in range(1, 8)))
    touch(folder / "vimeo/sequences/a/b", *(f"im{n}.png" for n in range(1, 8)))
    (folder / "vimeo" / "sep_testlist.txt").write_text("a/b")
    for name in MIDDLEBURY:
        touch(folder / "middlebury" / "other-data" / name, "frame10.png", "frame11.png")
        touch(folder / "middlebury" / "other-gt-interp" / name, "frame10i11.png")
    for kind in ("xiph-2k", "xiph-4k"):
        touch(folder / kind, *(f"{clip}-{n:03d}.png" for clip in XIPH for n in range(1, 101)))
    footage(folder / "clips" / "a", 7)
    return KINDS


def test_what_is_told_of_a_kind_is_so(tmp_path: Path, footage: Footage) -> None:
    for kind in everything(tmp_path, footage):
        result, kind_info = benchmark(f"{kind}:{tmp_path / kind}"), KINDS[kind]
        assert result.two_frames == (kind_info.frames == 2)
        assert result.by_sequence == (kind_info.mean == "sequences")
        assert result.name == ("clips1" if kind == "clips" else kind)
        line = next(line for line in kinds().splitlines() if f" {kind}:PATH " in line)
        assert f"({kind_info.frames} frames, mean of {kind_info.mean})" in line
        assert len(line) <= 110


@pytest.mark.parametrize("kind", KINDS)
def test_no_folder_is_said(kind: str, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        benchmark(f"{kind}:{tmp_path / 'nowhere'}")
    (tmp_path / "empty").mkdir()
    with pytest.raises((FileNotFoundError, ValueError), match="empty"):
        benchmark(f"{kind}:{tmp_path / 'empty'}")
