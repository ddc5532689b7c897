"""Checkpoints on the Hugging Face Hub, which is a folder here; its library is real or a stand-in."""

from __future__ import annotations

import importlib
import json
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import tweenlet
from tweenlet.network import checkpoint
from tweenlet.network.config import MINI, ModelConfig
from tweenlet.network.stmfnet import STMFNet

TINY = MINI


def stand_in() -> ModuleType:
    """As much of huggingface_hub as is called: its mixin saves to and loads from folders."""

    class Mixin:
        def save_pretrained(self, folder: Path) -> None:
            folder.mkdir(parents=True, exist_ok=True)
            self._save_pretrained(folder)

        @classmethod
        def from_pretrained(cls, name: str, revision: str | None = None) -> Any:
            return cls._from_pretrained(model_id=name, revision=revision)

    module = ModuleType("huggingface_hub")
    module.ModelHubMixin = Mixin
    module.hf_hub_download = None
    return module


@pytest.fixture(params=["stand-in", pytest.param("huggingface_hub", marks=pytest.mark.optional)])
def hub(request, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """`tweenlet.network.hub`, whose downloads come from tmp_path/hub/USER/REPO and whose uploads go there."""
    if request.param == "stand-in":
        monkeypatch.setitem(sys.modules, "huggingface_hub", stand_in())
    else:
        pytest.importorskip("huggingface_hub", reason="the extra hub is not installed")
    monkeypatch.delitem(sys.modules, "tweenlet.network.hub", raising=False)
    hub = importlib.import_module("tweenlet.network.hub")

    def fetch(repo_id: str, filename: str, **options: Any) -> str:
        path = tmp_path / "hub" / repo_id / filename
        if options["revision"] not in (None, "v1") or not path.exists():
            raise FileNotFoundError(f"no {filename} in {repo_id}")
        return str(path)

    def upload(self: Any, repo: str, **_: Any) -> str:
        self.save_pretrained(tmp_path / "hub" / repo)
        return f"https://hub/{repo}"

    monkeypatch.setattr(hub, "hf_hub_download", fetch)
    if request.param != "stand-in":
        monkeypatch.setattr("huggingface_hub.hub_mixin.hf_hub_download", fetch)
    monkeypatch.setattr(hub.HubCheckpoint, "push_to_hub", upload, raising=False)
    return hub


@pytest.mark.slow
def test_what_is_pushed_is_loaded_by_its_name(hub: Any, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    tweenlet.save("tiny.safetensors", STMFNet(TINY), {"license": "mit", "teacher": "a | larger one"})
    assert hub.push("tiny.safetensors", "someone/tiny") == "https://hub/someone/tiny"
    folder = tmp_path / "hub/someone/tiny"
    assert (folder / "model.safetensors").read_bytes() == Path("tiny.safetensors").read_bytes()
    assert ModelConfig.from_json(json.loads((folder / "config.json").read_text())) == TINY
    card = (folder / "README.md").read_text()
    assert 'license: "mit"' in card
    assert 'tweenlet.load("someone/tiny")' in card
    assert "| teacher | a \\| larger one |" in re.sub(" +", " ", card)
    for name in ("someone/tiny", "someone/tiny@v1"):
        assert checkpoint.digest(tweenlet.load(name)) == checkpoint.digest(tweenlet.load("tiny.safetensors"))
    with pytest.raises(FileNotFoundError, match="someone/other"):
        tweenlet.load("someone/other")


def test_without_a_connection_the_error_is_one_line(hub: Any, tmp_path: Path, monkeypatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise RuntimeError("Name or service not known\nand much more")

    monkeypatch.chdir(tmp_path)
    tweenlet.save("tiny.safetensors", STMFNet(TINY))
    monkeypatch.setattr(hub.HubCheckpoint, "push_to_hub", refuse)
    monkeypatch.setattr(hub.HubCheckpoint, "from_pretrained", refuse)
    with pytest.raises(
        OSError, match=r"^cannot push to someone/tiny: Name or service not known and much more$"
    ):
        hub.push("tiny.safetensors", "someone/tiny")
    with pytest.raises(OSError, match=r"^no file someone/tiny, and the Hugging Face Hub gives none: Name"):
        tweenlet.load("someone/tiny")


def test_a_path_is_not_taken_for_a_repository(hub: Any, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("runs").mkdir()
    for name in ("runs/model", "elsewhere/model.safetensors", "/somewhere/else", "a/b/c"):
        with pytest.raises(FileNotFoundError, match="no such file"):
            tweenlet.load(name)


def test_without_the_hubs_library_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(OSError, match=r"huggingface_hub is not installed: pip install 'tweenlet\[hub\]'"):
        tweenlet.load("someone/tiny")
