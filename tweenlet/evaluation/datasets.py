"""Data sets: published benchmarks, read from their usual folder layouts, as lists of samples.

Each is checked against its publication: missing files are named, and a different number of samples is noted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath

import cv2
import numpy as np

from tweenlet.evaluation.samples import (
    INPUTS,
    SPAN,
    TRUTH,
    Benchmark,
    Files,
    Fit,
    Pixels,
    Stills,
    as_it_is,
    short_names,
)
from tweenlet.video.images import natural_key

DAVIS = (
    "bear", "bike-packing", "blackswan", "bmx-bumps", "bmx-trees", "boat", "boxing-fisheye", "breakdance",
    "breakdance-flare", "bus", "camel", "car-roundabout", "car-shadow", "car-turn", "cat-girl",
    "classic-car", "color-run", "cows", "crossing", "dance-jump", "dance-twirl", "dancing", "disc-jockey",
    "dog", "dog-agility", "dog-gooses", "dogs-jump", "dogs-scale", "drift-chicane", "drift-straight",
    "drift-turn", "drone", "elephant", "flamingo", "goat", "gold-fish", "hike", "hockey", "horsejump-high",
    "horsejump-low", "india", "judo", "kid-football", "kite-surf", "kite-walk", "koala", "lab-coat",
    "lady-running", "libby", "lindy-hop", "loading", "longboard", "lucia", "mallard-fly", "mallard-water",
    "mbike-trick", "miami-surf", "motocross-bumps", "motocross-jump", "motorbike", "night-race",
    "paragliding", "paragliding-launch", "parkour", "pigs", "planes-water", "rallye", "rhino",
    "rollerblade", "schoolgirls", "scooter-black", "scooter-board", "scooter-gray", "sheep", "shooting",
    "skate-park", "snowboard", "soapbox", "soccerball", "stroller", "stunt", "surf", "swing", "tennis",
    "tractor-sand", "train", "tuk-tuk", "upside-down", "varanus-cage", "walking",
)  # fmt: skip
"""Sequences of DAVIS 2017, training and validation."""

MIDDLEBURY = (
    "Beanbags", "Dimetrodon", "DogDance", "Grove2", "Grove3", "Hydrangea", "MiniCooper", "RubberWhale",
    "Urban2", "Urban3", "Venus", "Walking",
)  # fmt: skip
"""Sequences of Middlebury OTHER."""

XIPH = (
    "BoxingPractice", "Crosswalk", "DrivingPOV", "FoodMarket", "FoodMarket2", "RitualDance",
    "SquareAndTimelapse", "Tango",
)  # fmt: skip
"""Netflix clips at Xiph; the benchmark of softmax splatting uses a hundred frames of each."""

SNUFILM = {"easy": 2, "medium": 4, "hard": 8, "extreme": 16}
"""Distance between two inputs of SNU-FILM, in frames, by difficulty."""

_MAX_NAMES = 5  # names in an error


def ucf101(path: Path) -> Benchmark:
    """UCF101 as cut for Quadratic Video Interpolation (Xu et al., 2019): 100 quintuplets.

    ValueError if there is no folder; FileNotFoundError names missing files.
    """
    sequences = tuple(
        _single(folder, [f"frame{number}.png" for number in range(4)], folder / "framet.png")
        for folder in _folders(path, "frame0.png to frame3.png and framet.png")
    )
    _all_there("ucf101", path, sequences)
    return _counted(Benchmark("ucf101", sequences), len(sequences), 100, "samples")


def ucf101_dvf(path: Path) -> Benchmark:
    """UCF101 as cut for Deep Voxel Flow (Liu et al., 2017): 379 triplets, used by CDFI.

    ``path`` is ucf101_interp_ours or the folder above it. FileNotFoundError names missing files.
    """
    names = [str(number) for number in range(1, 3791, 10)]
    home = _home(path, ("", "ucf101_interp_ours"), names)
    sequences = tuple(
        _single(home / name, ["frame_00.png", "frame_02.png"], home / name / "frame_01_gt.png")
        for name in names
    )
    _all_there("ucf101-dvf", home, sequences)
    return Benchmark("ucf101-dvf", sequences, two_frames=True)


def davis(path: Path) -> Benchmark:
    """DAVIS 2017 at 480p: every window that starts at an even frame, in each of 90 sequences.

    ``path`` holds the sequences, or is the root of DAVIS. FileNotFoundError names missing sequences and
    frames.
    """
    home = _home(path, ("", "JPEGImages/480p", "DAVIS/JPEGImages/480p", "480p"), DAVIS)
    missing = [name for name in DAVIS if not (home / name).is_dir()]
    _none_missing("davis", "sequences", home, missing, len(DAVIS))
    sequences = _windows("davis", home, DAVIS, "%05d.jpg", 0, lambda _: high_480)
    return Benchmark("davis", sequences, by_sequence=True)


def snufilm(difficulty: str, path: Path) -> Benchmark:
    """SNU-FILM (Choi et al., 2020): the triplets of a list, and the frames a step before and after each.

    Triplets at an end of a sequence, without a frame before or after them, are left out as in the official
    evaluation of ST-MFNet, and counted in the note. Frames are looked up below ``path``, ignoring the list's
    leading folders. FileNotFoundError names a missing list or frames, including outer frames inside a
    sequence; ValueError quotes a line of another form.
    """
    kind, step = f"snufilm-{difficulty}", SNUFILM[difficulty]
    triplets = [_triplet(path, line) for line in _lines(kind, path, (f"test-{difficulty}.txt", "eval_modes"))]
    names = short_names([truth.parent for _, truth, _ in triplets])
    numbers = {folder: _numbers(folder, ".png") for folder in names}
    by_folder: dict[Path, list[Files]] = {folder: [] for folder in names}
    for before, truth, after in triplets:
        folder, number = truth.parent, int(before.stem)
        outer = (number - step, number + 2 * step)
        there = numbers[folder]
        if there and not min(there) <= outer[0] < outer[1] <= max(there):
            continue
        first, last = (folder / f"{number:0{len(before.stem)}d}.png" for number in outer)
        by_folder[folder].append(Files(f"{names[folder]}/{truth.stem}", (first, before, after, last), truth))
    sequences = tuple(Stills(names[folder], tuple(files)) for folder, files in by_folder.items() if files)
    _all_there(kind, path, sequences)
    left_out = len(triplets) - sum(sequence.count for sequence in sequences)
    note = ""
    if left_out:
        note = f"{left_out} of {len(triplets)} triplets left out: no frame before or after them"
    return _counted(Benchmark(kind, sequences, note=note), len(triplets), 310, "triplets")


def vfitex(path: Path) -> Benchmark:
    """VFITex (Danier et al., 2022): every window that starts at an odd frame, in each of 20 textured videos.

    Videos with 4K in their name are centre-cropped to half the width and height. ValueError if there is no
    folder; FileNotFoundError names missing frames, from 001.png on.
    """
    names = [folder.name for folder in _folders(path, "001.png, 002.png, ...")]
    sequences = _windows(
        "vfitex", path, names, "%03d.png", 1, lambda name: middle if "4K" in name else as_it_is
    )
    return _counted(Benchmark("vfitex", sequences, by_sequence=True), len(sequences), 20, "sequences")


def vimeo(path: Path) -> Benchmark:
    """The test list of Vimeo-90K's septuplets (Xue et al., 2019): frames 1, 3, 5, 7 in, 4 out.

    A folder of septuplets is a sequence. FileNotFoundError names a missing list or frames.
    """
    by_folder: dict[str, list[Files]] = {}
    for line in _lines("vimeo", path, ("sep_testlist.txt", "")):
        folder = path / "sequences" / line
        files = Files(line, tuple(folder / f"im{number}.png" for number in (1, 3, 5, 7)), folder / "im4.png")
        by_folder.setdefault(line.partition("/")[0], []).append(files)
    sequences = tuple(Stills(name, tuple(files)) for name, files in by_folder.items())
    _all_there("vimeo", path, sequences)
    return _counted(Benchmark("vimeo", sequences), sum(s.count for s in sequences), 7824, "samples")


def middlebury(path: Path) -> Benchmark:
    """Middlebury OTHER (Baker et al., 2011): frames 10 and 11 of 12 sequences, and the frame between.

    ``path`` holds the contents of other-color-twoframes.zip (or -allframes.zip) and other-gt-interp.zip, or
    input/ and gt/ as for AdaCoF and CDFI. FileNotFoundError names missing files.
    """
    zips = ("other-color-twoframes", "other-color-allframes")
    inputs = ("other-data", *(f"{name}/other-data" for name in zips), *zips, "input")
    input_home = _home(path, inputs, MIDDLEBURY)
    truth = _home(path, ("other-gt-interp", "other-gt-interp/other-gt-interp", "gt"), MIDDLEBURY)
    sequences = tuple(
        _single(input_home / name, ["frame10.png", "frame11.png"], truth / name / "frame10i11.png")
        for name in MIDDLEBURY
    )
    _all_there("middlebury", path, sequences)
    return Benchmark("middlebury", sequences, two_frames=True)


def xiph(size: str, path: Path) -> Benchmark:
    """Eight Netflix clips of Xiph as in Softmax Splatting (Niklaus and Liu, 2020): even frames from 2 to 98.

    ``size`` "2k" downsamples the pictures by 2, "4k" takes their centre. ``path`` holds frames 001 to 100 of
    each clip as PNG files of 4096x2160 pixels. FileNotFoundError names missing files.
    """
    home = _home(path, ("", "netflix", "frames"), [f"{clip}-001.png" for clip in XIPH])
    fit = {"2k": halved_4k, "4k": middle_4k}[size]
    sequences = tuple(Stills(clip, _even_frames(home, clip), fit) for clip in XIPH)
    _all_there(f"xiph-{size}", home, sequences)
    return Benchmark(f"xiph-{size}", sequences, two_frames=True)


def high_480(pixels: Pixels) -> Pixels:
    """Check that a picture has 480 rows; ValueError otherwise, as for full resolution."""
    if pixels.shape[0] != 480:
        raise ValueError(f"expected 480 rows (DAVIS at 480p), got {_size(pixels)}")
    return pixels


def middle(pixels: Pixels) -> Pixels:
    """The centre of a picture, half as wide and high."""
    height, width = (length // 2 for length in pixels.shape[:2])
    top, left = (round((length - length // 2) / 2) for length in pixels.shape[:2])
    return pixels[top : top + height, left : left + width]


def middle_4k(pixels: Pixels) -> Pixels:
    """The centre of a picture of 4096x2160 pixels; ValueError for other sizes."""
    return middle(_of_4k(pixels))


def halved_4k(pixels: Pixels) -> Pixels:
    """A picture of 4096x2160 pixels, downsampled by 2; ValueError for other sizes."""
    return np.asarray(cv2.resize(_of_4k(pixels), (2048, 1080), interpolation=cv2.INTER_AREA), np.uint8)


def _of_4k(pixels: Pixels) -> Pixels:
    if pixels.shape[:2] != (2160, 4096):
        raise ValueError(f"expected 4096x2160 pixels, got {_size(pixels)}")
    return pixels


def _size(pixels: Pixels) -> str:
    return f"{pixels.shape[1]}x{pixels.shape[0]}"


def _single(folder: Path, inputs: Iterable[str], truth: Path) -> Stills:
    """A sequence of a single sample, named after the folder of its inputs."""
    files = Files(folder.name, _four([folder / name for name in inputs]), truth)
    return Stills(folder.name, (files,))


def _four(inputs: Sequence[Path]) -> tuple[Path, ...]:
    """Four frames unchanged, two frames each repeated."""
    return tuple(path for path in inputs for _ in range(len(INPUTS) // len(inputs)))


def _even_frames(home: Path, clip: str) -> tuple[Files, ...]:
    """Frames 2 to 98 of a Xiph clip, each between its neighbours."""
    frame = partial(_numbered, home, f"{clip}-%03d.png")
    return tuple(
        Files(f"{clip}/{n:03d}", _four([frame(n - 1), frame(n + 1)]), frame(n)) for n in range(2, 99, 2)
    )


def _numbered(folder: Path, pattern: str, number: int) -> Path:
    return folder / (pattern % number)


def _windows(
    kind: str, home: Path, names: Iterable[str], pattern: str, first: int, fit: Callable[[str], Fit]
) -> tuple[Stills, ...]:
    """Every second window of folders of frames, numbered from ``first``; FileNotFoundError for gaps."""
    sequences, missing, total = [], [], 0
    for name in names:
        frame = partial(_numbered, home / name, pattern)
        there = _numbers(home / name, Path(pattern).suffix)
        numbers = range(first, max(max(there, default=0) + 1, first + SPAN))
        missing += [f"{name}/{pattern % number}" for number in numbers if number not in there]
        total += len(numbers)
        files = (
            Files(
                f"{name}/{frame(start).stem}", tuple(frame(start + i) for i in INPUTS), frame(start + TRUTH)
            )
            for start in numbers[: 1 - SPAN : 2]
        )
        sequences.append(Stills(name, tuple(files), fit(name)))
    _none_missing(kind, "frames", home, missing, total)
    return tuple(sequences)


def _numbers(folder: Path, suffix: str) -> set[int]:
    """Numbers of the frames in a folder; empty if there is no folder."""
    files = folder.iterdir() if folder.is_dir() else ()
    return {int(file.stem) for file in files if file.suffix == suffix and file.stem.isdecimal()}


def _folders(path: Path, content: str) -> list[Path]:
    """The folders in a folder, in natural order."""
    if not path.is_dir():
        raise FileNotFoundError(f"no such folder: {path}")
    folders = [folder for folder in path.iterdir() if folder.is_dir() and not folder.name.startswith(".")]
    if not folders:
        raise ValueError(f"expected folders of {content} in {path}, found none")
    return sorted(folders, key=natural_key)


def _home(path: Path, below: Iterable[str], names: Sequence[str]) -> Path:
    """The first subfolder that contains one of the names, else the first one."""
    places = [path / place for place in below]
    return next((place for place in places if any((place / name).exists() for name in names)), places[0])


def _lines(kind: str, path: Path, location: tuple[str, str]) -> list[str]:
    """Read the non-empty lines of a list, by its name and a subfolder that may contain it.

    Raises:
        FileNotFoundError: there is no such list.
        ValueError: it is empty.

    """
    name, folder = location
    file = next((place for place in (path / name, path / folder / name) if place.is_file()), None)
    if file is None:
        raise FileNotFoundError(f"{kind}: no {name} in {path}")
    stripped = map(str.strip, file.read_text(encoding="utf-8", errors="surrogateescape").splitlines())
    if not (lines := [line for line in stripped if line]):
        raise ValueError(f"{kind}: {file} is empty")
    return lines


def _triplet(path: Path, line: str) -> tuple[Path, Path, Path]:
    """The files in a line of SNU-FILM's list, below ``path``; ValueError for a line of another form."""
    files = [PurePosixPath(name.lstrip("/")) for name in line.split()]
    if len(files) != 3 or len({file.parent for file in files}) != 1 or not files[0].stem.isdecimal():
        raise ValueError(f"expected three numbered frames of one folder in each line of the list, got {line}")
    parts = files[0].parent.parts
    places = [path.joinpath(*parts[left_off:]) for left_off in range(max(len(parts), 1))]
    folder = next((place for place in places if place.is_dir()), places[0])
    before, truth, after = (folder / file.name for file in files)
    return before, truth, after


def _all_there(kind: str, home: Path, sequences: Iterable[Stills]) -> None:
    """FileNotFoundError if files of sequences are missing."""
    paths = dict.fromkeys(path for sequence in sequences for files in sequence.files for path in files.paths)
    missing = [path.relative_to(home).as_posix() for path in paths if not path.is_file()]
    _none_missing(kind, "files", home, missing, len(paths))


def _none_missing(kind: str, unit: str, home: Path, missing: Sequence[str], total: int) -> None:
    if missing:
        names = ", ".join(missing[:_MAX_NAMES]) + (", ..." if len(missing) > _MAX_NAMES else "")
        raise FileNotFoundError(f"{kind}: {len(missing)} of {total} {unit} are missing in {home}: {names}")


def _counted(benchmark: Benchmark, count: int, published: int, unit: str) -> Benchmark:
    """Note it, and mark a benchmark as incomplete, if its number of items is not the published one."""
    if count == published:
        return benchmark
    note = f"{count} {unit} where {published} are published"
    return replace(benchmark, whole=False, note="; ".join(filter(None, (note, benchmark.note))))
