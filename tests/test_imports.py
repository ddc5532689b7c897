"""Imports run down only: the house of docs and DESIGN, walked."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import tweenlet

HOUSE = Path(tweenlet.__file__).parent
FLOORS = [
    ["runtime"],
    ["ops", "video"],
    ["network"],
    ["inference"],
    ["interpolation"],
    ["vapoursynth", "app"],
    ["evaluation"],
    ["training"],
    ["compression"],
    ["bench"],
    ["cli"],
    ["__main__"],
]
"""From the ground up. Within a floor a room may use those before it."""
ALONE = {"runtime"}
"""Rooms that know nothing of the rest of the house."""
ORDER = [room for floor in FLOORS for room in floor]
FILES = sorted(path for path in HOUSE.rglob("*.py") if path != HOUSE / "__init__.py")


def room_of(path: Path) -> str:
    return path.relative_to(HOUSE).parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    """The rooms that a file imports from, those it imports inside functions included."""
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        rooms |= {name.split(".")[1] for name in names if name.startswith("tweenlet.")}
    return rooms


def test_every_room_has_a_floor() -> None:
    assert {room_of(path) for path in FILES} <= set(ORDER)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(HOUSE)))
def test_imports_run_down_only(path: Path) -> None:
    room = room_of(path)
    others = imported(path) - {room}
    assert not others or room not in ALONE, f"{room} knows of {others}"
    above = {other for other in others if other in ORDER and ORDER.index(other) >= ORDER.index(room)}
    assert not above, f"{room} reaches up to {above}"


def test_the_network_never_sees_files_or_arguments() -> None:
    for path in [*(HOUSE / "network").glob("*.py"), *(HOUSE / "ops").glob("*.py")]:
        if path.name in ("checkpoint.py", "hub.py", "official.py", "weight_files.py"):
            continue
        words = {node.id for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Name)}
        assert not words & {"open", "Path", "print", "sys"}, path


def test_no_drawers() -> None:
    assert not [
        p for p in HOUSE.rglob("*") if p.stem in ("util", "utils", "common", "misc", "helper", "helpers")
    ]
