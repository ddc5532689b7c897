"""Clips: the user's own videos and folders of frames as a benchmark."""

from __future__ import annotations

import sys
from operator import index
from pathlib import Path

from tweenlet.evaluation.samples import SPAN, Benchmark, Clip, short_names
from tweenlet.runtime.json_file import read_json
from tweenlet.video.images import is_image
from tweenlet.video.suffixes import is_video

WINDOWS_FILE = "eval_windows.json"
"""File that fixes the windows of clips: {"windows": {path relative to this file: [first frame numbers]}}."""


def clips(path: Path) -> Benchmark:
    """Every clip of a folder, or a single clip; named after the number of clips, such as "clips9".

    ``eval_windows.json`` in or beside the folder fixes clips and windows. Without it, every video and folder
    of frames counts, and a window starts at every second frame, as in the paper for DAVIS. FileNotFoundError
    names missing files; ValueError if there is no clip.
    """
    if not path.exists():
        raise FileNotFoundError(f"no such folder of clips or video: {path}")
    selected = _listed(path) or [Clip(clip, range(0, sys.maxsize, 2)) for clip in _clip_paths(path)]
    if not selected:
        raise ValueError(f"expected videos or folders of frames in {path}, found none")
    return Benchmark(f"clips{len(selected)}", tuple(selected))


def _listed(path: Path) -> list[Clip]:
    """The clips at or under ``path`` named in a windows file, in its order."""
    for folder in (path, path.parent):
        file = folder / WINDOWS_FILE
        if not file.is_file():
            continue
        try:
            windows: dict[str, list[int]] = read_json(file)["windows"]
            starts = {folder / clip: tuple(sorted(set(map(index, own)))) for clip, own in windows.items()}
            named = [Clip(clip, starts[clip], name) for clip, name in short_names(starts).items()]
            selected = [clip for clip in named if clip.path.resolve().is_relative_to(path.resolve())]
            missing = [str(clip.path) for clip in selected if not clip.path.exists()]
        except (OSError, OverflowError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f'expected {{"windows": {{clip: [frame numbers]}}}} in {file}') from error
        if missing:
            raise FileNotFoundError(f"{file} names clips that are not there: {', '.join(missing)}")
        return selected
    return []


def _clip_paths(path: Path) -> list[Path]:
    """``path`` itself if it is a clip, else the clips in it, by name."""
    if path.is_file():
        return [path]
    inside = [file for file in sorted(path.iterdir()) if is_video(file) or _holds_frames(file)]
    images = sum(map(is_image, path.iterdir()))
    return [path, *inside] if images >= SPAN or (images and not inside) else inside


def _holds_frames(path: Path) -> bool:
    return path.is_dir() and any(map(is_image, path.iterdir()))
