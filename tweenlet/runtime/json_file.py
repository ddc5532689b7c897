"""JSON that people and crashes may have changed: read in one way, whose errors name the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def read_json(path: Path) -> Any:
    """What a JSON file holds. ValueError, naming it, where that is no JSON; OSError if it cannot be read."""
    return parse_json(path.read_bytes(), path)


def parse_json(text: str | bytes, source: object) -> Any:
    """What a text holds; ValueError, naming its ``source``, for one that is no JSON."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError(f"{source} is not sound JSON: nested too deep") from None
    except ValueError as error:  # UnicodeDecodeError is one, too
        raise ValueError(f"{source} is not sound JSON: {error}") from error
