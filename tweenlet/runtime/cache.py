"""Cache: where tweenlet keeps what it makes once for this machine, compiled code and exported networks.

$XDG_CACHE_HOME/tweenlet or ~/.cache/tweenlet; where there is no such place, or it cannot be written or
trusted, a folder that lives as long as the process. All of it can be deleted at any time.

What is kept there is run. So the folder, and each file in it, has to be this user's, or root's, and nobody
else's to write.
"""

from __future__ import annotations

import atexit
import hashlib
import os
import stat
import tempfile
import warnings
from contextlib import suppress
from functools import cache
from pathlib import Path

from tweenlet.runtime.atomic import Partial


def folder(room: str = "") -> Path:
    """The cache, or a folder of that name in it, which is there and can be written."""
    try:
        home = _place()
    except RuntimeError as error:
        return _spare(str(error), room)
    for place in dict.fromkeys((home, home / room)):
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.mkdir(mode=0o700, exist_ok=True)
            _tighten(place)
        except OSError as error:
            return _spare(f"{error.strerror}: {place}", room)
        if not _is_ours(place):
            return _spare(f"{place} is another user's, or others can write into it", room)
        if not os.access(place, os.W_OK):
            return _spare(f"{place} cannot be written", room)
    return home / room


def kept(name: str) -> Path | None:
    """The file of that name in the cache, be it one that can only be read; None for none to be trusted.

    One that is missing or damaged, or that others could have written, is to be written in :func:`folder`.
    """
    places = [_own_folder()] if _own_folder.cache_info().currsize else []
    with suppress(RuntimeError):
        places.append(_place())
    for file in (place / name for place in places):
        if file.is_file() and all(map(_is_ours, (file, *file.parents[: name.count("/") + 1]))):
            return file
    return None


@cache
def code_digest() -> str:
    """A fingerprint of the package's own Python: what one version of it made another may make differently."""
    home = Path(__file__).parents[1]
    total = hashlib.sha256()
    for file in sorted(home.rglob("*.py")):
        total.update(f"{file.relative_to(home)}\n".encode() + file.read_bytes())
    return total.hexdigest()[:16]


def _place() -> Path:
    """Where the cache should be. RuntimeError where this user has no home."""
    home = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(home) if Path(home).is_absolute() else Path("~/.cache").expanduser()) / "tweenlet"


def _is_ours(path: Path) -> bool:
    """Whether only this user, or root, can have written a file or folder, and a link that leads there."""
    try:
        states = path.lstat(), path.stat()
    except OSError:
        return False
    trusted = os.geteuid(), 0
    return states[1].st_mode & (stat.S_IWGRP | stat.S_IWOTH) == 0 and all(s.st_uid in trusted for s in states)


def _tighten(place: Path) -> None:
    """Take from others the right to write into a folder of this user's, as a umask of 002 leaves it."""
    state = place.stat()
    if state.st_uid == os.geteuid() and state.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        place.chmod(stat.S_IMODE(state.st_mode) & ~(stat.S_IWGRP | stat.S_IWOTH))


def _spare(reason: str, room: str) -> Path:
    """A folder of this process, or one in it; a warning the first time."""
    if not _own_folder.cache_info().currsize:
        warnings.warn(f"no cache on the disk, so this run makes anew what it needs: {reason}", stacklevel=3)
    place = _own_folder() / room
    place.mkdir(mode=0o700, exist_ok=True)
    return place


@cache
def _own_folder() -> Path:
    """A folder that ends with this process; where that is killed, the next one removes it."""
    partial = Partial(Path(tempfile.gettempdir(), f"tweenlet-{os.geteuid()}"), folder=True, shared=True)
    partial.path.chmod(0o700)
    atexit.register(partial.discard)
    return partial.path
