"""Check what a wheel holds: the package, the default weights, native code for its platform, and nothing else.

python scripts/wheel.py dist/*.whl [--pure]      --pure: one without native code, as without a compiler
"""

from __future__ import annotations

import sys
from pathlib import Path
from zipfile import ZipFile

ROOT = Path(__file__).resolve().parent.parent
SETS = {"x86_64": ("avx2", "avx512", "avx512_bf16"), "aarch64": ("neon",)}
"""Sets of instructions that native code is built for, by processor."""
PROCESSORS = {"amd64": "x86_64", "arm64": "aarch64"}
"""What platforms call a processor that others call otherwise."""
LARGEST = 15_000_000
"""Bytes of a wheel, of which 10 million are the default weights."""
LEFT_OUT = ("__pycache__", "built", "shipped")


def expected_files(tag: str) -> set[str]:
    """The files of a wheel for a platform ("any" for none), but those of its metadata."""
    package = ROOT / "tweenlet"
    files = (path for path in package.rglob("*") if path.is_file())
    names = {
        str(path.relative_to(ROOT))
        for path in files
        if not set(LEFT_OUT) & set(path.parts) and path.suffix != ".pyc"
    }
    processor = next((p for p in (*SETS, *PROCESSORS) if tag.endswith(p)), None)
    suffix = ".dll" if tag.startswith("win") else ".so"
    sets = SETS[PROCESSORS.get(processor, processor)] if processor else ()
    built = {f"tweenlet/ops/cpu/built/{name}{suffix}" for name in sets}
    return names | built | {"tweenlet/shipped/default.safetensors"}


def check(wheel: Path, pure: bool = False) -> None:
    """ValueError that names what is missing, what is too much, or how large it is."""
    tag = "any" if pure else wheel.stem.split("-")[-1]
    with ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name and not name.endswith("/")}
    expected = expected_files(tag)
    for problem, files in (("lacks", expected - names), ("has", names - expected)):
        if files:
            raise ValueError(f"{wheel.name} {problem} {', '.join(sorted(files)[:5])}")
    if wheel.stat().st_size > LARGEST:
        raise ValueError(f"{wheel.name} has {wheel.stat().st_size:,} bytes, expected {LARGEST:,} at the most")


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        if argument != "--pure":
            try:
                check(Path(argument), "--pure" in sys.argv)
            except ValueError as error:
                sys.exit(str(error))
            print(f"{Path(argument).name} is complete")
