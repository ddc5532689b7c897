"""Disk space: check that there is enough before any work, and allocate it for files of a known size."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path


def check_disk_space(folder: Path, size: int) -> None:
    """Raise OSError if the disk that holds ``folder`` has less than ``size`` bytes free."""
    disk = shutil.disk_usage(folder)
    if disk.total and disk.free < size:
        raise OSError(
            errno.ENOSPC,
            f"not enough room in {folder}: expected {_format_size(size)} free, got {_format_size(disk.free)}",
        )


def preallocate(path: Path, size: int) -> None:
    """Allocate ``size`` bytes on disk for an existing file, so that later writes cannot run out of space.

    This covers writes through a memory map, which would otherwise end in SIGBUS.

    Raises:
        OSError: there is not enough space.

    """
    check_disk_space(path.parent, size - getattr(path.stat(), "st_blocks", 0) * 512)
    if not hasattr(os, "posix_fallocate"):  # macOS, Windows
        return
    handle = os.open(path, os.O_RDWR)
    try:
        os.posix_fallocate(handle, 0, max(1, size))
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS):  # a file system that cannot
            reason = os.strerror(error.errno or errno.EIO)
            raise OSError(error.errno, f"cannot allocate {_format_size(size)} for {path}: {reason}") from None
    finally:
        os.close(handle)


def _format_size(size: int) -> str:
    return f"{size / 1e6:,.1f} MB" if size >= 1e6 else f"{size / 1e3:,.0f} kB"
