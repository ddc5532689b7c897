"""Memory: what a frame takes at most, seen in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import torch

from tweenlet.bench.subjects import CPU, Subject, maker, moving_picture
from tweenlet.memory import peak as held_at_most
from tweenlet.memory import resident


def peak(subject: Subject, size: tuple[int, int], device: torch.device = CPU) -> int | None:
    """Bytes that ``subject`` takes at most for frames of ``size``, measured in a process of its own.

    On a CUDA device it is what PyTorch gives out there at once. On the CPU it is the highest resident memory
    while two frames are made, less the resident memory before, with the network and the frames loaded: an
    engine's own graph counts. From Linux's VmHWM, set back before the first frame; not ru_maxrss, in which a
    process begins at what its parent had. None on other systems.
    """
    if device.type == "cuda":
        make = maker(subject, device)
        frames = [frame.to(device) for frame in moving_picture(size, 5)]
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        for turn in range(2):
            make(frames[turn : turn + 4])
        return torch.cuda.max_memory_allocated(device) - before
    if not Path("/proc/self/clear_refs").exists():
        return None
    words = [subject.source, subject.engine, subject.dtype, *map(str, size), str(torch.get_num_threads())]
    done = subprocess.run(
        [sys.executable, "-c", "from tweenlet.bench.memory import _peak_here; _peak_here()", *words],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise OSError(f"{subject} could not be run to see its memory: {done.stderr.strip()[-300:]}")
    return int(done.stdout)


def _peak_here() -> None:
    """In a process of its own: print what two frames took. See :func:`peak`."""
    source, engine, dtype, width, height, threads = sys.argv[1:]
    torch.set_num_threads(int(threads))
    make = maker(Subject(source, engine, dtype))
    frames = moving_picture((int(width), int(height)), 5)
    before = resident()
    Path("/proc/self/clear_refs").write_text("5")  # sets VmHWM to VmRSS
    for turn in range(2):
        make(frames[turn : turn + 4])
    print(held_at_most() - before)
