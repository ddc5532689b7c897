"""Kill test: commands ended at random moments, and what must hold after.

    python scripts/kill_test.py [--kills 50] [--seed 0] [--signal KILL]

A command makes frames of a clip, as a video or as images, over an older result, and is ended by a signal
after a random part of the time that it takes. What lies under the final name then has to be the old result or
the new one, whole; and once the command has run to its end, nothing else may be left in the folder. Exit code
1 where that did not hold.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import av
from fuzz import become, warm_up, write_video

from tweenlet.inference.machine import describe_machine

OUTPUTS = ("out.mp4", "frames")


def main() -> None:
    """Kill, look, run to the end, look again; print how often something was wrong."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--signal", default="KILL", help="KILL, TERM, HUP, INT, ...")
    asked = parser.parse_args()
    number, dice = signal.Signals[f"SIG{asked.signal}"], random.Random(asked.seed)
    faults, early = list[str](), 0
    warm_up()
    with tempfile.TemporaryDirectory(prefix="kill-") as place:
        folder = Path(place)
        write_video(folder / "in.mp4", "libx264", "yuv420p")
        took = {output: seconds_of(folder, output) for output in OUTPUTS}
        whole = {output: state_of(folder / output) for output in OUTPUTS}
        for kill in range(asked.kills):
            output, after = dice.choice(OUTPUTS), dice.random()
            child = start(folder, output)
            time.sleep(after * took[output])
            early += os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
            os.kill(child, number)
            os.waitpid(child, 0)
            if state_of(folder / output) != whole[output]:
                faults.append(f"kill {kill}: {output} is not whole")
            left = [path.name for path in folder.rglob("*") if ".partial" in path.name]
            if left and number != signal.SIGKILL:
                faults.append(f"kill {kill}: {', '.join(left)} left by SIG{asked.signal}")
        for output in OUTPUTS:
            seconds_of(folder, output)
        names = {path.name for path in folder.rglob("*") if not path.name[0].isdigit()}
        if names != {"in.mp4", *OUTPUTS}:
            faults.append(f"in the end there was {', '.join(sorted(names))}")
    print(*faults, sep="\n", end="\n" if faults else "")
    print(f"{asked.kills} kills by SIG{asked.signal}, {early} of them before the end: {len(faults)} faults")
    print(f"{datetime.now(UTC):%Y-%m-%d}, {describe_machine()}")
    sys.exit(1 if faults else 0)


def start(folder: Path, output: str) -> int:
    """The number of a child process that makes an output, over one that is there."""
    command = ("interpolate", "in.mp4", output, "--overwrite", "--device", "cpu")
    if child := os.fork():
        return child
    become(command, folder, Path(os.devnull))
    raise AssertionError


def seconds_of(folder: Path, output: str) -> float:
    """Run to the end, and how long that took; OSError where it failed."""
    began = time.monotonic()
    if os.waitpid(start(folder, output), 0)[1]:
        raise OSError(f"{output} could not be made")
    return time.monotonic() - began


def state_of(path: Path) -> object:
    """The frames of a video that can be decoded to its end, or the names and sizes of images."""
    if path.is_dir():
        return sorted((file.name, file.stat().st_size) for file in path.iterdir() if file.name[0] != ".")
    with av.open(str(path)) as container:
        return [frame.pts for frame in container.decode(video=0)]


if __name__ == "__main__":
    main()
