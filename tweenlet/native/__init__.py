"""Native: C for the inner loops that PyTorch has no fast way of, compiled once for this machine.

    *.c of this folder -- the machine's cc --> cache/native-FINGERPRINT.so -- ctypes --> library()

The code is plain C with GCC's vectors, which GCC and Clang compile for any processor. Where there is no
compiler, or TWEENLET_NATIVE=0 is set, there is no library and PyTorch does the work: the same results, but
slower. Threads are those of the OpenMP that PyTorch has already started, where it can be told: two pools
would wait for each other.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

from tweenlet.cache import folder

SOURCES, HEADERS = (sorted(Path(__file__).parent.glob(f"*.{kind}")) for kind in "ch")
FLAGS = (
    *("-O3", "-march=native", "-fPIC", "-fopenmp", "-Wall", "-Wno-psabi"),
    # sums may be fused; infinities and NaN stay as they are
    *("-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math", "-fno-signed-zeros"),
)


@cache
def library() -> ctypes.CDLL | None:
    """The compiled code, or None where it cannot be had."""
    compiler = shutil.which(os.environ.get("CC") or "cc")
    if os.environ.get("TWEENLET_NATIVE") == "0" or compiler is None or os.name != "posix":
        return None
    try:
        made = folder() / f"native-{_fingerprint(compiler)}.so"
        if not made.exists():
            compile_to(made, compiler)
        return ctypes.CDLL(str(made))
    except (OSError, subprocess.SubprocessError):
        return None


def told() -> str:
    """Whether there is native code, for people."""
    return "no native code" if library() is None else "native code"


def compile_to(made: Path, compiler: str) -> None:
    """Write the library. CalledProcessError, with what the compiler said, where it cannot be compiled."""
    with tempfile.TemporaryDirectory(dir=made.parent) as work:
        objects = []
        for source in SOURCES:
            objects.append(f"{work}/{source.stem}.o")
            _run(compiler, *FLAGS, "-c", str(source), "-o", objects[-1])
        _run(compiler, "-shared", *objects, *(_openmp() or ("-fopenmp",)), "-lm", "-o", f"{work}/library")
        Path(f"{work}/library").replace(made)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=300)


def _openmp() -> tuple[str, ...]:
    """The OpenMP that PyTorch has loaded, under the name that it has there."""
    try:
        maps = Path("/proc/self/maps").read_text()
    except OSError:
        return ()
    return tuple(sorted({line.split()[-1] for line in maps.splitlines() if "/libgomp" in line}))[:1]


def _fingerprint(compiler: str) -> str:
    """Of all that the library depends on: the code, how it is compiled, by what, for which processor."""
    told = hashlib.sha256("\n".join((*FLAGS, *_openmp(), platform.machine())).encode())
    told.update(subprocess.run([compiler, "--version"], capture_output=True, check=True, timeout=60).stdout)
    for source in (*SOURCES, *HEADERS):
        told.update(source.read_bytes())
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        told.update("\n".join(x for x in lines if x.startswith(("model name", "flags"))).encode())
    except OSError:
        told.update(platform.processor().encode())
    return told.hexdigest()[:16]
