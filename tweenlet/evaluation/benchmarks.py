"""Benchmarks: the known data sets, and any folder of clips, as lists of samples. Nothing is scored here.

    "davis:PATH" ──> davis(PATH) ──> all there? ──> Benchmark ──> sequences ──> samples
                                        └──> what is missing, by name

:data:`KINDS` tells what each kind looks for. No picture is opened before its sample is asked for.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from tweenlet.evaluation.clips import clips
from tweenlet.evaluation.datasets import (
    SNUFILM,
    davis,
    middlebury,
    snufilm,
    ucf101,
    ucf101_dvf,
    vfitex,
    vimeo,
    xiph,
)
from tweenlet.evaluation.lists import Progress, listed, shipped
from tweenlet.evaluation.samples import Benchmark


def benchmark(
    name: str,
    part: str = "1/1",
    *,
    footage: Path | None = None,
    download: bool = False,
    progress: Progress | None = None,
) -> Benchmark:
    """A benchmark by its kind and place, as ``davis:FOLDER``, or by a list of clips, ``FILE.json``.

    Args:
        name: one of these; a list that comes with the package by its name alone.
        part: 2/3 is the second of every three samples.
        footage: for a list, as the two below: :func:`~tweenlet.evaluation.lists.listed`.
        download: whether to fetch its clips.
        progress: told while one is fetched.

    Raises:
        ValueError: for what is not understood.
        FileNotFoundError: for what is not there.

    """
    match = re.fullmatch(r"(\d+)/(\d+)", part)
    if match is None:
        raise ValueError(f"expected a part such as 1/3, got {part}")
    if name.endswith(".json") and name.partition(":")[0] not in KINDS:
        found = listed(_list(name), footage, download, progress)
    else:
        found = _by_kind(name)
    return found if part == "1/1" else found.part(int(match[1]), int(match[2]))


def _list(name: str) -> Path:
    """The file of a list; FileNotFoundError for none."""
    path = Path(name).expanduser()
    if path.is_file():
        return path
    if name in shipped():
        return shipped()[name]
    raise FileNotFoundError(f"no such list: {name}; the package has {', '.join(shipped())}")


def _by_kind(name: str) -> Benchmark:
    kind, _, path = name.partition(":")
    if kind not in KINDS or not path:
        expected = f"expected a benchmark as KIND:PATH or a list of clips as FILE.json, got {name}"
        raise ValueError(f"{expected}; the kinds are\n{kinds()}")
    place = Path(path).expanduser()
    if not place.exists():
        raise FileNotFoundError(f"no such file or folder: {path}")
    return KINDS[kind].build(place)


def kinds() -> str:
    """A line for each kind: what it looks for at its path, the frames given, and what its mean is over."""
    return "\n".join(
        f"  {f'{name}:PATH':<20} {kind.files} ({kind.frames} frames, mean of {kind.mean})"
        for name, kind in KINDS.items()
    )


class Kind(NamedTuple):
    """A kind of benchmark: how it is made from a path, and what it looks for there."""

    build: Callable[[Path], Benchmark]
    files: str
    frames: int
    """How many a method is given: 4, or 2, repeated."""
    mean: str
    """What the mean is taken over: samples, or sequences of which each has its mean."""


KINDS = {
    "ucf101": Kind(ucf101, "100 folders of frame0.png to frame3.png, framet.png", 4, "samples"),
    "ucf101-dvf": Kind(ucf101_dvf, "379 folders of frame_00, frame_02, frame_01_gt.png", 2, "samples"),
    "davis": Kind(davis, "90 folders of 00000.jpg ... at 480p, or the root of DAVIS", 4, "sequences"),
    **{
        f"snufilm-{name}": Kind(partial(snufilm, name), f"test-{name}.txt and the frames in it", 4, "samples")
        for name in SNUFILM
    },
    "vfitex": Kind(vfitex, "20 folders of 001.png ...", 4, "sequences"),
    "vimeo": Kind(vimeo, "sep_testlist.txt, and sequences/ with septuplets", 4, "samples"),
    "middlebury": Kind(middlebury, "other-data/ and other-gt-interp/ with 12 sequences", 2, "samples"),
    "xiph-2k": Kind(partial(xiph, "2k"), "8 clips as Tango-001.png ..., to be halved", 2, "samples"),
    "xiph-4k": Kind(partial(xiph, "4k"), "8 clips as Tango-001.png ..., to be cropped", 2, "samples"),
    "clips": Kind(clips, "any videos and folders of frames, or one of them", 4, "samples"),
}
