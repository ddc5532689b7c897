"""Bench: what is timed adds up, the table and the JSON say the same, and taking turns is pair by pair."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from tweenlet import bench
from tweenlet.bench import Race, Seconds, Subject
from tweenlet.cli import main
from tweenlet.config import SMALL

SIZE = (48, 32)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    measure = bench.ceilings
    monkeypatch.setattr(bench, "ceilings", lambda dtype: measure(dtype, rounds=2))


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
    told = json.loads(report.dumps())
    assert told["results"][0]["seconds"] == report.results[0].whole.median[0]
    assert "small:eager:bfloat16" in report.table()
    assert report.table().count("motion") == 2


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
