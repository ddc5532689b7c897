"""Threads: OpenMP told to sleep, not to spin, while its threads wait for each other.

torch splits every operation among the cores and waits for the slowest. Spinning while waiting gains little
on an idle machine and is a disaster on a busy one, where the thread that is waited for does not run because
others spin: the demo took 44 s instead of 7 beside a second program on two cores. OpenMP reads its
environment once, when torch is imported: this comes before that, or does nothing.
"""

from __future__ import annotations

import os
import sys


def wait_asleep() -> bool:
    """Let OpenMP's threads sleep while they wait, unless the user's environment says otherwise."""
    if "torch" in sys.modules or {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"} & os.environ.keys():
        return False
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    return True
