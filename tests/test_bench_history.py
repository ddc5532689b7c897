"""scripts/bench_history.py, in small: it measures, keeps a line for each release, tells what is slower."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))
import bench_history
from bench_history import added, slower


def line(version: str, ratio: float, machine: str = "this", vectors: str = "AVX2") -> dict[str, Any]:
    return {
        "version": version, "date": "2026-11-30", "machine": machine, "vectors": vectors,
        "networks": {"mini": {"ratio": ratio}},
    }  # fmt: skip


def test_more_than_a_tenth_slower_is_told_and_less_is_not() -> None:
    lines = [line("1", 9.0), line("2", 5.0, "another"), line("3", 8.0, "a third", "AVX512")]
    (told,) = slower(lines, line("4", 4.4))
    assert told == "mini: 4.40 times as fast as the plain module, 5.00 in 2 (2026-11-30)"
    assert slower(lines, line("4", 4.6)) == []
    assert slower(lines, line("4", 0.1, vectors="NEON")) == []


def test_a_release_has_one_line_for_each_machine() -> None:
    lines = added([line("1", 9.0), line("1", 8.0, "another")], line("1", 7.0))
    assert lines == [line("1", 8.0, "another"), line("1", 7.0)]
    assert len(added(lines, line("2", 7.0))) == 3


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone tells how much memory was held")
def test_it_measures_keeps_and_plots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_history, "NETWORKS", {"default": "black"})
    monkeypatch.setattr(bench_history.torch, "set_num_threads", lambda _: None)
    history, picture = tmp_path / "history.json", tmp_path / "history.png"
    arguments = ["--turns", "1", "--size", "128", "64", "--history", str(history), "--plot", str(picture)]
    monkeypatch.setattr(sys, "argv", ["bench_history.py", *arguments])
    bench_history.main()
    (entry,) = json.loads(history.read_text())
    assert entry["networks"]["default"]["ratio"] > 0
    assert entry["networks"]["default"]["megabytes"] > 1
    assert picture.read_bytes().startswith(b"\x89PNG")
    entry["networks"]["default"]["ratio"] *= 100
    history.write_text(json.dumps([entry]))
    monkeypatch.setattr(sys, "argv", ["bench_history.py", *arguments, "--check"])
    with pytest.raises(SystemExit, match="times as fast as the plain module"):
        bench_history.main()
