"""Settings: options of a command from tweenlet.toml in the current folder, as if typed before the others.

[interpolate]
fps = "60"
crf = 18
cuts = false
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tweenlet.runtime.atomic import write_bytes_atomically

FILE = Path("tweenlet.toml")
EXCLUSIVE = ({"factor", "fps", "r"}, {"factor", "slow", "speed"})
"""Groups of exclusive options: a typed one overrides the others of its group in the file."""


def add_settings(arguments: Sequence[str]) -> list[str]:
    """Add the options saved for a command to its command line, unless they are typed.

    Raises:
        ValueError: the file cannot be read, or a value is not a number, a string, a boolean or a list.

    """
    verb = arguments[0] if arguments else ""
    if not FILE.is_file() or verb.startswith("-") or {"--help", "-h"} & set(arguments):
        return list(arguments)
    try:
        tables = tomllib.loads(FILE.read_text(encoding="utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{FILE} cannot be read: {error}") from None
    options = tables.get(verb, {})
    if not isinstance(options, dict):
        raise ValueError(f"{FILE}: expected a table [{verb}], got {options!r}")
    typed = {argument.partition("=")[0].lstrip("-").removeprefix("no-") for argument in arguments[1:]}
    added = []
    for name, value in options.items():
        rivals = {name}.union(*(group for group in EXCLUSIVE if name in group))
        if not rivals & typed:
            added += _tokens(name, value)
    return [verb, *added, *arguments[1:]]


def save_settings(verb: str, options: dict[str, Any]) -> None:
    """Save the options of a command to the file, and leave those of other commands."""
    tables = tomllib.loads(FILE.read_text(encoding="utf-8-sig")) if FILE.is_file() else {}
    tables[verb] = {name: str(value) if isinstance(value, Path) else value for name, value in options.items()}
    lines = []
    for table, values in tables.items():
        lines.append(f"[{table}]")
        lines += [f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in values.items()]
        lines.append("")
    write_bytes_atomically(FILE, "\n".join(lines).encode())


def _tokens(name: str, value: object) -> list[str]:
    if isinstance(value, bool):
        return [f"--{name}={str(value).lower()}"]
    if isinstance(value, list):
        return [token for entry in value for token in _tokens(name, entry)]
    if isinstance(value, (str, int, float)):
        return [f"--{name}={value}"]
    raise ValueError(f"{FILE}: expected a number, a text, true, false or a list for {name}, got {value!r}")
