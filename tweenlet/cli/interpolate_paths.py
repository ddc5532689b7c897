"""Paths of interpolate: the videos to read, and the default name of each output."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from tweenlet.cli.interpolate_options import RateOptions, TimeOptions


def find_target(paths: list[str], suffix: str) -> tuple[Any, str]:
    """Split the paths of `interpolate` into (one source or a list of images, the target).

    The default target is the source's name with the suffix: clip.2x.mp4, frames-2x; or clip.2x.mkv if the
    source's container cannot be written.
    """
    from tweenlet.video.container import is_url
    from tweenlet.video.images import is_glob, is_image

    if urls := [path for path in paths[1:] if is_url(path)]:
        raise ValueError(f"only IN may be a URL, with OUT on this machine (or --out-dir); got {urls[0]}")
    images = [is_image(Path(p)) and "%" not in p for p in paths]
    if len(paths) in (2, 3) and all(images):
        first = Path(paths[0])
        return paths[:2], paths[2] if len(paths) == 3 else str(first.with_stem(f"{first.stem}.between"))
    if len(paths) > 2:
        if not all(images[:-1]) or images[-1]:
            raise ValueError(
                "expected IN [OUT], images and a folder or video to write, or videos and --out-dir; "
                f"got {len(paths)} paths"
            )
        return paths[:-1], paths[-1]
    if len(paths) == 2:
        return paths[0], paths[1]
    if paths[0] == "-":
        return "-", "-"
    if is_url(paths[0]):
        raise ValueError("say where the frames of a URL go: tweenlet interpolate https://... OUT")
    place = Path(paths[0])
    if is_glob(place):
        raise ValueError("say where the frames of a glob go: tweenlet interpolate 'frames/*.png' OUT")
    suffix = suffix.replace(".", "_").replace("/", "_")
    if place.is_dir():
        return paths[0], str(place.resolve().with_name(f"{place.resolve().name}-{suffix}"))
    return paths[0], str(name_in(place.parent, paths[0], f".{suffix}"))


def expand(sources: Sequence[str]) -> Iterator[str]:
    """The videos among names, globs and folders."""
    from tweenlet.video.container import is_url
    from tweenlet.video.images import is_glob
    from tweenlet.video.suffixes import VIDEOS

    for source in sources:
        path = Path(source)
        if not is_url(source) and (is_glob(path) or path.is_dir()):
            files = path.iterdir() if path.is_dir() else path.parent.glob(path.name)
            videos = sorted(str(file) for file in files if file.suffix.lower() in VIDEOS)
            if not videos:
                raise ValueError(f"{source} holds no videos")
            yield from videos
        else:
            yield source


def name_in(folder: Path, source: str, suffix: str) -> Path:
    """The output of a source in a folder: the source's name, as .mkv if its container cannot be written."""
    from tweenlet.video.codecs import KINDS
    from tweenlet.video.container import is_url

    path = Path("stdin" if source == "-" else source)
    if is_url(source):
        address = urlsplit(source)
        path = Path(unquote(address.path).strip("/") or address.netloc)
    kind = path.suffix if path.suffix.lower() in KINDS else ".mkv"
    return folder / f"{path.stem}{suffix}{kind}"


def suffix_of(rate: RateOptions, times: TimeOptions) -> str:
    """The suffix of an output's name: 2x, slow4, retimed, ..."""
    pace = f"slow{times.slow}" if times.slow else "retimed" if times.speed else ""
    kind = "remade" if times.replace else "blurred" if times.shutter else "2x"
    density = f"{rate.factor}x" if rate.factor else f"{rate.fps}fps" if rate.fps else kind
    return pace or density
