"""Native: C for the inner loops that PyTorch has no fast way of, compiled once for this machine.

    csrc/*.c -- the machine's cc --> cache/native-FINGERPRINT.so -- bindings --> library()

The code is plain C with GCC's vectors, which GCC and Clang compile for any processor. Where there is no
compiler that works, or TWEENLET_NATIVE=0 is set, there is no library and PyTorch does the work: the same
results, but slower. Threads are those of the OpenMP that PyTorch has already started, where it can be told
and the compiler's code runs on it: two pools may wait for each other.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shlex
import shutil
import signal
import subprocess
import tempfile
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import torch

from tweenlet.ops.cpu.bindings import Library
from tweenlet.runtime.atomic import Partial, write_bytes_atomically
from tweenlet.runtime.cache import cache_folder, cached_file

SOURCES, HEADERS = (sorted((Path(__file__).parent / "csrc").glob(f"*.{kind}")) for kind in "ch")
FLAGS = (
    *("-O3", "-fPIC", "-fopenmp", "-Wall", "-Wno-psabi"),
    # sums may be fused; infinities and NaN stay as they are
    *("-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math", "-fno-signed-zeros"),
)
TUNED = (("-march=native",), ("-mcpu=native",), ())
"""For this machine's processor: not every compiler knows the first, or any."""
PIXELS = 2**13
"""Of a picture, for each of the threads that share it."""
DIGEST = hashlib.sha256().digest_size


@cache
def library() -> Library | None:
    """The compiled code; None where TWEENLET_NATIVE=0, or, with one warning, where it cannot be had."""
    if os.environ.get("TWEENLET_NATIVE") == "0" or os.name != "posix":
        return None
    try:
        return _load()
    except Exception as error:  # whatever a compiler, a disk or a processor can do: PyTorch is there
        warnings.warn(f"no native code, so PyTorch does its work, slower: {_reason(error)}", stacklevel=2)
        return None


def _load() -> Library:
    """The compiled code, from the cache if it is there and sound. Any error where it cannot be had."""
    compiler = shlex.split(os.environ.get("CC", "")) or ["cc"]
    if shutil.which(compiler[0]) is None:
        raise FileNotFoundError(f"there is no C compiler called {compiler[0]}")
    name = f"native-{_fingerprint(compiler)}.so"
    made = cached_file(name)
    if made is None or not _whole(made):
        made = cache_folder() / name
        compile_to(made, compiler)
    return Library(made)


def _reason(error: Exception) -> str:
    """The line that tells most: of what a compiler said the first one with an error in it."""
    said = error.stdout if isinstance(error, subprocess.CalledProcessError) else None
    lines = said.decode(errors="replace").split("\n") if said else [str(error) or type(error).__name__]
    return next((line for line in lines if "error" in line), lines[0]).strip()


def loaded() -> Library:
    """The compiled code, for kernels, which run only where it is there. RuntimeError elsewhere."""
    compiled = library()
    if compiled is None:
        raise RuntimeError("expected native code, but there is none")
    return compiled


def threads_for(pixels: int) -> int:
    """How many threads a picture of so many pixels is worth: one that is woken takes 50 microseconds."""
    return max(1, min(torch.get_num_threads(), pixels // PIXELS))


def describe() -> str:
    """Whether there is native code, for people."""
    return "no native code" if library() is None else "native code"


def compile_to(made: Path, compiler: Sequence[str]) -> None:
    """Write the library. CalledProcessError, with what the compiler said, where it cannot be compiled."""
    work = Partial(made.with_name(f"{made.stem}.objects"), folder=True, shared=True)
    try:
        content = _compile(work.path, compiler).read_bytes()
    finally:
        work.discard()
    write_bytes_atomically(made, content + hashlib.sha256(content).digest(), shared=True)


def _compile(work: Path, compiler: Sequence[str]) -> Path:
    """The library, in a folder of its own, where the compiler may leave what it likes."""
    objects = {source: str(work / f"{source.stem}.o") for source in SOURCES}

    def compiled(source: Path) -> None:
        told = ("-c", str(source), "-o", objects[source])
        _run(*((*compiler, *FLAGS, *tuned, *told) for tuned in TUNED))

    with ThreadPoolExecutor(os.cpu_count()) as together:
        list(together.map(compiled, SOURCES))
    library = work / "library"
    link = (*compiler, "-shared", *objects.values(), "-lm", "-o", str(library))
    # what Clang makes does not run on GCC's OpenMP
    _run(*((*link, "-Wl,-z,defs", theirs) for theirs in _openmp()), (*link, "-fopenmp"))
    return library


def _whole(made: Path) -> bool:
    """Whether the library is there as it was written: to load the half of one would end the process."""
    content = made.read_bytes() if made.is_file() else b""
    return hashlib.sha256(content[:-DIGEST]).digest() == content[-DIGEST:]


def _run(*commands: Sequence[str], limit: float = 300) -> bytes:
    """What the first command that succeeds says. CalledProcessError, of the last, where none does.

    TimeoutExpired, with all that was started ended, where one takes longer than ``limit`` seconds.
    """
    for command in commands:
        with tempfile.TemporaryFile() as said:  # no pipe, which something left in the background would hold
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True
            )
            try:
                code = process.wait(limit)
            except BaseException:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                raise
            said.seek(0)
            words = said.read()
        if code == 0:
            return words
    raise subprocess.CalledProcessError(code, command, words)


def _openmp() -> tuple[str, ...]:
    """The OpenMP that PyTorch has loaded, under the name that it has there."""
    try:
        maps = Path("/proc/self/maps").read_text()
    except OSError:
        return ()
    return tuple(sorted({line.split()[-1] for line in maps.splitlines() if "/libgomp" in line}))[:1]


def _fingerprint(compiler: Sequence[str]) -> str:
    """Of all that the library depends on: the code, how it is compiled, by what, for which processor."""
    told = hashlib.sha256("\n".join((*compiler, *FLAGS, *_openmp(), platform.machine())).encode())
    told.update(_run([*compiler, "--version"], limit=20))
    for source in (*SOURCES, *HEADERS):
        told.update(source.read_bytes())
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        told.update("\n".join(x for x in lines if x.startswith(("model name", "flags", "Features"))).encode())
    except OSError:
        told.update(platform.processor().encode())
    return told.hexdigest()[:16]
