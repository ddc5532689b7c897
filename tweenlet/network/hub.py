"""Hub: checkpoints on the Hugging Face Hub, by the mixin of its own library (the extra hub).

    push:   model.safetensors ──> with config.json and README.md, a card of its metadata ──> user/repo
    load("user/repo[@revision]"):   model.safetensors <── cache <── user/repo

The checkpoint is complete by itself; the other two files are for the Hub's pages.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import copyfile
from typing import Any

from huggingface_hub import ModelHubMixin, hf_hub_download

from tweenlet.network.weight_files import find, read_metadata
from tweenlet.runtime.tables import cell, table

FILE = "model.safetensors"
CARD = """---
library_name: tweenlet
pipeline_tag: video-to-video
tags: [video-frame-interpolation]
{licence}---

# A frame interpolation network for tweenlet

```python
import tweenlet

model = tweenlet.load("{repo}")
tweenlet.interpolate_video("in.mp4", "out.mp4", factor=2, model=model)
```

{metadata}
"""
"""Template of the model card; the repository's name is filled in by :func:`push`."""


class HubCheckpoint(ModelHubMixin):
    """A checkpoint with the Hub library's interface: `push_to_hub`, `save_pretrained`, `from_pretrained`.

    Attributes:
        path: a safetensors file written by :func:`tweenlet.save`.

    """

    def __init__(self, path: str, repo: str = "user/repo"):
        self.path, self._repo = path, repo

    def _save_pretrained(self, save_directory: Path) -> None:
        metadata = read_metadata(self.path)
        copyfile(self.path, save_directory / FILE)
        config = json.dumps(json.loads(metadata["config"]), indent=2)
        (save_directory / "config.json").write_text(config, encoding="utf-8")
        licence = f"license: {json.dumps(metadata['license'])}\n" if "license" in metadata else ""
        rows = [(key, cell(text)) for key, text in sorted(metadata.items())]
        card = CARD.format(licence=licence, repo=self._repo, metadata=table(("", ""), rows, names=2))
        (save_directory / "README.md").write_text(card, encoding="utf-8")

    @classmethod
    def _from_pretrained(cls, *, model_id: str, **options: Any) -> HubCheckpoint:
        names = ("revision", "cache_dir", "force_download", "local_files_only", "token")
        if Path(model_id).is_dir():
            return cls(str(Path(model_id) / FILE))
        return cls(hf_hub_download(model_id, FILE, **{name: options.get(name) for name in names}))


def download(name: str) -> str:
    """Download the checkpoint of "user/repo" or "user/repo@revision" unless cached; returns its path.

    OSError if there is none or no connection.
    """
    repo, _, revision = name.partition("@")
    with _explain_errors(f"no file {name}, and the Hugging Face Hub gives none"):
        return str(HubCheckpoint.from_pretrained(repo, revision=revision or None).path)


def push(name_or_path: str, repo: str, *, private: bool = False) -> str:
    """Upload a checkpoint, its config and a model card made from its metadata; returns the commit's URL.

    OSError if the Hub refuses them or there is no connection, ValueError for another file.
    """
    checkpoint = HubCheckpoint(str(find(name_or_path)), repo)
    read_metadata(checkpoint.path)
    with _explain_errors(f"cannot push to {repo}"):
        return str(checkpoint.push_to_hub(repo, private=private))


@contextmanager
def _explain_errors(action: str) -> Iterator[None]:
    """Convert errors of the Hub's library, some of which are of no common class, to OSError in one line."""
    try:
        yield
    except Exception as error:
        kind = FileNotFoundError if isinstance(error, FileNotFoundError) else OSError
        reason = " ".join(str(error).split()) or type(error).__name__
        raise kind(f"{action}: {reason}") from error
