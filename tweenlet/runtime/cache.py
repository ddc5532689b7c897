"""Cache: the folder for files computed once per machine, such as compiled code and exported networks.

It is $XDG_CACHE_HOME/tweenlet or ~/.cache/tweenlet, on Windows %LOCALAPPDATA%/tweenlet. If there is no such
folder, or it cannot be written or trusted, a temporary folder is used that lives as long as the process. All
of it can be deleted at any time.

Files in the cache are executed. So the folder and each file in it must belong to this user or root, and be
writable by nobody else. Windows does not tell that by modes: a user's own folders are closed to others there.
"""

from __future__ import annotations

import atexit
import hashlib
import os
import stat
import sys
import tempfile
import warnings
from contextlib import suppress
from functools import cache
from pathlib import Path

from tweenlet.runtime.atomic import Partial
from tweenlet.runtime.folders import BY_EFFECTIVE_USER

_OTHERS_WRITE = 0 if sys.platform == "win32" else stat.S_IWGRP | stat.S_IWOTH
_user_id = getattr(os, "geteuid", lambda: 0)  # Windows has none, and says 0 for the owner of any file


def cache_folder(subfolder: str = "") -> Path:
    """Return the cache folder, or a subfolder of it, created if necessary and writable.

    Falls back to a temporary folder, with a warning, if the cache cannot be written or trusted.
    """
    try:
        home = _default_folder()
    except RuntimeError as error:
        return _fall_back(str(error), subfolder)
    for folder in dict.fromkeys((home, home / subfolder)):
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            folder.mkdir(mode=0o700, exist_ok=True)
            _revoke_group_write(folder)
        except OSError as error:
            return _fall_back(f"{error.strerror}: {folder}", subfolder)
        if not _is_ours(folder):
            return _fall_back(f"{folder} is another user's, or others can write into it", subfolder)
        if not os.access(folder, os.W_OK, effective_ids=BY_EFFECTIVE_USER):
            return _fall_back(f"{folder} cannot be written", subfolder)
    return home / subfolder


def cached_file(name: str) -> Path | None:
    """Look up a file in the cache, even a read-only one; None if there is none that can be trusted.

    A file that is missing or damaged, or that others could have written, must be rebuilt in
    :func:`cache_folder`.
    """
    folders = [_temporary_folder()] if _temporary_folder.cache_info().currsize else []
    with suppress(RuntimeError):
        folders.append(_default_folder())
    for file in (folder / name for folder in folders):
        if file.is_file() and all(map(_is_ours, (file, *file.parents[: name.count("/") + 1]))):
            return file
    return None


@cache
def source_hash() -> str:
    """Hash the package's Python sources (16 hex digits): cached results are valid for one version."""
    home = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for file in sorted(home.rglob("*.py")):
        digest.update(f"{file.relative_to(home)}\n".encode() + file.read_bytes())
    return digest.hexdigest()[:16]


def _default_folder() -> Path:
    """Where the cache should be. Raises RuntimeError for a user without a home."""
    home = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA", "")
    return (Path(home) if Path(home).is_absolute() else Path("~/.cache").expanduser()) / "tweenlet"


def _is_ours(path: Path) -> bool:
    """Whether a file or folder, and any symlink to it, can only have been written by this user or root."""
    try:
        states = path.lstat(), path.stat()
    except OSError:
        return False
    trusted = _user_id(), 0
    return states[1].st_mode & _OTHERS_WRITE == 0 and all(s.st_uid in trusted for s in states)


def _revoke_group_write(folder: Path) -> None:
    """Remove write permission for group and others, which a umask of 002 grants, from this user's folder."""
    state = folder.stat()
    if state.st_uid == _user_id() and state.st_mode & _OTHERS_WRITE:
        folder.chmod(stat.S_IMODE(state.st_mode) & ~_OTHERS_WRITE)


def _fall_back(reason: str, subfolder: str) -> Path:
    """Use a temporary folder instead; warns the first time."""
    if not _temporary_folder.cache_info().currsize:
        warnings.warn(f"no cache on disk, so this run rebuilds what it needs: {reason}", stacklevel=3)
    folder = _temporary_folder() / subfolder
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


@cache
def _temporary_folder() -> Path:
    """A folder removed when this process exits; if it is killed, the next process removes it."""
    partial = Partial(Path(tempfile.gettempdir(), f"tweenlet-{_user_id()}"), folder=True, shared=True)
    partial.path.chmod(0o700)
    atexit.register(partial.discard)
    return partial.path
