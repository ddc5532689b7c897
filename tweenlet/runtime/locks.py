"""Locks: a file that only one process at a time can hold, released however the process ends.

POSIX locks whole files. Windows locks bytes, which nobody else can then read or write, so one far beyond the
end is locked; it also cannot rename or remove open files, open a folder, or refuse to follow links.
"""

from __future__ import annotations

import os
import sys

OPEN_FILES_MOVE = sys.platform != "win32"
"""Whether a file that is open, and the folder that it is in, can be renamed and removed."""
NO_LINK = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
"""Flags to open a file as it is: no symlink is followed, no line ending changed."""

if sys.platform == "win32":
    import ctypes
    import msvcrt
    from ctypes import wintypes

    _HIGH = 1 << 30
    """High half of the offset of the byte that is locked: 4 EiB."""
    _HELD = 33
    """ERROR_LOCK_VIOLATION: another process, or another handle of this one, has locked it."""
    _kernel = ctypes.WinDLL("kernel32", use_last_error=True)
    _kernel.LockFile.argtypes = (wintypes.HANDLE, *[wintypes.DWORD] * 4)

    def _take(handle: int) -> None:
        if _kernel.LockFile(msvcrt.get_osfhandle(handle), 0, _HIGH, 1, 0):
            return
        if (code := ctypes.get_last_error()) == _HELD:
            raise BlockingIOError
        raise OSError(f"LockFile failed with {code}")

else:
    import fcntl

    def _take(handle: int) -> None:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def lock(handle: int, sure: bool = False) -> bool:
    """Lock an open file until it is closed or the process ends; False if it is locked already.

    On a file system without locks the answer is True, or False if the caller has to be ``sure``.
    """
    try:
        _take(handle)
    except BlockingIOError:
        return False
    except OSError:
        return not sure
    return True
