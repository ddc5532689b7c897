"""Native code: C for the inner loops that are slow in PyTorch, built ahead or compiled for this machine.

    csrc/*.c --+-- CMakeLists.txt --> built/avx2.so, avx512.so, ... of a wheel --+-- bindings --> library()
               +-- the machine's cc --> cache/native-FINGERPRINT.so -------------+

A wheel has a library for each instruction set, of which the best supported one is loaded. Without one, or
with TWEENLET_NATIVE=compile, the machine's own compiler builds a library at first use. It is plain C with
GCC's vector extensions, which GCC and Clang compile for any processor. Without a working compiler, or with
TWEENLET_NATIVE=0, there is no library and PyTorch gives the same results more slowly. Threads are those of
PyTorch's OpenMP if possible: two pools may wait for each other.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import torch

from tweenlet.ops.cpu.bindings import Library, share_functions
from tweenlet.runtime.atomic import Partial, write_bytes_atomically
from tweenlet.runtime.cache import cache_folder, cached_file
from tweenlet.runtime.programs import kill_all

SOURCES, HEADERS = (sorted((Path(__file__).parent / "csrc").glob(f"*.{kind}")) for kind in "ch")
FLAGS = tuple((Path(__file__).parent / "csrc/flags.txt").read_text(encoding="utf-8").split())
"""Sums may be fused; infinities and NaN stay as they are."""
BUILT = Path(__file__).parent / "built"
"""Folder of a wheel's libraries, named after the instruction sets in CMakeLists.txt."""
TUNED = (("-march=native",), ("-mcpu=native",), ())
"""Flags for this machine's processor, tried in order: not every compiler supports the first, or any."""
DIGEST = hashlib.sha256().digest_size


@cache
def library() -> Library | None:
    """The compiled code; None with TWEENLET_NATIVE=0, or, with one warning, if it cannot be built."""
    setting = os.environ.get("TWEENLET_NATIVE")
    if setting == "0":
        return None
    built = None if setting == "compile" else _load_built()
    if built is not None or os.name != "posix":
        return built
    try:
        return _load()
    except Exception as error:  # whatever a compiler or a disk can do: PyTorch is there
        warnings.warn(f"no native code, so PyTorch does its work, slower: {_reason(error)}", stacklevel=2)
        return None


def _load_built() -> Library | None:
    """The best of the wheel's libraries that this processor supports; None if there is none."""
    for name in _instruction_sets():
        for path in BUILT.glob(f"{name}.*"):
            try:
                for openmp in _openmp():  # which the library asks for by the names of its functions alone
                    share_functions(openmp)
                return Library(path)
            except OSError:  # of another system, or this PyTorch has another OpenMP
                continue
    return None


def _instruction_sets() -> tuple[str, ...]:
    """Names of the instruction sets that this processor supports, best first."""
    machine = platform.machine().lower()
    if machine in ("aarch64", "arm64"):
        return ("neon",)
    if machine not in ("x86_64", "amd64"):
        return ()
    capability = torch.backends.cpu.get_cpu_capability()
    if not capability.startswith("AVX512"):
        return ("avx2",) if capability == "AVX2" else ()
    knows_bf16 = getattr(torch.cpu, "_is_avx512_bf16_supported", bool)()
    return ("avx512_bf16", "avx512", "avx2") if knows_bf16 else ("avx512", "avx2")


def _load() -> Library:
    """The compiled code, from the cache if intact; any error if it cannot be built."""
    compiler = shlex.split(os.environ.get("CC", "")) or ["cc"]
    if shutil.which(compiler[0]) is None:
        raise FileNotFoundError(f"there is no C compiler called {compiler[0]}")
    name = f"native-{_fingerprint(compiler)}.so"
    path = cached_file(name)
    if path is None or not _is_intact(path):
        path = cache_folder() / name
        compile_to(path, compiler)
    return Library(path)


def _reason(error: Exception) -> str:
    """One line of an error; from a compiler's output, the first with "error" in it."""
    output = error.stdout if isinstance(error, subprocess.CalledProcessError) else None
    lines = output.decode(errors="replace").split("\n") if output else [str(error) or type(error).__name__]
    return next((line for line in lines if "error" in line), lines[0]).strip()


def require_library() -> Library:
    """The compiled code, for kernels, which are chosen only if it exists. RuntimeError otherwise."""
    compiled = library()
    if compiled is None:
        raise RuntimeError("expected native code, but there is none")
    return compiled


def describe() -> str:
    """Whether there is native code, as text."""
    return "no native code" if library() is None else "native code"


def compile_to(path: Path, compiler: Sequence[str]) -> None:
    """Compile the library to ``path``. CalledProcessError, with the compiler's output, if that fails."""
    work = Partial(path.with_name(f"{path.stem}.objects"), folder=True, shared=True)
    try:
        content = _compile(work.path, compiler).read_bytes()
    finally:
        work.discard()
    write_bytes_atomically(path, content + hashlib.sha256(content).digest(), shared=True)


def _compile(work: Path, compiler: Sequence[str]) -> Path:
    """Compile in a folder ``work``, where the compiler may leave other files; returns the library."""
    objects = {source: str(work / f"{source.stem}.o") for source in SOURCES}

    def compiled(source: Path) -> None:
        arguments = ("-c", str(source), "-o", objects[source])
        _run(*((*compiler, *FLAGS, *tuned, *arguments) for tuned in TUNED))

    with ThreadPoolExecutor(os.cpu_count()) as together:
        list(together.map(compiled, SOURCES))
    library = work / "library"
    link = (*compiler, "-shared", *objects.values(), "-lm", "-o", str(library))
    # code from Clang does not run on GCC's OpenMP
    _run(*((*link, "-Wl,-z,defs", theirs) for theirs in _openmp()), (*link, "-fopenmp"))
    return library


def _is_intact(path: Path) -> bool:
    """Whether the file is complete: loading a truncated library would crash the process."""
    content = path.read_bytes() if path.is_file() else b""
    return hashlib.sha256(content[:-DIGEST]).digest() == content[-DIGEST:]


def _run(*commands: Sequence[str], limit: float = 300) -> bytes:
    """The output of the first command that succeeds. CalledProcessError, of the last one, if none does.

    TimeoutExpired, with the process group killed, if one takes longer than ``limit`` seconds.
    """
    for command in commands:
        with tempfile.TemporaryFile() as output:  # a pipe may be held open by a child
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )
            try:
                code = process.wait(limit)
            except BaseException:
                kill_all(process)
                raise
            output.seek(0)
            words = output.read()
        if code == 0:
            return words
    raise subprocess.CalledProcessError(code, command, words)


def _openmp() -> tuple[str, ...]:
    """Path of the OpenMP library that PyTorch has loaded, if it is GCC's."""
    try:
        maps = Path("/proc/self/maps").read_text(encoding="utf-8")
    except OSError:
        return ()
    return tuple(sorted({line.split()[-1] for line in maps.splitlines() if "/libgomp" in line}))[:1]


def _fingerprint(compiler: Sequence[str]) -> str:
    """Digest of everything that the library depends on: code, flags, compiler and processor."""
    digest = hashlib.sha256("\n".join((*compiler, *FLAGS, *_openmp(), platform.machine())).encode())
    digest.update(_run([*compiler, "--version"], limit=20))
    for source in (*SOURCES, *HEADERS):
        digest.update(source.read_bytes())
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        digest.update(
            "\n".join(x for x in lines if x.startswith(("model name", "flags", "Features"))).encode()
        )
    except OSError:
        digest.update(platform.processor().encode())
    return digest.hexdigest()[:16]
