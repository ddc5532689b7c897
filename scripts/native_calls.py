"""Run every function of the native library on ARM Linux as it ran here: calls are recorded, then replayed.

    tests of ops ── a library of vectors of four floats, as NEON has ──> calls: memory before and after
                                                                                        │
    csrc/, native_calls.c ── zig ──> a program for aarch64 ── qemu-user ──> memory after, compared

python scripts/native_calls.py      on x86-64; needs: pip install ziglang '.[dev]', and qemu-aarch64

Recorded is what a call can reach: the storages of its tensors, and its structs, whose pointers are told as
places in those. Numbers may differ by as much as sums of another order do, all else not at all.
"""

from __future__ import annotations

import ctypes
import os
import struct
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from tweenlet.ops.cpu import bindings
from tweenlet.ops.cpu.bindings import DISTANCE, FLOAT, INT, NOTHING, PROTOTYPES, Library, Pointer

ROOT = Path(__file__).resolve().parent.parent
MOST, LARGEST = 12, 1 << 20
"""Calls of a function that are recorded, and bytes of one."""
KINDS = {torch.float32: 1, torch.bfloat16: 2, torch.float64: 3}
"""How memory is compared, by its numbers; 0 for others: to the bit."""
OPS = "adacof dispatch epilogue levels mix overlay prelu reduce resample splat upsample_rows"
TESTS = (
    *(f"tests/ops/test_{name}.py" for name in f"{OPS} warp_and_correlation".split()),
    *(f"tests/ops/cpu/test_{name}.py" for name in ("adacof_head", "bottleneck", "planes", "winograd")),
)
"""What calls every function."""

Block = tuple[int, int, int]
"""Address, bytes and kind of a piece of memory."""


class Recorder:
    """Writes the calls of a library to a file."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")
        self._counts: Counter[str] = Counter()
        self._known: set[tuple[Any, ...]] = set()
        self._storages: dict[int, tuple[Block, Any]] = {}

    def remember(self, tensor: Tensor) -> None:
        """Keep a tensor that a struct may point to."""
        storage = tensor.untyped_storage()
        block = (storage.data_ptr(), storage.nbytes(), KINDS.get(tensor.dtype, 0))
        self._storages[storage.data_ptr()] = block, storage

    def wrap(self, name: str, function: Any) -> Callable[..., Any]:
        """A function that is recorded as it is called."""

        def call(*arguments: Any) -> Any:
            for argument in arguments:
                if isinstance(argument, Tensor):
                    self.remember(argument)
            blocks, places, values = self._reach(arguments)
            size = sum(block[1] for block in blocks)
            key = (name, *(block[1:] for block in blocks), *map(str, values))
            if self._counts[name] >= MOST or size > LARGEST or key in self._known:
                return function(*arguments)
            self._known.add(key)
            before = [ctypes.string_at(start, count) for start, count, _ in blocks]
            result = function(*arguments)
            after = [ctypes.string_at(start, count) for start, count, _ in blocks]
            self._write(name, blocks, before, after, places, values, int(result or 0))
            return result

        return call

    def _reach(self, arguments: tuple[Any, ...]) -> tuple[list[Block], list[tuple[int, ...]], list[Any]]:
        """Memory that a call reaches, where pointers lie in it and what they point to, and the arguments."""
        blocks: list[Block] = []
        places: list[tuple[int, ...]] = []

        def place(address: int) -> tuple[int, int]:
            for block, _ in self._storages.values():
                if block[0] <= address <= block[0] + block[1]:
                    if block not in blocks:
                        blocks.append(block)
                    return blocks.index(block), address - block[0]
            raise ValueError(f"nothing is known at {address:#x}")

        values: list[Any] = []
        for argument in arguments:
            if isinstance(argument, Tensor):
                values.append(place(argument.data_ptr()))
            elif isinstance(argument, ctypes.Structure | ctypes.Array):
                number = len(blocks)
                blocks.append((ctypes.addressof(argument), ctypes.sizeof(argument), 0))
                for offset in pointers(type(argument), 0):
                    if address := ctypes.c_uint64.from_buffer(argument, offset).value:
                        places.append((number, offset, *place(address)))
                values.append((number, 0))
            else:
                values.append(argument)
        return blocks, places, values

    def _write(
        self,
        name: str,
        blocks: list[Block],
        before: list[bytes],
        after: list[bytes],
        places: list[tuple[int, ...]],
        values: list[Any],
        status: int,
    ) -> None:
        self._counts[name] += 1
        pack = [struct.pack("<qq", [*PROTOTYPES].index(name), len(blocks))]
        for (_, size, kind), old, new in zip(blocks, before, after, strict=True):
            pack += [struct.pack("<qq", size, kind), old, new]
        pack.append(struct.pack("<q", len(places)))
        pack += [struct.pack("<qqqq", *entry) for entry in places]
        pack.append(struct.pack("<q", len(values)))
        for kind, value in zip(PROTOTYPES[name][1:], values, strict=True):
            if value is None:
                pack.append(struct.pack("<qqd", -1, 0, 0))
            elif isinstance(value, tuple):
                pack.append(struct.pack("<qqd", *value, 0))
            else:
                whole = 0 if kind is FLOAT else int(value)
                pack.append(struct.pack("<qqd", -1, whole, float(value)))
        self._file.write(b"".join((*pack, struct.pack("<q", status))))
        self._file.flush()


def pointers(kind: Any, offset: int) -> Iterator[int]:
    """Where pointers lie in a struct, or in an array of them."""
    if issubclass(kind, ctypes.Array):
        for number in range(kind._length_):
            yield from pointers(kind._type_, offset + number * ctypes.sizeof(kind._type_))
    elif issubclass(kind, ctypes.Structure):
        for name, inner in kind._fields_:
            yield from pointers(inner, offset + getattr(kind, name).offset)
    elif issubclass(kind, Pointer):
        yield offset


def pytest_configure() -> None:
    """Record the calls of all tests, as a plugin of pytest."""
    recorder = Recorder(Path(os.environ["TWEENLET_CALLS"]))
    load, from_param = Library.__init__, Pointer.from_param.__func__  # type: ignore[attr-defined]

    def record(self: Library, path: Path) -> None:
        load(self, path)
        for name in PROTOTYPES:
            setattr(self, name, recorder.wrap(name, getattr(self, name)))

    def remember(cls: type[Pointer], value: Any) -> Pointer:
        if isinstance(value, Tensor):
            recorder.remember(value)
        pointer: Pointer = from_param(cls, value)
        return pointer

    bindings.Library.__init__ = record  # type: ignore[method-assign]
    Pointer.from_param = classmethod(remember)  # type: ignore[assignment,method-assign]


def functions() -> str:
    """The header that tells the driver each function and how it is called."""
    cases = []
    for number, (name, (result, *kinds)) in enumerate(PROTOTYPES.items()):
        fields = ("f" if kind is FLOAT else "i" if kind in (INT, DISTANCE) else "p" for kind in kinds)
        called = f"tweenlet_{name}({', '.join(f'a[{k}].{field}' for k, field in enumerate(fields))})"
        cases.append(
            f"case {number}: " + (f"{called}; return 0;" if result == NOTHING else f"return {called};")
        )
    return "\n".join((
        f"enum {{ COUNT = {len(PROTOTYPES)} }};",
        "static const char *names[] = {" + ", ".join(f'"{name}"' for name in PROTOTYPES) + "};",
        "static int call(long function, const struct argument *a) {", "switch (function) {", *cases, "}",
        "return -99;", "}\n",
    ))  # fmt: skip


def record(folder: Path) -> Path:
    """The calls of the tests of ops, by a library whose vectors have four floats."""
    compiler = folder / "cc"
    compiler.write_text('#!/bin/sh\nexec cc -mno-avx "$@"\n')
    compiler.chmod(0o755)
    calls = folder / "calls"
    environment = {
        **os.environ, "CC": str(compiler), "TWEENLET_NATIVE": "compile", "XDG_CACHE_HOME": str(folder),
        "TWEENLET_CALLS": str(calls), "OMP_NUM_THREADS": "1",
        "PYTHONPATH": f"{ROOT / 'scripts'}:{ROOT}:{os.environ.get('PYTHONPATH', '')}",
    }  # fmt: skip
    tests = [sys.executable, "-m", "pytest", "-p", "native_calls", "-m", "not long", "--no-cov", *TESTS]
    subprocess.run(tests, check=True, cwd=ROOT, env=environment)
    return calls


def replay(folder: Path, calls: Path) -> None:
    """Make the same calls on ARM Linux; CalledProcessError where one comes out otherwise."""
    from cross_compile import FOLDER, compile_for, zig

    target = "aarch64-linux-musl"
    objects = [str(path) for path in compile_for(target, folder, openmp=False)]
    program = str(folder / "driver")
    (folder / "functions.h").write_text(functions())
    flags = ("-O1", "-static", f"-I{FOLDER}", f"-I{folder}", "-lm")
    zig("-target", target, str(ROOT / "scripts/native_calls.c"), *objects, *flags, "-o", program)
    subprocess.run(["qemu-aarch64", program, str(calls)], check=True)


if __name__ == "__main__":
    with TemporaryDirectory() as name:
        replay(Path(name), record(Path(name)))
