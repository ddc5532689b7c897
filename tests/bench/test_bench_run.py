"""Bench: what is timed adds up, the table and the JSON say the same, and what cannot be run is told."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest
import torch

from tweenlet.bench.roofline import ceilings
from tweenlet.bench.run import OTHER, bench, race
from tweenlet.bench.targets import Target, parse_target
from tweenlet.cli import main
from tweenlet.network.config import MINI
from tweenlet.network.cost import cost

SIZE = (48, 32)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tweenlet.bench.run.ceilings", partial(ceilings, rounds=2))


@pytest.mark.long
def test_a_report_has_the_parts_of_the_network_and_their_shares() -> None:
    report = bench([Target("mini"), Target("mini", dtype="bfloat16")], SIZE, runs=3, memory=False)
    assert set(report.ceilings) == {"float32", "bfloat16"}
    for result in report.results:
        assert list(result.parts) == ["features", "multi_flow", "fusion", "texture", OTHER]
        for kind in ("wall", "cpu"):
            whole = torch.tensor(getattr(result.whole, kind))
            parts = torch.tensor([getattr(part, kind) for part in result.parts.values()])
            assert whole.shape == (3,)
            torch.testing.assert_close(parts.sum(0), whole)
        ceilings = report.ceilings[result.target.dtype]
        rate = result.multiply_adds["all"] / 1e9 / result.whole.median[0]
        assert result.share("all", ceilings) == pytest.approx(rate / ceilings.convolution)
        assert result.share("multi_flow", ceilings) > 0
        assert result.bytes_moved["all"] == cost(MINI, SIZE[1], SIZE[0]).moved * (
            2 if result.target.dtype == "bfloat16" else 4
        )
    told = json.loads(report.dumps())
    assert told["results"][0]["share_of_roofline"]["all"] > 0
    assert told["results"][0]["seconds"] == report.results[0].whole.median[0]
    assert "mini:eager:bfloat16" in report.table()
    assert report.table().count("multi_flow") == 2


def test_a_device_that_is_not_there_is_told() -> None:
    for call in (bench, race):
        with pytest.raises(ValueError, match="the device cuda:77 cannot be used"):
            call([Target("rife"), Target("mini")], SIZE, device="cuda:77")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize("model", ["default", "mini"])
def test_on_a_device_parts_are_timed_there_and_a_graph_as_a_whole(model: str) -> None:
    targets = [Target(model, engine, "float16") for engine in ("eager", "cudagraph")]
    report = bench(targets, (256, 128), runs=3, device="cuda")
    eager, graph = report.results
    assert report.failures == {}
    assert torch.cuda.get_device_name() in report.machine
    assert eager.parts.keys() > set(graph.parts) == set()
    assert all(min(part.wall) > 0 for name, part in eager.parts.items() if name != OTHER)
    assert eager.peaks["all"] > 0
    assert 0 < eager.roofline_share("all", report.ceilings["float16"]) < 1
    assert report.ceilings["float16"].copy > 100
    assert len(race(targets, (256, 128), 2, "cuda").ratios(str(targets[1]))[0]) == 2


@pytest.mark.slow
def test_what_cannot_be_run_is_told_and_the_rest_is_timed() -> None:
    targets = [Target("mini"), Target("mini", "openvino", "bfloat16")]
    report = bench(targets, SIZE, runs=1, memory=False)
    assert [str(result.target) for result in report.results] == ["mini:eager:float32"]
    assert "mini:openvino:bfloat16" in report.failures
    assert "mini:openvino:bfloat16: " in report.table()
    with pytest.raises(ValueError, match="no weights called 'giant'"):
        bench([Target("giant")], SIZE)


@pytest.mark.slow
def test_subjects_take_turns() -> None:
    done = race([Target("rife"), Target("mini")], SIZE, runs=2)
    assert all(len(found) == 2 and min(found) > 0 for found in done.ratios("mini:eager:float32"))
    with pytest.raises(ValueError, match="two or more different targets"):
        race([Target("mini"), Target("mini")], SIZE)


def test_functions_and_commands_take_turns_too(tmp_path: Path) -> None:
    file = tmp_path / "peers.py"
    file.write_text("def mean(frames):\n    return frames[1:3].mean(0)\n")
    targets = [parse_target(text) for text in ("mini", f"{file}:mean", "cp {1} {out}")]
    assert [target.engine for target in targets] == ["eager", "function", "command"]
    assert [str(target) for target in targets[1:]] == [f"{file}:mean", "cp {1} {out}"]
    done = race(targets, SIZE, runs=2)
    assert max(done.ratios(f"{file}:mean")[0]) < 1
    report = bench(targets[1:], SIZE, runs=1, memory=False)
    assert report.results[0].multiply_adds == {}
    assert "peers.py:mean" in report.table()
    with pytest.raises(ValueError, match="expected a function median in"):
        bench([parse_target(f"{file}:median")], SIZE)


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as end:
        main(words)
    return int(end.value.code or 0)


@pytest.mark.long
def test_the_verbs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    words = ("--size", "48x32", "--runs", "1")
    assert run("bench", "default", *words, "--no-memory", "--json", "small.json") == 0
    assert "level 1/16" in capsys.readouterr().out
    assert json.loads(Path("small.json").read_text())["results"][0]["target"]["source"] == "default"
    assert run("bench", "default", "--size", "48x32", "--runs", "1", "--vs", "mini", "default::bfloat16") == 0
    assert capsys.readouterr().out.count("median ") == 4
    for words in (
        ["bench", "mini", "--json", "small.json"],
        ["bench", "mini", "--engines", "eager,steam"],
        ["bench", "mini", "--dtype", "float8"],
        ["bench", "mini", "--runs", "0"],
        ["export", "mini", "mini.pth"],
        ["export", "mini", "nowhere/mini.onnx"],
    ):
        assert run(*words) in (1, 2)
        assert capsys.readouterr().err.count("\n") == 1
