"""Weight files: find checkpoints and read their metadata, without building the network.

No PyTorch is needed, because the lite engine finds its weights here too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from safetensors import SafetensorError, safe_open

from tweenlet.runtime.extras import import_extra

RENAMED = (
    (r"^kernels\.", "multi_flow."),
    (r"\.enlarge_(flow|features)\.", r".upsample_\1."),
    (r"^intermediate\.trust$", "intermediate.acceleration_weight"),
)
"""Tensor names in format 1: pattern -> current name."""
FOLDERS = (Path(__file__).parents[1] / "shipped", Path(__file__).parents[2] / "weights")
"""Folders of bundled weights: in an installed package, and in a checkout."""
HUB = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*(?<!\.safetensors)(@[\w./-]+)?")
"""Name of a repository on the Hugging Face Hub, optionally with a revision."""
T = TypeVar("T")


def names() -> list[str]:
    """The names of the bundled weights, for :func:`load`.

    Examples:
        >>> "default" in tweenlet.names()
        True

    """
    return sorted({file.stem for folder in FOLDERS for file in folder.glob("*.safetensors")})


def find(name_or_path: str | Path) -> Path:
    """The file behind a bundled name, a path or a repository of the Hub; errors are those of :func:`load`."""
    path = Path(name_or_path)
    bare = isinstance(name_or_path, str) and re.fullmatch(r"[\w-]+", name_or_path)
    shipped = [folder / f"{name_or_path}.safetensors" for folder in FOLDERS] if bare else []
    for file in (*shipped, path):
        if file.is_file():
            return file
    if bare:
        raise ValueError(f"no weights called {name_or_path!r}; there are: {', '.join(names()) or 'none'}")
    if isinstance(name_or_path, str) and HUB.fullmatch(name_or_path) and not path.parent.exists():
        import_extra("huggingface_hub")
        from tweenlet.network.hub import download

        return Path(download(name_or_path))
    raise FileNotFoundError(f"no such file: {path}")


def read_metadata(path: str | Path) -> dict[str, str]:
    """Read the metadata of a checkpoint without its weights; ValueError for any other file."""
    try:
        with safe_open(path, "numpy") as file:
            metadata: dict[str, str] = file.metadata() or {}
    except SafetensorError as error:
        raise ValueError(f"{path} is not a valid safetensors file: {error}") from error
    if "config" not in metadata:
        raise ValueError(f"{path} is not a tweenlet checkpoint: its metadata has {sorted(metadata)}")
    return metadata


def rename_from_format_1(tensors: Mapping[str, T]) -> dict[str, T]:
    """Give the entries of a ``state_dict`` in format 1 their current names; others stay."""

    def rename(name: str) -> str:
        for old, new in RENAMED:
            name = re.sub(old, new, name)
        return name

    return {rename(name): value for name, value in tensors.items()}
