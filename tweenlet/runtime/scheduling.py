"""Scheduling: keep a library from making this process a real-time one.

SVT-AV1, where root runs it, as in most containers, gives its threads and the one that opens it the highest
real-time priority. They, and every process started from there, then run before all else on the machine.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def keep_scheduling() -> Iterator[None]:
    """Give all threads of the process, those begun within the block too, the policy that this thread has.

    On Linux; elsewhere nothing is done.
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
