"""Folders: check that an output may be written, and claim a folder for one run.

A claimed folder carries a marker file, which is locked while a run writes there. Files in a folder without
the marker were not written by this program, and are never replaced.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path

from tweenlet.runtime.locks import NO_LINK, lock

MARK = ".tweenlet"
"""Name of the marker file."""
MARK_TEXT = (
    "Written by tweenlet. While this file is here, tweenlet may replace what it wrote in this folder.\n"
)
BY_EFFECTIVE_USER = os.access in os.supports_effective_ids
"""Whether ``os.access`` can check for the effective user and capabilities of the process."""


def final_path(path: Path) -> Path:
    """The absolute path of a file to write: where ``path`` is a symlink, the file that it points to.

    Raises OSError for a circle of symlinks.
    """
    if not path.is_symlink():
        return path.absolute()
    final = Path(os.path.realpath(path))
    if final.is_symlink():
        raise OSError(f"{path} is a symlink that leads back to itself")
    return final


def check_free(path: Path, overwrite: bool, sources: Iterable[str | PathLike[str]] = ()) -> None:
    """Check, before any work is done, that an output file may be written.

    Args:
        path: the output.
        overwrite: whether it may replace an existing file.
        sources: inputs of the same command, which are never overwritten.

    Raises:
        ValueError: the output is one of the sources.
        FileExistsError: the output exists and ``overwrite`` is False.
        FileNotFoundError: its folder does not exist.
        PermissionError: its folder cannot be written.
        OSError: the output is a circle of symlinks.

    """
    if path.exists() and any(Path(source).exists() and path.samefile(source) for source in sources):
        raise ValueError(f"the output {path} is the input itself: choose another name")
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists already: --overwrite (overwrite=True) replaces it")
    check_writable_folder(final_path(path).parent)


def check_writable_folder(folder: Path) -> None:
    """Raise FileNotFoundError if a folder does not exist, PermissionError if it cannot be written."""
    if not folder.is_dir():
        raise FileNotFoundError(f"the folder to write into does not exist: {folder}")
    if not os.access(folder, os.W_OK | os.X_OK, effective_ids=BY_EFFECTIVE_USER):
        raise PermissionError(f"the folder {folder} cannot be written into")


def is_marked(folder: Path) -> bool:
    """Whether a folder carries the marker of this program."""
    return (folder / MARK).is_file() and not (folder / MARK).is_symlink()


def check_no_foreign_files(folder: Path, names: Iterable[str]) -> None:
    """Raise FileExistsError if ``folder`` has any of ``names`` but no marker: they are another program's."""
    foreign = [] if is_marked(folder) else [name for name in names if os.path.lexists(folder / name)]
    if foreign:
        raise FileExistsError(
            f"{folder} holds {', '.join(foreign)}, not written by tweenlet: name another folder"
        )


@contextmanager
def claim_folder(folder: Path, names: Iterable[str] = ()) -> Iterator[None]:
    """Create and mark a folder, and hold a lock on it, so that this run alone writes there.

    Args:
        folder: the folder.
        names: files that the run will write.

    Raises:
        FileExistsError: as for :func:`check_no_foreign_files`.
        BlockingIOError: another run holds the lock.

    """
    check_no_foreign_files(folder, names)
    folder.mkdir(parents=True, exist_ok=True)
    handle = create_file(folder / MARK, new=False)
    try:
        if not lock(handle):
            raise BlockingIOError(
                f"another run is writing into {folder}: wait for it, or name another folder"
            )
        if not os.fstat(handle).st_size:
            os.write(handle, MARK_TEXT.encode())
        yield
    finally:
        os.close(handle)


def create_file(path: Path, new: bool = True) -> int:
    """Open a file, which must not exist if ``new``, without following a symlink."""
    return os.open(path, os.O_RDWR | os.O_CREAT | NO_LINK | (os.O_EXCL if new else 0), 0o666)
