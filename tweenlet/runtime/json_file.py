"""JSON files that people edit and crashes may truncate: one reader, whose errors name the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def read_json(path: Path) -> Any:
    """Read a JSON file. Raises ValueError, naming it, for invalid JSON; OSError if it is unreadable."""
    return parse_json(path.read_bytes(), path)


def parse_json(text: str | bytes, source: object) -> Any:
    """Parse JSON. Raises ValueError, naming ``source``, if the text is invalid."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError(f"{source} is not valid JSON: nested too deep") from None
    except ValueError as error:  # UnicodeDecodeError is one, too
        raise ValueError(f"{source} is not valid JSON: {error}") from error
