"""Windows, as far as Linux can play it: a plugin of pytest, or a program that imports all and runs another.

python -m pytest -p windows ...     |     python tests/windows.py script.py ...

What POSIX alone has is gone, LockFile is played by flock, and as on Windows nothing that is open, or mapped,
can be renamed, replaced or removed, nor a folder that holds it; and no folder can be opened.
"""

from __future__ import annotations

import ctypes
import fcntl
import importlib
import os
import pkgutil
import runpy
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from threading import RLock
from types import ModuleType
from typing import Any

import tweenlet

MODULES = ("fcntl", "grp", "pwd", "resource", "termios", "syslog")
NAMES = {
    os: "geteuid getuid getegid getgid killpg getpgid setsid posix_fallocate sysconf uname"
    " O_NOFOLLOW O_DIRECTORY O_CLOEXEC O_NONBLOCK"
    " sched_getaffinity sched_getscheduler sched_setscheduler sched_getparam",
    signal: "SIGHUP SIGXCPU SIGKILL SIGUSR1",
}
flock, how, os_open = fcntl.flock, fcntl.LOCK_EX | fcntl.LOCK_NB, os.open
one_at_a_time = RLock()  # what is looked at before a change stays so until after it


def become_windows() -> None:
    """Take away what this system alone has, from here on; packages of others keep what they took."""
    import_all()
    for name in [name for name in sys.modules if name.partition(".")[0] == "tweenlet"]:
        del sys.modules[name]
    for name in MODULES:
        sys.modules[name] = None  # type: ignore[assignment]
    for module, names in NAMES.items():
        for name in names.split():
            delattr(module, name)
    played: dict[Any, dict[str, Any]] = {
        ctypes: {"WinDLL": Kernel, "get_last_error": lambda: 33},
        os: {"open": open_file},
        shutil: {"_use_fd_functions": False},
        subprocess.Popen: {"kill": lambda process: process.send_signal(9)},
        sys.modules.setdefault("msvcrt", ModuleType("msvcrt")): {"get_osfhandle": int},
    }
    for owner, values in played.items():
        for name, value in values.items():
            setattr(owner, name, value)
    for name in ("replace", "rename", "unlink", "remove"):
        setattr(os, name, refuse_what_is_open(getattr(os, name)))
    sys.platform = "win32"


def import_all() -> None:
    """Import each module of the package."""
    for found in pkgutil.walk_packages(tweenlet.__path__, "tweenlet."):
        if found.name != "tweenlet.__main__":
            importlib.import_module(found.name)


class Kernel:
    """What is called of kernel32."""

    def __init__(self, *_: object, **__: object) -> None:
        def lock_file(handle: int, *_: int) -> bool:
            try:
                flock(handle, how)
            except BlockingIOError:
                return False
            return True

        self.LockFile: Any = lock_file


def open_file(path: Any, flags: int, mode: int = 0o777) -> int:
    """As ``os.open``, but for a folder."""
    if Path(path).is_dir() and flags & os.O_TMPFILE != os.O_TMPFILE:
        raise PermissionError(13, "Permission denied", os.fspath(path))
    with one_at_a_time:
        return os_open(path, flags, mode)


def refuse_what_is_open(change: Callable[..., None]) -> Callable[..., None]:
    """A function that renames or removes, refusing paths that this process uses."""

    def guarded(*paths: Any) -> None:
        with one_at_a_time:
            for path in paths:
                real = os.path.realpath(path)
                for name in files_in_use():
                    if name == real or name.startswith(f"{real}/"):
                        raise PermissionError(13, f"in use as {name}", os.fspath(path))
            change(*paths)

    return guarded


def files_in_use() -> Iterator[str]:
    """Files that this process has open or mapped."""
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # the one that lists them
            yield str(entry.readlink())
    for line in Path("/proc/self/maps").read_text(errors="replace").splitlines():
        yield "/" + line.partition("/")[2]


def pytest_configure() -> None:
    """Once pytest has asked where it runs."""
    become_windows()


if __name__ == "__main__":
    become_windows()
    import_all()
    sys.argv = sys.argv[1:]
    runpy.run_path(sys.argv[0], run_name="__main__")
