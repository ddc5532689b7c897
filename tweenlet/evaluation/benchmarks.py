"""Benchmarks: open a data set, a list of clips or any folder of clips by name. Nothing is scored here.

    "davis:PATH" ──> davis(PATH) ──> all there? ──> Benchmark ──> sequences ──> samples
                                        └──> what is missing, by name

:data:`KINDS` describes the files of each kind. No picture is opened before its sample is read.
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
from tweenlet.evaluation.lists import Progress, bundled_lists, open_clip_list
from tweenlet.evaluation.samples import Benchmark


def benchmark(
    name: str,
    subset: str = "1/1",
    *,
    footage: Path | None = None,
    download: bool = False,
    progress: Progress | None = None,
) -> Benchmark:
    """Open a benchmark.

    Args:
        name: kind and folder, such as ``davis:FOLDER``, or a list of clips ``FILE.json``; lists included in
            the package go by their name alone.
        subset: 2/3 is the second of every three samples.
        footage: for a list, as in :func:`~tweenlet.evaluation.lists.open_clip_list`.
        download: for a list, as in :func:`~tweenlet.evaluation.lists.open_clip_list`.
        progress: for a list, as in :func:`~tweenlet.evaluation.lists.open_clip_list`.

    Raises:
        ValueError: the name or subset is not understood.
        FileNotFoundError: there is no such file or folder.

    """
    match = re.fullmatch(r"(\d+)/(\d+)", subset)
    if match is None:
        raise ValueError(f"expected a subset such as 1/3, got {subset}")
    if name.endswith(".json") and name.partition(":")[0] not in KINDS:
        dataset = open_clip_list(_list(name), footage, download, progress)
    else:
        dataset = _by_kind(name)
    return dataset if subset == "1/1" else dataset.part(int(match[1]), int(match[2]))


def _list(name: str) -> Path:
    """Find a list. Raises FileNotFoundError if there is none."""
    path = Path(name).expanduser()
    if path.is_file():
        return path
    if name in bundled_lists():
        return bundled_lists()[name]
    raise FileNotFoundError(f"no such list: {name}; the package has {', '.join(bundled_lists())}")


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
    """Describe the kinds, one line each: expected files, input frames, and what the mean is taken over."""
    return "\n".join(
        f"  {f'{name}:PATH':<20} {kind.files} ({kind.frames} frames, mean of {kind.mean})"
        for name, kind in KINDS.items()
    )


class Kind(NamedTuple):
    """A kind of benchmark."""

    build: Callable[[Path], Benchmark]
    files: str
    frames: int
    """Number of input frames: 4, or 2, which are repeated."""
    mean: str
    """Items of the mean: samples, or the means of sequences."""


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
