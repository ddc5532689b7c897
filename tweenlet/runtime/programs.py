"""Programs: differences between systems in starting processes and handling signals."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from contextlib import suppress


def split_command(text: str) -> list[str]:
    """The words of a command line. A backslash is a part of a path on Windows, and an escape elsewhere.

    Raises:
        ValueError: a quotation mark is not closed.

    """
    if sys.platform == "win32":
        return [word.strip('"') for word in shlex.split(text, posix=False)]
    return shlex.split(text)


def existing_signals(*names: str) -> tuple[signal.Signals, ...]:
    """Those of the signals that this system has."""
    return tuple(getattr(signal, name) for name in names if hasattr(signal, name))


def kill_all(process: subprocess.Popen[bytes]) -> None:
    """Kill a program, started with ``start_new_session=True``, and its children; wait until it is gone."""
    if sys.platform == "win32":
        tree = ("taskkill", "/F", "/T", "/PID", str(process.pid))
        subprocess.run(tree, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
        process.kill()
    else:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()
