"""The boundary to native code: what is declared is what the header says, and what is passed is checked."""

from __future__ import annotations

import ast
import ctypes
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import torch

import tweenlet
from tweenlet.ops import dispatch
from tweenlet.ops.cpu import bindings
from tweenlet.ops.cpu import library as native
from tweenlet.ops.cpu.bindings import PROTOTYPES, STRUCTS, Convolution, Layout, Pointer, Strided

HOUSE = Path(tweenlet.__file__).parent
HEADER = re.sub(r"/\*.*?\*/", "", (native.SOURCES[0].parent / "tweenlet.h").read_text(), flags=re.S)
NUMBERS = {"int": ctypes.c_int, "ptrdiff_t": ctypes.c_ssize_t, "float": ctypes.c_float}
POINTERS = {
    "float": (torch.float32,),
    "double": (torch.float64,),
    "int": (torch.int32,),
    "char": (torch.float32, torch.bfloat16),
    "void": (torch.float32, torch.bfloat16),
    "uint8_t": (torch.uint8, torch.uint16),
}
compiled = pytest.mark.skipif(not dispatch.has_native(), reason="no C compiler")


def declared(kind: type) -> object:
    """A type of ctypes, as :func:`written` says it."""
    if issubclass(kind, ctypes.Array):
        return kind._length_, declared(kind._type_)
    if issubclass(kind, Pointer):
        return kind.dtypes
    return kind


def written(declaration: str) -> list[tuple[str, object]]:
    """The names and types of one C declaration, of an argument or of fields."""
    words = re.sub(r"\bconst\b", "", declaration).split()
    kind = " ".join(words[:2]) if words[0] == "struct" else words[0]
    names = " ".join(words[2 if words[0] == "struct" else 1 :])
    parsed = []
    for name in names.split(","):
        pointer = name.strip().startswith("*")
        bare, _, length = name.strip(" *]").partition("[")
        if kind.startswith("struct"):
            struct = STRUCTS[kind.removeprefix("struct tweenlet_")]
            of: object = ctypes.POINTER(struct) if pointer else struct
        else:
            of = POINTERS[kind] if pointer else NUMBERS[kind]
        parsed.append((bare, (int(length), of) if length else of))
    return parsed


def test_prototypes_are_those_of_the_header() -> None:
    found = re.findall(r"^(int|void) tweenlet_(\w+)\(([^)]*)\);", HEADER, flags=re.M)
    assert {name for _, name, _ in found} == set(PROTOTYPES)
    for result, name, arguments in found:
        returns, *takes = PROTOTYPES[name]
        expected = [] if arguments == "void" else [written(x)[0][1] for x in arguments.split(",")]
        assert list(map(declared, takes)) == expected, name
        assert (returns == bindings.NOTHING) == (result == "void"), name


def test_structs_are_those_of_the_header() -> None:
    structs = dict(re.findall(r"^struct tweenlet_(\w+) \{(.*?)^\};", HEADER, flags=re.M | re.S))
    assert set(structs) == {*STRUCTS, "size"}
    for name, struct in STRUCTS.items():
        fields = [field for line in structs[name].split(";") if line.strip() for field in written(line)]
        assert [(field, declared(kind)) for field, kind in struct._fields_] == fields, name


@compiled
def test_a_swapped_argument_is_refused() -> None:
    library = native.library()
    assert library is not None
    source, flow, out = torch.zeros(3, 4, 5), torch.zeros(2, 4, 5), torch.empty(3, 4, 5)
    numbers = (False, 1, 1, 1, 20, 3, 4, 5)
    library.backwarp(source, flow, out, *numbers, 1)
    with pytest.raises(ctypes.ArgumentError, match="argument 3: TypeError: expected a tensor, got int"):
        library.backwarp(source, flow, 3, out, *numbers)
    with pytest.raises(ctypes.ArgumentError, match="argument 5"):
        library.backwarp(source, flow, out, False, 1.5, *numbers[2:], 1)
    with pytest.raises(TypeError, match="at least 12 arguments"):
        library.backwarp(source, flow, out)
    duplicates = torch.zeros(2, dtype=torch.int32)
    with pytest.raises(ctypes.ArgumentError, match=r"argument 1: ValueError: .* tensor of float32 .*int32"):
        library.static_overlay(duplicates, torch.zeros(4, 3, 8, 8), out, out, 8, 8, *[0.1] * 5, 1)
    with pytest.raises(ctypes.ArgumentError, match="LP_Strided"):
        library.correlation(Layout(0, 0, 0, 0), Layout(0, 0, 0, 0), out, 1, 1, 1, 1, 1)


@compiled
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (torch.zeros(1, 2, 4, 4, dtype=torch.float64), "float64"),
        (torch.zeros(1, 2, 4, 4, device="meta"), "on meta"),
        (torch.zeros(1, 2, 4, 8)[..., ::2], "contiguous"),
    ],
    ids=["dtype", "device", "layout"],
)
def test_a_tensor_that_is_not_as_declared_is_refused(wrong: torch.Tensor, message: str) -> None:
    library = native.library()
    assert library is not None
    with pytest.raises(ctypes.ArgumentError, match=message):
        library.box_blur(wrong, torch.empty(1, 2, 4, 4), 2, 3, 4, 4, 1)


def test_a_field_is_checked_like_an_argument() -> None:
    with pytest.raises(ValueError, match=r"strided tensor of float32 on the CPU .*float16"):
        Strided(torch.zeros(1, dtype=torch.float16), 1, 1, 1, 1)
    with pytest.raises(ValueError, match="shorter"):
        Convolution(1, 2, 3)
    assert Strided(torch.zeros(1), 1, 2, 3, 4).pixel == 4


@compiled
def test_a_library_with_other_structs_is_not_loaded(tmp_path: Path) -> None:
    folder = tmp_path / "csrc"
    shutil.copytree(native.SOURCES[0].parent, folder, ignore=shutil.ignore_patterns("*.py"))
    header = folder / "tweenlet.h"
    header.write_text(header.read_text().replace("ptrdiff_t row, pixel;", "int row, pixel;", 1))
    library = tmp_path / "library.so"
    command = ["cc", "-shared", "-fPIC", "-O0", "-fopenmp", str(folder / "abi.c"), "-o", str(library)]
    subprocess.run(command, check=True, timeout=60)
    with pytest.raises(OSError, match="expected structs of these sizes in bytes"):
        bindings.Library(library)


@compiled
@pytest.mark.skipif(shutil.which("nm") is None, reason="no nm")
def test_every_exported_symbol_has_the_prefix() -> None:
    loaded = re.findall(r"\S+/native-\w+\.so", Path("/proc/self/maps").read_text())
    assert native.library() is not None
    command = ["nm", "-D", "--defined-only", "-f", "posix", loaded[0]]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    symbols = {line.split()[0] for line in lines if not line.startswith("_")}
    assert symbols == {f"tweenlet_{name}" for name in (*PROTOTYPES, "sizes")}


@pytest.mark.slow
def test_no_other_file_imports_ctypes() -> None:
    """Except where the system is asked about the process: its memory, and on Windows its locks."""
    users = set()
    for path in HOUSE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if any(name.split(".")[0] == "ctypes" for name in names):
                users.add(path.relative_to(HOUSE).as_posix())
    assert users == {"ops/cpu/bindings.py", "runtime/locks.py", "runtime/malloc.py"}


@pytest.mark.skipif(shutil.which("clang-format") is None, reason="no clang-format")
def test_c_is_formatted() -> None:
    """By the version of the extra ``dev``: others break lines elsewhere."""
    version = subprocess.run(["clang-format", "--version"], capture_output=True, text=True, check=True).stdout
    if "version 14." not in version:
        pytest.skip("another clang-format")
    style = Path(__file__).parents[3] / ".clang-format"
    command = ["clang-format", f"--style=file:{style}", "--dry-run", "-Werror"]
    subprocess.run([*command, *map(str, (*native.SOURCES, *native.HEADERS))], check=True, timeout=60)
