"""Lists: clips that anyone can get, each by URL and SHA-256, with the windows that count.

    clips9.json ──> ClipList ──> each file:  in the cache? ─────────────┐
                                             among one's own, by hash? ─┼─> verified ──> Clip ──> Benchmark
                                             fetched, where asked for ──┘

    {"name": "two", "clips": [
        {"name": "a.mp4", "url": "https://...", "sha256": "...", "bytes": 123, "windows": [0, 8],
         "licence": "CC0-1.0", "attribution": "..."},
        {"name": "b", "url": "https://.../b/", "frames": {"000.jpg": "...", "001.jpg": "..."},
         "windows": 12, ...}
    ]}

A clip is one file, or a folder of frames with a hash for each. Where a hash is null the clip is not pinned:
it is used as it is, and the report says so. Windows are first frame numbers; a whole number means so many,
spread evenly over those that `tweenlet compare` would take. ``scripts/pin_clips.py`` fills in both.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from http.client import HTTPException
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import unquote, urlsplit
from urllib.request import Request, urlopen

from tweenlet.evaluation.compare import hide_frames
from tweenlet.evaluation.samples import Benchmark, Clip
from tweenlet.runtime.atomic import atomic_write
from tweenlet.runtime.cache import cache_folder
from tweenlet.runtime.folders import claim_folder
from tweenlet.runtime.json_file import read_json

Progress = Callable[[int, int | None], None]
"""Told how many bytes of a file are there, and of how many (None if the server does not say)."""

_CHUNK = 1 << 20
_TIMEOUT = 60.0
"""Seconds without a byte after which a server is given up."""


@dataclass(frozen=True)
class ListedFile:
    """One file of a list."""

    url: str
    sha256: str | None
    """In hexadecimal digits; None where it is not pinned."""
    size: int | None = None
    """In bytes, if the list tells."""

    @property
    def name(self) -> str:
        """What the file is called on disk."""
        return unquote(urlsplit(self.url).path).rpartition("/")[2]


@dataclass(frozen=True)
class ListedClip:
    """One clip of a list."""

    name: str
    files: tuple[ListedFile, ...]
    """The video, or the frames in the order of their names."""
    windows: tuple[int, ...] | int
    licence: str
    attribution: str
    frames: bool = False
    """Whether it is a folder of frames."""

    @property
    def pinned(self) -> bool:
        """Whether the list tells the hash of every file."""
        return all(file.sha256 for file in self.files)

    @property
    def source(self) -> str:
        """Where it comes from and whose it is, in a line."""
        url = self.files[0].url.rpartition("/")[0] + "/" if self.frames else self.files[0].url
        return f"{self.name}: {self.attribution}, {self.licence}, {url}"

    @property
    def folder(self) -> Path:
        """Where its files lie in the cache."""
        urls = "\n".join(file.url for file in self.files)
        return cache_folder() / "clips" / hashlib.sha256(urls.encode()).hexdigest()[:16]

    def path_in(self, places: Sequence[Path]) -> Path:
        """The video, or the folder of its frames, given where its files are."""
        return places[0].parent if self.frames else places[0]


@dataclass(frozen=True)
class ClipList:
    """What a list says."""

    name: str
    clips: tuple[ListedClip, ...]

    @classmethod
    def read(cls, path: Path) -> ClipList:
        """A list from its file; ValueError, naming file and clip, for what is no list."""
        values = read_json(path)
        try:
            name, entries = str(values["name"]), list(values["clips"])
        except (KeyError, TypeError) as error:
            raise ValueError(f'expected {{"name": ..., "clips": [...]}} in {path}: {error!r}') from error
        clips = tuple(_clip(path, number, entry) for number, entry in enumerate(entries, 1))
        if not clips:
            raise ValueError(f"expected clips in {path}, got none")
        return cls(name, clips)


def bundled_lists() -> dict[str, Path]:
    """Lists included in the package, by file name."""
    folder = Path(str(files("tweenlet.evaluation"))) / "lists"
    return {path.name: path for path in sorted(folder.glob("*.json"))}


def open_clip_list(
    path: Path, footage: Path | None = None, download: bool = False, progress: Progress | None = None
) -> Benchmark:
    """Open the clips of a list as a benchmark.

    Args:
        path: the list, a JSON file.
        footage: folder in which to look for files by their hash, or by name if the list has no hash.
        download: download missing files; a partial download is resumed.
        progress: called while a file is downloaded.

    Raises:
        ValueError: the file is not a list, a clip has another hash, or a clip has no usable window.
        FileNotFoundError: clips are missing and ``download`` is False; the message names them.
        OSError: a file cannot be downloaded or written.

    """
    clip_list = ClipList.read(path)
    own = Footage(footage)
    places = {clip.name: locate_files(clip, own, download, progress) for clip in clip_list.clips}
    if missing := [clip for clip in clip_list.clips if places[clip.name] is None]:
        raise FileNotFoundError(_wanting(path, missing))
    clips = [_with_windows(clip, clip.path_in(places[clip.name] or ())) for clip in clip_list.clips]
    unpinned = [clip.name for clip in clip_list.clips if not clip.pinned]
    note = (
        f"not pinned by a hash, so that others may have other files: {', '.join(unpinned)}"
        if unpinned
        else ""
    )
    return Benchmark(
        clip_list.name, tuple(clips), note=note, sources=tuple(clip.source for clip in clip_list.clips)
    )


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fetch(file: ListedFile, target: Path, progress: Progress | None = None) -> None:
    """Download a file to ``target``, going on where an earlier try ended.

    Raises:
        ValueError: where what came has another hash; it is deleted.
        OSError: where it cannot be fetched or written, or another process is fetching into that folder.

    """
    partial = target.with_name(f"{target.name}.part")
    with claim_folder(target.parent):
        with partial.open("ab") as output:
            _receive(file.url, output, progress)
        if file.sha256 and (got := sha256_of(partial)) != file.sha256:
            partial.unlink()
            raise ValueError(f"{file.url} does not match the list: expected SHA-256 {file.sha256}, got {got}")
        partial.replace(target)


def _receive(url: str, output: Any, progress: Progress | None) -> None:
    """Write what is not there yet of a URL; OSError, naming it, where that fails."""
    have = output.tell()
    headers = {"User-Agent": f"tweenlet/{version('tweenlet')}"}
    if have:
        headers["Range"] = f"bytes={have}-"
    try:
        with urlopen(Request(url, headers=headers), timeout=_TIMEOUT) as answer:
            if answer.status != 206:  # the server starts over
                have = 0
                output.truncate(0)
            length = answer.headers.get("Content-Length")
            total = have + int(length) if length else None
            while chunk := answer.read(_CHUNK):
                output.write(chunk)
                have += len(chunk)
                if progress is not None:
                    progress(have, total)
    except (OSError, HTTPException) as error:
        if isinstance(error, HTTPError) and error.code == 416:  # nothing follows what is there
            output.truncate(0)
        raise OSError(f"cannot fetch {url}: {error}; try again") from error
    if total is not None and have < total:
        raise OSError(f"cannot fetch {url}: it ended after {have:,} of {total:,} bytes; try again")


class Footage:
    """Files of the user, looked up by hash."""

    def __init__(self, folder: Path | None) -> None:
        if folder is not None and not folder.is_dir():
            raise FileNotFoundError(f"no such folder: {folder}")
        self._folder = folder
        self._hashes: dict[Path, str] = {}

    def find(self, file: ListedFile) -> Path | None:
        """Find a file by hash or, if the list has none, by name."""
        suffix = Path(file.name).suffix.lower()
        for path in self._paths:
            if file.sha256 is None:
                if path.name == file.name:
                    return path
            elif path.suffix.lower() == suffix and file.size in (None, path.stat().st_size):
                if path not in self._hashes:
                    self._hashes[path] = sha256_of(path)
                if self._hashes[path] == file.sha256:
                    return path
        return None

    @cached_property
    def _paths(self) -> tuple[Path, ...]:
        candidates: Iterator[Path] = self._folder.rglob("*") if self._folder else iter(())
        return tuple(sorted(path for path in candidates if path.is_file()))


def locate_files(
    clip: ListedClip, own: Footage, download: bool = False, progress: Progress | None = None
) -> tuple[Path, ...] | None:
    """Find the files of a clip; None if one is missing. Frames are collected in the cache.

    Errors as :func:`open_clip_list`.
    """
    paths = []
    for file in clip.files:
        target = clip.folder / file.name
        if target.exists():
            _verify(target, file)
        elif (mine := own.find(file)) and clip.frames:
            target.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(target, shared=True) as partial:
                shutil.copyfile(mine, partial)
        elif mine:
            target = mine
        elif download:
            fetch(file, target, progress)
        else:
            return None
        paths.append(target)
    return tuple(paths)


def _verify(path: Path, file: ListedFile) -> None:
    if file.sha256 and (got := sha256_of(path)) != file.sha256:
        expected = f"expected SHA-256 {file.sha256}, got {got}"
        raise ValueError(f"{path} does not match the list: {expected}; delete it to download it again")


def _wanting(path: Path, missing: Sequence[ListedClip]) -> str:
    """Error message for missing clips."""
    sizes = [file.size for clip in missing for file in clip.files]
    stated = [size for size in sizes if size is not None]
    size = f" ({sum(stated) / 1e6:,.0f} MB)" if len(stated) == len(sizes) else ""
    names = ", ".join(clip.name for clip in missing)
    return (
        f"{path.name} names {len(missing)} clips that are not here: {names}; --download fetches them{size}, "
        "--footage FOLDER looks for them in a folder"
    )


def _with_windows(clip: ListedClip, path: Path) -> Clip:
    if isinstance(clip.windows, int):
        (chosen,) = hide_frames(path, clip.windows).benchmark.sequences
        assert isinstance(chosen, Clip)
        return Clip(path, chosen.windows, clip.name)
    return Clip(path, clip.windows, clip.name)


def _clip(path: Path, number: int, entry: Any) -> ListedClip:
    """A clip of a list; ValueError saying which one and what is the matter."""
    try:
        windows = entry["windows"]
        windows = _whole(windows) if isinstance(windows, int) else tuple(map(_whole, windows))
        return ListedClip(
            str(entry["name"]), _files(entry), windows, str(entry["licence"]), str(entry["attribution"]),
            "frames" in entry,
        )  # fmt: skip
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else error
        raise ValueError(f"clip {number} of {path} cannot be used: {reason}") from error


def _files(entry: Mapping[str, Any]) -> tuple[ListedFile, ...]:
    url = str(entry["url"])
    if urlsplit(url).scheme not in ("http", "https"):
        raise ValueError(f"expected a URL of http or https, got {url}")
    if "frames" not in entry:
        single = ListedFile(url, _hash(entry["sha256"]), entry.get("bytes"))
        if single.name in ("", ".", ".."):
            raise ValueError(f"expected the URL of a file, got {url}")
        return (single,)
    names = sorted(entry["frames"])
    if not url.endswith("/") or not names or any("/" in name or name.startswith(".") for name in names):
        raise ValueError(f"expected names of frames and a URL that ends in / for them, got {url}")
    return tuple(ListedFile(url + name, _hash(entry["frames"][name])) for name in names)


def _hash(value: Any) -> str | None:
    if value is None:
        return None
    digits = str(value).lower()
    if len(digits) != 64 or set(digits) - set("0123456789abcdef"):
        raise ValueError(f"expected a SHA-256 of 64 digits or null, got {value}")
    return digits


def _whole(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"expected frame numbers, or how many, for windows; got {value!r}")
    return value
