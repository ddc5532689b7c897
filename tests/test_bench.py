"""Bench: what is timed adds up, the table and the JSON say the same, and taking turns is pair by pair."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from tweenlet import bench
from tweenlet.bench import Ceilings, Race, Report, Result, Seconds, Subject
from tweenlet.cli import main
from tweenlet.config import SMALL
from tweenlet.cost import cost

SIZE = (48, 32)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    measure = bench.ceilings
    monkeypatch.setattr(bench, "ceilings", lambda dtype, device: measure(dtype, 2, device))


def test_a_report_has_the_parts_of_the_network_and_their_shares() -> None:
    report = bench.bench([Subject("small"), Subject("small", dtype="bfloat16")], SIZE, runs=3, memory=False)
    assert set(report.ceilings) == {"float32", "bfloat16"}
    for result in report.results:
        assert list(result.parts) == [bench.FLOW, "motion", bench.REST]
        for kind in ("wall", "cpu"):
            whole = torch.tensor(getattr(result.whole, kind))
            parts = torch.tensor([getattr(part, kind) for part in result.parts.values()])
            assert whole.shape == (3,)
            torch.testing.assert_close(parts.sum(0), whole)
        ceilings = report.ceilings[result.subject.dtype]
        rate = result.multiply_adds["all"] / 1e9 / result.whole.median[0]
        assert result.share("all", ceilings) == pytest.approx(rate / ceilings.convolution)
        assert result.share("motion", ceilings) > result.share("all", ceilings)
        assert result.share(bench.FLOW, ceilings) is None
        assert result.moved["all"] == cost(SMALL, SIZE[1], SIZE[0]).moved * (
            2 if result.subject.dtype == "bfloat16" else 4
        )
    told = json.loads(report.dumps())
    assert told["results"][0]["share_of_roofline"]["all"] > 0
    assert told["results"][0]["seconds"] == report.results[0].whole.median[0]
    assert "small:eager:bfloat16" in report.table()
    assert report.table().count("motion") == 2


def test_the_roofline_is_the_longer_of_two_times() -> None:
    result = Result(
        Subject("mini"), 8, 8, 1, 1.0, Seconds((4.0,), (4.0,)), {"a": Seconds((2.0,), (2.0,))},
        {"a": 6 * 10**9, "all": 8 * 10**9}, {"a": 2 * 10**9, "all": 30 * 10**9},
    )  # fmt: skip
    ceilings = Ceilings(convolution=4, copy=10)
    assert (result.floor("a", ceilings), result.reached("a", ceilings)) == (1.5, 0.75)  # by arithmetic
    assert (result.floor("all", ceilings), result.reached("all", ceilings)) == (3, 0.75)  # by memory
    assert result.share("all", ceilings) == 0.5
    assert result.floor(bench.REST, ceilings) is result.reached(bench.REST, ceilings) is None
    table = Report("here", "2", {"float32": ceilings}, (result,)).table()
    assert "0.25 frames/s" in table
    lines = [line.split() for line in table.splitlines()]
    assert ["a", "2000.0", "2000.0", "6.00", "G", "75%", "2.00", "GB", "1500.00", "75%"] in lines
    assert ["all", "4000.0", "4000.0", "8.00", "G", "50%", "30.00", "GB", "3000.00", "75%"] in lines


def test_a_device_that_is_not_there_is_told() -> None:
    for call in (bench.bench, bench.race):
        with pytest.raises(ValueError, match="the device cuda:77 cannot be used"):
            call([Subject("small"), Subject("mini")], SIZE, device="cuda:77")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize("model", ["small", "mini"])
def test_on_a_device_parts_are_timed_there_and_a_graph_as_a_whole(model: str) -> None:
    subjects = [Subject(model, engine, "float16") for engine in ("eager", "cudagraph")]
    report = bench.bench(subjects, (256, 128), runs=3, device="cuda")
    eager, graph = report.results
    assert report.failures == {}
    assert torch.cuda.get_device_name() in report.machine
    assert eager.parts.keys() > set(graph.parts) == set()
    assert all(min(part.wall) > 0 for name, part in eager.parts.items() if name != bench.REST)
    assert eager.peak > 0
    assert 0 < eager.reached("all", report.ceilings["float16"]) < 1
    assert report.ceilings["float16"].copy > 100
    assert len(bench.race(subjects, (256, 128), 2, "cuda").ratios(str(subjects[1]))[0]) == 2


def test_what_cannot_be_run_is_told_and_the_rest_is_timed() -> None:
    subjects = [Subject("small"), Subject("small", "openvino", "bfloat16")]
    report = bench.bench(subjects, SIZE, runs=1, memory=False)
    assert [str(result.subject) for result in report.results] == ["small:eager:float32"]
    assert "small:openvino:bfloat16" in report.failures
    assert "small:openvino:bfloat16: " in report.table()
    with pytest.raises(ValueError, match="no weights called 'giant'"):
        bench.bench([Subject("giant")], SIZE)


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peaks are known on Linux only")
def test_a_peak_grows_with_the_frame() -> None:
    small, large = (bench.peak(Subject("small"), size) for size in ((64, 64), (640, 480)))
    hints = 4 * SMALL.refine[0] * 320 * 240  # one of the tensors that must be there
    assert large > hints
    assert large < 100 * hints
    assert small < large


def test_taking_turns_is_told_pair_by_pair() -> None:
    first, second = Seconds((1, 2, 4), (2, 2, 2)), Seconds((2, 3, 4), (1, 2, 3))
    race = Race(("a", "b"), {"a": first, "b": second})
    assert race.ratios("b") == ([2, 1.5, 1], [0.5, 1, 1.5])
    assert "wall 2.00 1.50 1.00   median 1.50 (1.00 to 2.00)" in race.table()
    assert json.loads(race.dumps())["ratios"]["b"]["wall"] == [2, 1.5, 1]
    done = bench.race([Subject("small"), Subject("mini")], SIZE, runs=2)
    assert all(len(found) == 2 and min(found) > 0 for found in done.ratios("mini:eager:float32"))
    with pytest.raises(ValueError, match="two or more different subjects"):
        bench.race([Subject("small"), Subject("small")], SIZE)


def test_a_picture_moves_by_whole_pixels() -> None:
    frames = bench.moving_picture((40, 24), 3)
    assert torch.equal(frames[2], frames[0].roll((4, 8), (1, 2)))
    assert all(frame.shape == (3, 24, 40) and frame.min() >= 0 and frame.max() <= 1 for frame in frames)


@pytest.mark.parametrize("text", ["small:steam", ":eager", "a:eager:float32:b"])
def test_a_subject_that_is_not_understood(text: str) -> None:
    with pytest.raises(ValueError, match="expected MODEL, MODEL:ENGINE"):
        bench.subject_of(text)


def test_functions_and_commands_take_turns_too(tmp_path: Path) -> None:
    file = tmp_path / "peers.py"
    file.write_text("def mean(frames):\n    return frames[1:3].mean(0)\n")
    subjects = [bench.subject_of(text) for text in ("small", f"{file}:mean", "cp {1} {out}")]
    assert [subject.engine for subject in subjects] == ["eager", "function", "command"]
    assert [str(subject) for subject in subjects[1:]] == [f"{file}:mean", "cp {1} {out}"]
    done = bench.race(subjects, SIZE, runs=2)
    assert max(done.ratios(f"{file}:mean")[0]) < 1
    report = bench.bench(subjects[1:], SIZE, runs=1, memory=False)
    assert report.results[0].multiply_adds == {}
    assert "peers.py:mean" in report.table()
    with pytest.raises(ValueError, match="expected a function median in"):
        bench.bench([bench.subject_of(f"{file}:median")], SIZE)


def test_a_subject_as_it_is_typed() -> None:
    assert bench.subject_of("mini:compile") == Subject("mini", "compile")
    assert bench.subject_of("mini", "bfloat16") == Subject("mini", "eager", "bfloat16")
    assert str(bench.subject_of("nets/a.onnx")) == "nets/a.onnx"


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as end:
        main(words)
    return int(end.value.code or 0)


def test_the_verbs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    assert run("bench", "small", "--size", "48x32", "--runs", "1", "--no-memory", "--json", "small.json") == 0
    assert "classical flow" in capsys.readouterr().out
    assert json.loads(Path("small.json").read_text())["results"][0]["subject"]["source"] == "small"
    assert run("bench", "small", "--size", "48x32", "--runs", "1", "--vs", "mini", "small::bfloat16") == 0
    assert capsys.readouterr().out.count("median") == 4
    for words in (
        ["bench", "small", "--json", "small.json"],
        ["bench", "small", "--engines", "eager,steam"],
        ["bench", "small", "--dtype", "float8"],
        ["bench", "small", "--runs", "0"],
        ["export", "mini", "mini.pth"],
        ["export", "mini", "nowhere/mini.onnx"],
    ):
        assert run(*words) in (1, 2)
        assert capsys.readouterr().err.count("\n") == 1
