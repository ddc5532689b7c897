"""The house speaks the field's language: searches land in the right room, and names are verbs and nouns."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import tweenlet

HOUSE = Path(tweenlet.__file__).parent
PRONOUNS = {"made", "found", "told", "said", "known", "kept", "given", "wanted", "asked", "begun", "gone"}
"""Names that say nothing about the value; for two lines they may stand."""
LIVES = 2
"""Lines after which such a name must not be read any more."""
IRREGULAR = PRONOUNS | {"built", "drawn", "shown", "taken", "written", "sought"}
ALLOWED = {"padded", "shared", "embedded"}
"""Participles that may name a public function, as in ``sorted``: they return a changed copy."""

SEARCHES = {
    r"dataset": "training/data/dataset.py",
    r"data ?loader|data loading": "training/data/batches.py",
    r"augment": "training/data/batches.py",
    r"prefetch": "interpolation/prefetch.py",
    r"tiling": "interpolation/tiling.py",
    r"\bEMA\b|exponential moving|ema_decay": "training/state.py",
    r"arena": "ops/cpu/arena.py",
    r"gemm": "ops/cpu/csrc/gemm.h",
    r"intermediate flow": "network/intermediate_flow.py",
    r"quadratic|acceleration": "network/four_frames.py",
    r"squeeze|channel ?gate": "network/blocks.py",
    r"halo\b": "inference/fused/bands.py",
    r"batch norm": "inference/fused/fuse.py",
    r"quantiz|precision": "inference/engines.py",
    r"channel group": "network/channels.py",
    r"official checkpoint|published": "network/official.py",
    r"pixel.(un)?shuffle|residual head": "ops/mix.py",
    r"backward warp|backwarp": "ops/warp.py",
    r"forward warp|splat": "ops/splat.py",
    r"scene detection": "video/scene_detection.py",
    r"timestamp": "video/timestamps.py",
    r"flow estimation|optical flow": "evaluation/optical_flow.py",
    r"winograd": "ops/cpu/winograd.py",
    r"prun": "compression/obprox.py",
    r"distill": "compression/distill.py",
    r"sparsi": "compression/sparsify.py",
    r"onnx": "inference/onnx.py",
    r"cuda kernel|triton kernel": "ops/cuda/adacof.py",
    r"cuda graph": "inference/cuda_graphs.py",
    r"checkpoint": "network/checkpoint.py",
    r"slow.motion|retim": "interpolation/timing.py",
    r"cost volume|correlation": "ops/correlation.py",
    r"baseline": "evaluation/baselines/__init__.py",
    r"benchmark": "evaluation/benchmarks.py",
    r"\bdata ?set": "evaluation/datasets.py",
    r"confidence interval": "evaluation/statistics.py",
    r"roofline": "bench/roofline.py",
    r"atomic": "runtime/atomic.py",
    r"malloc|resident memory": "runtime/malloc.py",
    r"progress bar": "cli/progress.py",
}
"""What an engineer of video frame interpolation would grep for -> a file that must be among the hits."""

SOURCES = {
    str(path.relative_to(HOUSE)): path.read_text()
    for path in sorted(HOUSE.rglob("*"))
    if path.suffix in (".py", ".c", ".h")
}
MODULES = [name for name in SOURCES if name.endswith(".py")]
ROOT = Path(__file__).resolve().parents[1]
FILES = [
    path.relative_to(ROOT).as_posix()
    for folder in ("tweenlet", "scripts", "runs", "examples", "integrations", "tests")
    for path in sorted((ROOT / folder).rglob("*.py"))
]


@pytest.mark.parametrize(("pattern", "file"), SEARCHES.items(), ids=SEARCHES.values())
def test_a_search_lands_in_the_right_room(pattern: str, file: str) -> None:
    hits = [name for name, text in SOURCES.items() if re.search(pattern, text, re.IGNORECASE)]
    assert file in hits


@pytest.mark.parametrize("name", FILES)
def test_no_pronoun_is_a_name_that_lives_long(name: str) -> None:
    tree = ast.parse((ROOT / name).read_text())
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    assert not [f"line {line}: {word}" for node in functions for line, word in long_pronouns(node)]


@pytest.mark.parametrize("name", MODULES)
def test_public_functions_are_verbs(name: str) -> None:
    assert not [
        function for function in public_functions(ast.parse(SOURCES[name])) if is_participle(function)
    ]


def long_pronouns(function: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[tuple[int, str]]:
    """(line, name) of arguments and variables with a banned name that are read more than two lines later."""
    first: dict[str, int] = {}
    for node in ast.walk(function):
        if isinstance(node, ast.arg) and node.arg in PRONOUNS:
            yield node.lineno, node.arg
        if isinstance(node, ast.Name) and node.id in PRONOUNS and isinstance(node.ctx, ast.Store):
            first[node.id] = min(node.lineno, first.get(node.id, node.lineno))
    for node in ast.walk(function):
        read = isinstance(node, ast.Name) and node.id in first and isinstance(node.ctx, ast.Load)
        if isinstance(node, ast.Name) and read and node.lineno - first[node.id] > LIVES:
            yield first.pop(node.id), node.id


def public_functions(tree: ast.Module) -> Iterator[str]:
    """Names of public functions and methods; properties are nouns or adjectives, and left out."""
    bodies = [node.body for node in ast.walk(tree) if isinstance(node, ast.Module | ast.ClassDef)]
    for node in (node for body in bodies for node in body):
        if not isinstance(node, ast.FunctionDef) or node.name.startswith("_"):
            continue
        if not any("property" in ast.unparse(decorator) for decorator in node.decorator_list):
            yield node.name


def is_participle(name: str) -> bool:
    return name not in ALLOWED and (name in IRREGULAR or (name.endswith("ed") and "_" not in name))


def test_the_checks_find_what_they_should() -> None:
    tree = ast.parse(
        "def blended():\n    made = 1\n    x = 2\n    y = 3\n    return made\ndef of(told): pass\n"
    )
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    assert [word for node in functions for _, word in long_pronouns(node)] == ["made", "told"]
    assert [name for name in public_functions(tree) if is_participle(name)] == ["blended"]
    short = ast.parse("def blend():\n    made = 1\n    return made\n").body[0]
    assert isinstance(short, ast.FunctionDef)
    assert not list(long_pronouns(short))
