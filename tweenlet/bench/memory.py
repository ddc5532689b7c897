"""Memory: what a frame takes at most, and each part of the network, seen in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import torch

from tweenlet.bench.subjects import CPU, Stream, Subject, maker, moving_picture
from tweenlet.network.cost import parts_of
from tweenlet.runtime.malloc import current_rss, peak_rss, trim


def peaks(subject: Subject, size: tuple[int, int], device: torch.device = CPU) -> Mapping[str, int]:
    """Bytes that ``subject`` takes at most for frames of ``size``: of "all", and of parts run one by one.

    On a CUDA device it is what PyTorch gives out there at once. On the CPU it is the highest resident memory
    while two frames are made, less the resident memory before, with the network and the frames loaded: an
    engine's own graph counts. For the parts another frame is made, and what is free is given back before
    each. From Linux's VmHWM in a process of its own, set back before; not ru_maxrss, in which a process
    begins at what its parent had. Empty on other systems.
    """
    if device.type == "cuda":
        make = maker(subject, device)
        frames = [frame.to(device) for frame in moving_picture(size, 5)]
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        for turn in range(2):
            make(frames[turn : turn + 4])
        return {"all": torch.cuda.max_memory_allocated(device) - before}
    if not Path("/proc/self/clear_refs").exists():
        return {}
    words = [subject.source, subject.engine, subject.dtype, *map(str, size), str(torch.get_num_threads())]
    done = subprocess.run(
        [sys.executable, "-c", "from tweenlet.bench.memory import _peaks_here; _peaks_here()", *words],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise OSError(f"{subject} could not be run to see its memory: {done.stderr.strip()[-300:]}")
    found: dict[str, int] = json.loads(done.stdout)
    return found


def _peaks_here() -> None:
    """In a process of its own: print what three frames took. See :func:`peaks`."""
    source, engine, dtype, width, height, threads = sys.argv[1:]
    torch.set_num_threads(int(threads))
    make = maker(Subject(source, engine, dtype))
    frames = moving_picture((int(width), int(height)), 5)
    before = current_rss()
    _set_back()
    for turn in range(2):
        make(frames[turn : turn + 4])
    found = {"all": peak_rss()}
    if isinstance(make, Stream) and engine == "eager":

        def start() -> None:
            trim()
            _set_back()

        def stop(name: str) -> None:
            found[name] = peak_rss()

        for name, part in parts_of(make.interpolator.model).items():
            part.register_forward_pre_hook(lambda *_: start())
            part.register_forward_hook(lambda *_, name=name: stop(name))
        make(frames[:4])
    print(json.dumps({name: held - before for name, held in found.items()}))


def _set_back() -> None:
    """VmHWM to VmRSS."""
    Path("/proc/self/clear_refs").write_text("5")
