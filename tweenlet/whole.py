"""Whole: files that appear whole or not at all, however a process ends."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole(path: Path, shared: bool = False) -> Iterator[Path]:
    """Where to write what becomes ``path`` at the end; after an exception it is removed, and nothing changes.

    ``shared``: other processes may write the same file at the same time, and the last one wins.
    """
    partial = path.with_name(f".{path.name}{f'.{os.getpid()}' if shared else ''}.part")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_whole(path: Path, content: bytes, shared: bool = False) -> None:
    """Write a file, as by :func:`whole`; OSError, naming it, where that fails."""
    try:
        with whole(path, shared) as partial:
            partial.write_bytes(content)
    except OSError as error:
        raise OSError(f"cannot write {path}: {error}") from error
