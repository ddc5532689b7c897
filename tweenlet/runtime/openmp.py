"""OpenMP: make worker threads sleep instead of spin while they wait for each other.

torch splits each operation across the cores and waits for the slowest one. Spinning while waiting gains
little on an idle machine and hurts on a busy one, because the spinning threads keep the last one from
running: with a second program on two cores, the demo took 44 s instead of 7. OpenMP reads its environment
once, when torch is imported, so this has to run before that.
"""

from __future__ import annotations

import os
import sys


def set_passive_wait() -> bool:
    """Set OMP_WAIT_POLICY=PASSIVE unless the user's environment already configures waiting.

    Returns:
        Whether the policy was set; False once torch has been imported.

    """
    if "torch" in sys.modules or {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"} & os.environ.keys():
        return False
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    return True
