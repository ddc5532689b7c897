"""Scheduling: keep a library from turning this process into a real-time one.

Run as root, as in most containers, SVT-AV1 gives its threads and the thread that opens it the highest
real-time priority. They, and every process they start, then pre-empt everything else on the machine.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def keep_scheduling() -> Iterator[None]:
    """Reset all threads of the process, including those started within the block, to this thread's policy.

    Linux only; elsewhere it does nothing.
    """
    if sys.platform != "linux":
        yield
        return
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        for thread in Path("/proc/self/task").iterdir():
            with suppress(OSError):  # it may have ended
                if os.sched_getscheduler(int(thread.name)) != policy:
                    os.sched_setscheduler(int(thread.name), policy, parameters)
