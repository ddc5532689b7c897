"""Cache: where tweenlet keeps what it makes once for this machine, compiled code and exported networks.

$XDG_CACHE_HOME/tweenlet or ~/.cache/tweenlet; where that cannot be written, a folder that lives as long as
the process. All of it can be deleted at any time.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from functools import cache
from pathlib import Path


def folder() -> Path:
    """The cache, which is there and can be written."""
    place = _place()
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError:
        return Path(_spare().name)
    return place if os.access(place, os.W_OK) else Path(_spare().name)


def kept(name: str) -> Path:
    """The file of that name, if there is one, from a cache that can only be read too.

    One that is missing or damaged is to be written in :func:`folder`.
    """
    there = _place() / name
    return there if there.is_file() else folder() / name


@cache
def code_digest() -> str:
    """A fingerprint of the package's own Python: what one version of it made another may make differently."""
    home = Path(__file__).parent
    total = hashlib.sha256()
    for file in sorted(home.rglob("*.py")):
        total.update(f"{file.relative_to(home)}\n".encode() + file.read_bytes())
    return total.hexdigest()[:16]


def _place() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or str(Path("~/.cache").expanduser())
    return Path(home) / "tweenlet"


@cache
def _spare() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="tweenlet-")
