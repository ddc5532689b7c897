"""Whole: files and folders that appear complete or not at all, however a process ends.

    Partial: .NAME.TOKEN.partial.SUFFIX, locked ── commit ──> NAME
                                         └────── discard ──> removed

The temporary name lies beside the final one, is short enough for any file system, cannot be foreseen and is
opened exclusively, so no link is followed and no two runs share it. It is locked while its run lives. So a
second run of the same output learns of the first one, and what a killed run left behind is removed by the
next run in that folder. The token carries a checksum of the name, and a folder a mark: what lacks them was
not written here and is never removed.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import secrets
import shutil
import stat
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

MARK = ".tweenlet"
"""The file that says that a folder was written by this program, locked while a run writes there."""
_NOTE = "Written by tweenlet. While this file is here, tweenlet may replace what it wrote in this folder.\n"
_STEM = 60
"""Bytes of the final name that the temporary one repeats: names have 255 at most, on some systems 143."""
_SUFFIX = 12
_WAIT = 2.0
"""Seconds to wait for others that begin in the same folder: each takes milliseconds."""


class Partial:
    """A file, or with ``folder`` a folder, under a temporary name beside ``target``, locked.

    It ends with :meth:`commit` or :meth:`discard`. ``shared``: other runs may write the same target at the
    same time, and the last one wins. BlockingIOError where another run writes ``target``; IsADirectoryError
    or OSError where ``target`` is there and is of another kind; other OSErrors where nothing can be written.
    """

    def __init__(self, target: Path, *, folder: bool = False, shared: bool = False) -> None:
        self.target = target.absolute()
        self._folder = folder
        _check_kind(target, folder)
        with _alone_in(self.target.parent) as alone:
            if alone:
                for other in _partials(self.target.parent):
                    if not _clear(other) and not shared and _of(other.name) == _key(self.target.name):
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
                lock = _create(path / MARK if self._folder else path)
                if self._folder:
                    os.write(lock, _NOTE.encode())
                _lock(lock)
                return path, lock

    def commit(self) -> None:
        """Give it its final name, once all is on the disk. A folder takes the place of an empty one only."""
        if self._folder:
            self.path.rename(self.target)
        else:
            _flush(self.path)
            self.path.replace(self.target)
        self._close()

    def discard(self) -> None:
        """Remove it; nothing after :meth:`commit`."""
        if self._lock < 0:
            return
        if self._folder:
            shutil.rmtree(self.path, ignore_errors=True)
        else:
            self.path.unlink(missing_ok=True)
        self._close()

    def _close(self) -> None:
        lock, self._lock = self._lock, -1
        os.close(lock)


@contextmanager
def whole(path: Path, shared: bool = False) -> Iterator[Path]:
    """Where to write what becomes the file ``path`` at the end; after an exception nothing has changed.

    ``shared`` and errors as of :class:`Partial`.
    """
    with whole_files([path], shared) as [partial]:
        yield partial


@contextmanager
def whole_files(paths: Iterable[Path], shared: bool = False) -> Iterator[list[Path]]:
    """The same for several files, which all get their names at the end."""
    with ExitStack() as stack:
        partials = []
        for path in paths:
            partials.append(Partial(path, shared=shared))
            stack.callback(partials[-1].discard)
        yield [partial.path for partial in partials]
        for partial in partials:
            partial.commit()


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """The same for a folder, which is new or replaces an empty one, and is marked from then on.

    FileExistsError where there is something in ``path``.
    """
    if path.is_dir() and any(path.iterdir()):
        raise FileExistsError(f"{path} exists and is not empty: name another folder, or empty it")
    partial = Partial(path, folder=True)
    try:
        yield partial.path
        partial.commit()
    finally:
        partial.discard()


def write_whole(path: Path, content: bytes, shared: bool = False) -> None:
    """Write a file, as by :func:`whole`; OSError, naming it, where that fails."""
    try:
        with whole(path, shared) as partial:
            partial.write_bytes(content)
    except BlockingIOError:
        raise
    except OSError as error:
        raise OSError(f"cannot write {path}: {error.strerror or error}") from error


def check_room(place: Path, size: int) -> None:
    """OSError where the disk that holds ``place`` has less than ``size`` bytes free."""
    state = os.statvfs(place)
    free = state.f_bavail * state.f_frsize
    if state.f_blocks and free < size:
        raise OSError(
            errno.ENOSPC,
            f"not enough room in {place}: expected {_megabytes(size)} free, got {_megabytes(free)}",
        )


def reserve(path: Path, size: int) -> None:
    """Take room for ``size`` bytes on the disk for a file that is there. OSError where there is not enough.

    What is written into it later, by way of memory as well, cannot run out of room.
    """
    check_room(path.parent, size - path.stat().st_blocks * 512)
    handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        os.posix_fallocate(handle, 0, max(1, size))
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS):  # a file system that cannot
            reason = os.strerror(error.errno or errno.EIO)
            raise OSError(error.errno, f"cannot take {_megabytes(size)} for {path}: {reason}") from None
    finally:
        os.close(handle)


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"


def is_marked(folder: Path) -> bool:
    """Whether a folder was written by this program."""
    return (folder / MARK).is_file() and not (folder / MARK).is_symlink()


def check_own(folder: Path, names: Iterable[str]) -> None:
    """FileExistsError where one of ``names`` is in a folder without our mark: another program wrote that."""
    foreign = [] if is_marked(folder) else [name for name in names if os.path.lexists(folder / name)]
    if foreign:
        raise FileExistsError(
            f"{folder} holds {', '.join(foreign)}, not written by tweenlet: name another folder"
        )


@contextmanager
def claimed(folder: Path, names: Iterable[str] = ()) -> Iterator[None]:
    """A folder to write files of these names into, marked, for this run alone; made where there is none.

    FileExistsError as of :func:`check_own`. BlockingIOError where another run has it.
    """
    check_own(folder, names)
    folder.mkdir(parents=True, exist_ok=True)
    lock = _create(folder / MARK, new=False)
    try:
        if not _lock(lock):
            raise BlockingIOError(
                f"another run is writing into {folder}: wait for it, or name another folder"
            )
        if not os.fstat(lock).st_size:
            os.write(lock, _NOTE.encode())
        yield
    finally:
        os.close(lock)


def _check_kind(target: Path, folder: bool) -> None:
    """Refuse early what could not be replaced at the end, or should not: a device, a pipe."""
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
    """A name that nobody can foresee, and that tells itself from names that others give."""
    stem, dot, suffix = os.fsencode(name).rpartition(b".")
    if not stem or len(suffix) > _SUFFIX:
        stem, dot, suffix = os.fsencode(name), b"", b""
    begin = f".{stem.lstrip(b'.')[:_STEM].decode(errors='ignore')}"
    end = f".partial{(dot + suffix).decode(errors='ignore')}"
    token = _key(name) + secrets.token_hex(8)
    return f"{begin}.{token}{_checksum(begin, token, end)}{end}"


def _of(partial: str) -> str | None:
    """The key of the final name of a temporary one; None where it is no temporary name of ours."""
    begin, _, end = partial.rpartition(".partial")
    begin, _, token = begin.rpartition(".")
    token, check = token[:-8], token[-8:]
    return token[:8] if len(token) == 24 and check == _checksum(begin, token, f".partial{end}") else None


def _key(name: str) -> str:
    return hashlib.sha256(os.fsencode(name)).hexdigest()[:8]


def _checksum(*parts: str) -> str:
    return hashlib.sha256(os.fsencode("\0".join(("tweenlet", *parts)))).hexdigest()[:8]


def _partials(folder: Path) -> list[Path]:
    """What in a folder has a temporary name of ours."""
    try:
        names = [entry.name for entry in os.scandir(folder) if entry.name.startswith(".")]
    except OSError:
        return []
    return [folder / name for name in names if _of(name) is not None]


def _clear(partial: Path) -> bool:
    """Remove what a killed run left, if that is what it is; False where its run lives."""
    folder = partial.is_dir() and not partial.is_symlink()
    try:
        lock = os.open(partial / MARK if folder else partial, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:  # without a mark or another user's: not ours to remove, and in nobody's way
        return True
    try:
        if not _lock(lock, sure=True):
            return False
        if folder:
            shutil.rmtree(partial, ignore_errors=True)
        elif stat.S_ISREG(os.fstat(lock).st_mode):
            partial.unlink(missing_ok=True)
        return True
    finally:
        os.close(lock)


def _create(path: Path, new: bool = True) -> int:
    """An open file, made here if ``new``, that is no link to another place."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | (os.O_EXCL if new else 0)
    return os.open(path, flags, 0o666)


def _lock(handle: int, sure: bool = False) -> bool:
    """Take a lock that ends with this process at the latest; False where another holder has it.

    Where the file system has no locks the answer is True, or False if one has to be ``sure``.
    """
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return not sure
    return True


@contextmanager
def _alone_in(folder: Path) -> Iterator[bool]:
    """For a moment, no other run begins or cleans in a folder; False where that cannot be had."""
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        yield False
        return
    try:
        end = time.monotonic() + _WAIT
        while not (alone := _lock(handle, sure=True)) and time.monotonic() < end:
            time.sleep(0.01)
        yield alone
    finally:
        os.close(handle)


def _flush(path: Path) -> None:
    """Wait until a file is on the disk: a full or failing one may say so only now."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
            raise
    finally:
        os.close(handle)
