"""Atomic: output files and folders that appear complete or not at all, however a process ends.

    Partial: .NAME.TOKEN.partial.SUFFIX, locked ── commit ──> NAME
                                         └────── discard ──> removed

The temporary name is in the same folder as the final one, short enough for any file system and unpredictable,
and it is opened exclusively: no symlink is followed and no two runs share it. It is locked while its run
lives. So a second run with the same output notices the first one, and the next run in that folder removes
what a killed run left behind. The token carries a checksum of the name, and a folder carries a marker file:
anything without them was not written by this program and is never removed.
"""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import shutil
import stat
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from tweenlet.runtime.folders import MARK, MARK_TEXT, create_file, final_path
from tweenlet.runtime.locks import NO_LINK, OPEN_FILES_MOVE, lock

_STEM = 60
"""Bytes of the final name repeated in the temporary one: some file systems allow 143 bytes in all."""
_SUFFIX = 12
_WAIT = 2.0
"""Seconds to wait for other runs starting in the same folder; each takes milliseconds."""


class Partial:
    """A locked file or folder under a temporary name beside its target.

    End it with :meth:`commit` or :meth:`discard`.

    Args:
        target: the final path; where it is a symlink to a file, that file is written.
        folder: make a folder instead of a file.
        shared: other runs may write the same target at the same time, and the last one wins.

    Raises:
        BlockingIOError: another run is writing the target.
        IsADirectoryError, FileExistsError: the target exists and is of another kind.
        OSError: the folder cannot be written.

    """

    def __init__(self, target: Path, *, folder: bool = False, shared: bool = False) -> None:
        self.target = target.absolute() if folder else final_path(target)
        self._folder = folder
        _check_kind(target, folder)
        with _lock_folder(self.target.parent) as alone:
            if alone:
                for other in _partials(self.target.parent):
                    if (
                        not _remove_stale(other)
                        and not shared
                        and _target_key(other.name) == _key(self.target.name)
                    ):
                        raise BlockingIOError(
                            f"another run is writing {target}: wait for it, or name another output"
                        )
            self.path, self._lock = self._create()

    def _create(self) -> tuple[Path, int]:
        while True:
            path = self.target.with_name(_partial_name(self.target.name))
            with suppress(FileExistsError):
                if self._folder:
                    path.mkdir()
                handle = create_file(path / MARK if self._folder else path)
                if self._folder:
                    os.write(handle, MARK_TEXT.encode())
                lock(handle)
                return path, handle

    def commit(self, marked: bool = True) -> None:
        """Flush to disk and rename to the target. A folder replaces an empty one only.

        ``marked``: whether a folder keeps its marker file.
        """
        self.flush()
        if OPEN_FILES_MOVE:
            self._move(marked)
            self._close()
        else:  # the folder stays locked meanwhile: nobody takes this for what a killed run left
            with _lock_folder(self.target.parent):
                self._close()
                self._move(marked)

    def flush(self) -> None:
        """Wait until the file, or every file of the folder, is on disk; OSError if that fails."""
        for file in filter(Path.is_file, self.path.rglob("*")) if self._folder else (self.path,):
            _flush(file)

    def _move(self, marked: bool) -> None:
        if self._folder and not marked:
            (self.path / MARK).unlink()
        if self._folder and not OPEN_FILES_MOVE and self.target.exists():
            self.target.rmdir()  # which fails unless it is empty
        end = time.monotonic() + _WAIT
        while True:
            try:
                self.path.replace(self.target)
                return
            except PermissionError:  # Windows: while anybody has the target open
                if OPEN_FILES_MOVE or time.monotonic() > end:
                    raise
                time.sleep(0.01)

    def discard(self) -> None:
        """Remove it; does nothing after :meth:`commit`. On Windows what is open is left to the next run."""
        if self._lock < 0:
            return
        if not OPEN_FILES_MOVE:
            self._close()
        if self._folder:
            shutil.rmtree(self.path, ignore_errors=True)
        else:
            with suppress(PermissionError):
                self.path.unlink(missing_ok=True)
        self._close()

    def _close(self) -> None:
        handle, self._lock = self._lock, -1
        if handle >= 0:
            os.close(handle)


@contextmanager
def atomic_write(path: Path, shared: bool = False) -> Iterator[Path]:
    """Yield a temporary path that is renamed to ``path`` at the end, or removed after an exception.

    Args:
        path: the final path.
        shared: as for :class:`Partial`, which also lists the errors.

    """
    with atomic_write_many([path], shared) as [partial]:
        yield partial


@contextmanager
def atomic_write_many(paths: Iterable[Path], shared: bool = False) -> Iterator[list[Path]]:
    """Like :func:`atomic_write` for several files, all renamed at the end."""
    with ExitStack() as stack:
        partials = []
        for path in paths:
            partials.append(Partial(path, shared=shared))
            stack.callback(partials[-1].discard)
        yield [partial.path for partial in partials]
        for partial in partials:
            partial.commit()


@contextmanager
def atomic_write_folder(path: Path) -> Iterator[Path]:
    """Like :func:`atomic_write` for a new folder, which carries the marker file.

    Raises:
        FileExistsError: ``path`` exists and is not empty.

    """
    if path.is_dir() and any(path.iterdir()):
        raise FileExistsError(f"{path} exists and is not empty: name another folder, or empty it")
    partial = Partial(path, folder=True)
    try:
        yield partial.path
        partial.commit()
    finally:
        partial.discard()


def write_bytes_atomically(path: Path, content: bytes, shared: bool = False) -> None:
    """Write a file by :func:`atomic_write`. Raises OSError, naming the file, if that fails."""
    try:
        with atomic_write(path, shared) as partial:
            partial.write_bytes(content)
    except BlockingIOError:
        raise
    except OSError as error:
        raise OSError(f"cannot write {path}: {error.strerror or error}") from error


def _check_kind(target: Path, folder: bool) -> None:
    """Refuse early what cannot or should not be replaced at the end, such as a device or a pipe."""
    try:
        mode = target.stat().st_mode
    except OSError:
        return
    if folder and not stat.S_ISDIR(mode):
        raise FileExistsError(f"{target} is a file: expected a folder, or nothing")
    if not folder and stat.S_ISDIR(mode):
        raise IsADirectoryError(f"{target} is a folder: expected a file, or nothing")
    if not folder and not stat.S_ISREG(mode):
        raise FileExistsError(f"{target} is neither a file nor a folder, and is not replaced")


def _partial_name(name: str) -> str:
    """An unpredictable name that can be told from names given by other programs."""
    stem, dot, suffix = os.fsencode(name).rpartition(b".")
    if not stem or len(suffix) > _SUFFIX:
        stem, dot, suffix = os.fsencode(name), b"", b""
    begin = f".{stem.lstrip(b'.')[:_STEM].decode(errors='ignore')}"
    end = f".partial{(dot + suffix).decode(errors='ignore')}"
    token = _key(name) + secrets.token_hex(8)
    return f"{begin}.{token}{_checksum(begin, token, end)}{end}"


def _target_key(partial: str) -> str | None:
    """Key of the final name that a temporary name stands for; None if it is not one of ours."""
    begin, _, end = partial.rpartition(".partial")
    begin, _, token = begin.rpartition(".")
    token, check = token[:-8], token[-8:]
    return token[:8] if len(token) == 24 and check == _checksum(begin, token, f".partial{end}") else None


def _key(name: str) -> str:
    return hashlib.sha256(os.fsencode(os.path.normcase(name))).hexdigest()[:8]


def _checksum(*parts: str) -> str:
    return hashlib.sha256(os.fsencode("\0".join(("tweenlet", *parts)))).hexdigest()[:8]


def _partials(folder: Path) -> list[Path]:
    """Files and folders with a temporary name of ours."""
    try:
        names = [entry.name for entry in os.scandir(folder) if entry.name.startswith(".")]
    except OSError:
        return []
    return [folder / name for name in names if _target_key(name) is not None]


def _remove_stale(partial: Path) -> bool:
    """Remove what a killed run left behind; False if its run is still alive."""
    folder = partial.is_dir() and not partial.is_symlink()
    try:
        handle = os.open(partial / MARK if folder else partial, os.O_RDONLY | NO_LINK)
    except OSError:  # without a mark or another user's: not ours to remove, and in nobody's way
        return True
    with ExitStack() as opened:
        opened.callback(os.close, handle)
        if not lock(handle, sure=True):
            return False
        is_file = stat.S_ISREG(os.fstat(handle).st_mode)
        if not OPEN_FILES_MOVE:
            opened.close()
        if folder:
            shutil.rmtree(partial, ignore_errors=True)
        elif is_file:
            partial.unlink(missing_ok=True)
        return True


@contextmanager
def _lock_folder(folder: Path) -> Iterator[bool]:
    """Keep other runs from starting or cleaning up in a folder; yields False if that cannot be arranged."""
    inside = None if OPEN_FILES_MOVE else folder / f"{MARK}.lock"  # where a folder cannot be opened
    try:
        flags = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0)
        handle = os.open(folder, flags) if inside is None else create_file(inside, new=False)
    except OSError:
        yield False
        return
    try:
        end = time.monotonic() + _WAIT
        while not (alone := lock(handle, sure=True)) and time.monotonic() < end:
            time.sleep(0.01)
        yield alone
    finally:
        os.close(handle)
        if inside is not None:
            with suppress(OSError):  # another run has it open
                inside.unlink()


def _flush(path: Path) -> None:
    """Wait until a file is on disk: a full or failing disk may report an error only now."""
    handle = os.open(path, os.O_RDWR)  # Windows flushes nothing that is opened to be read
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
            raise
    finally:
        os.close(handle)
