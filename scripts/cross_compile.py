"""Compile and link the native code for systems that are not here, by zig; scripts/native_calls.py runs it.

python scripts/cross_compile.py [TARGET ...]        needs: pip install ziglang

As CMakeLists.txt has it, no OpenMP is linked: PyTorch brings it. For Windows a library tells its name.
"""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "tweenlet/ops/cpu/csrc"
TARGETS = {
    "aarch64-linux-gnu.2.17": [],
    "aarch64-linux-musl": [],
    "x86_64-linux-gnu.2.17": ["-mcpu=x86_64_v3"],
    "x86_64-linux-musl": ["-mcpu=x86_64_v4+avx512bf16"],
    "aarch64-macos.11.0": [],
    "x86_64-macos.11.0": ["-mcpu=x86_64_v3"],
    "x86_64-windows-gnu": ["-mcpu=x86_64_v3"],
}
"""By target: flags beside those of flags.txt."""
RUNTIME = {"macos": ["-undefined", "dynamic_lookup"], "linux": ["-Wl,-z,undefs"], "windows": []}
"""How the functions of OpenMP may be missing. Windows does not know that: they are imported."""


def compile_for(target: str, folder: Path, openmp: bool = True) -> list[Path]:
    """Objects of all sources; CalledProcessError, with what zig said on stderr, where one fails."""
    flags = (FOLDER / "flags.txt").read_text().split()
    if "windows" in target:
        flags.remove("-fPIC")
    if not openmp:
        flags.remove("-fopenmp")
        flags.append("-Wno-unknown-pragmas")
    sources = sorted(FOLDER.glob("*.c"))
    objects = [folder / f"{source.stem}.o" for source in sources]

    def build(source: Path, out: Path) -> None:
        zig("-target", target, *TARGETS[target], *flags, "-c", str(source), "-o", str(out))

    with ThreadPoolExecutor() as pool:
        list(pool.map(build, sources, objects))
    return objects


def zig(*arguments: str) -> None:
    """Run zig as a C compiler."""
    subprocess.run([sys.executable, "-m", "ziglang", "cc", *arguments], check=True)


def main() -> None:
    """Compile for the targets named, or all."""
    for target in sys.argv[1:] or TARGETS:
        with TemporaryDirectory() as name:
            folder = Path(name)
            objects = [str(path) for path in compile_for(target, folder)]
            runtime = next(flags for system, flags in RUNTIME.items() if system in target)
            if "windows" in target:
                objects.append(str(folder / "openmp.lib"))
                arguments = ("-m", "i386:x86-64", "-d", str(FOLDER / "openmp.def"), "-l", objects[-1])
                subprocess.run([sys.executable, "-m", "ziglang", "dlltool", *arguments], check=True)
            zig("-target", target, "-shared", *objects, *runtime, "-o", str(folder / "library"))
            print(f"{target}: compiled and linked", flush=True)


if __name__ == "__main__":
    main()
