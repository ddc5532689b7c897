"""Memory: peak memory of a frame and of each part of a network, measured in a separate process."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import torch

from tweenlet.bench.targets import CPU, Stream, Target, make_interpolate, moving_picture
from tweenlet.inference.latency import hook_parts
from tweenlet.runtime.malloc import current_rss, peak_rss, trim


def peaks(target: Target, size: tuple[int, int], device: torch.device = CPU) -> Mapping[str, int]:
    """Measure peak memory for two frames, beyond that with the network and the frames loaded.

    On a CUDA device it is the peak of PyTorch's allocator. On the CPU it is Linux's VmHWM in a separate
    process, which includes an engine's own graph. For the parts, a third frame is run, and free memory is
    returned to the system before each part.

    Args:
        target: what to run.
        size: width and height of the frames in pixels.
        device: where it runs.

    Returns:
        Bytes for "all", and by part where the engine is eager on the CPU. Empty on systems other than Linux.

    Raises:
        OSError: the process failed.

    """
    if device.type == "cuda":
        run = make_interpolate(target, device)
        frames = [frame.to(device) for frame in moving_picture(size, 5)]
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        for turn in range(2):
            run(frames[turn : turn + 4])
        return {"all": torch.cuda.max_memory_allocated(device) - before}
    if not Path("/proc/self/clear_refs").exists():
        return {}
    arguments = [target.source, target.engine, target.dtype, *map(str, size), str(torch.get_num_threads())]
    process = subprocess.run(
        [sys.executable, "-c", "from tweenlet.bench.memory import _peaks_here; _peaks_here()", *arguments],
        capture_output=True, encoding="utf-8", check=False,
    )  # fmt: skip
    if process.returncode:
        raise OSError(f"cannot measure the memory of {target}: {process.stderr.strip()[-300:]}")
    by_part: dict[str, int] = json.loads(process.stdout)
    return by_part


def _peaks_here() -> None:
    """Measure in this process, and print the result as JSON. See :func:`peaks`."""
    source, engine, dtype, width, height, threads = sys.argv[1:]
    torch.set_num_threads(int(threads))
    run = make_interpolate(Target(source, engine, dtype))
    frames = moving_picture((int(width), int(height)), 5)
    before = current_rss()
    _reset_peak()
    for turn in range(2):
        run(frames[turn : turn + 4])
    by_part = {"all": peak_rss()}
    if isinstance(run, Stream) and engine == "eager":

        def start(_name: str) -> None:
            trim()
            _reset_peak()

        def stop(name: str) -> None:
            by_part[name] = peak_rss()

        with hook_parts(run.interpolator.model, start, stop):
            run(frames[:4])
    print(json.dumps({name: peak - before for name, peak in by_part.items()}))


def _reset_peak() -> None:
    """Reset VmHWM to VmRSS."""
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
