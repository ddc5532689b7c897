"""Machine: the hardware and software behind a measurement, in one line."""

from __future__ import annotations

import os
import platform
from contextlib import suppress
from pathlib import Path

import torch

from tweenlet.ops.cpu import library


def describe_machine() -> str:
    """Processor, cores, threads, CUDA device, torch version, and whether there is native code."""
    parts = [f"{processor_name()} ({platform.system()}, {torch.backends.cpu.get_cpu_capability()})"]
    parts.append(f"{os.cpu_count()} cores, {torch.get_num_threads()} threads")
    if torch.cuda.is_available():
        parts.append(torch.cuda.get_device_name())
    return ", ".join([*parts, f"torch {torch.__version__}", library.describe()])


def processor_name() -> str:
    """Model name of the processor."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
