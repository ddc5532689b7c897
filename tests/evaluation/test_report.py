from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tweenlet.evaluation import PEERS, Benchmark, Method, Report, clips, compare, evaluate

Footage = Callable[[Path, int], Path]


@pytest.fixture
def two_clips(tmp_path: Path, footage: Footage) -> Benchmark:
    footage(tmp_path / "eval" / "long", 12)
    footage(tmp_path / "eval" / "short", 8)
    windows = {"windows": {"eval/long/": [0, 2, 4], "eval/short/": [1]}}
    (tmp_path / "eval_windows.json").write_text(json.dumps(windows))
    return clips(tmp_path / "eval")


def off_by(steps: int) -> Method:
    """A method that misses the truth of the numbered frames by so many 8-bit steps, in red alone."""

    def method(frames: Tensor) -> Tensor:
        return frames[1:3].mean(0) + torch.tensor([steps / 255, 0, 0])[:, None, None]

    return method


def dims_short_ones(frames: Tensor) -> Tensor:
    """Exact but for the window that begins at frame 1."""
    return PEERS["blend"](frames) * (0.5 if frames[0, 0, 0, 0] * 255 == 1 else 1)


def test_means_are_over_samples_and_per_sequence(two_clips: Benchmark) -> None:
    report = evaluate({"exact": PEERS["blend"], "off": off_by(5), "partly": dims_short_ones}, two_clips)
    assert report.sequences == ["long", "short"]
    assert [score.sample for score in report.scores[::3]] == [
        "long/00000",
        "long/00002",
        "long/00004",
        "short/00001",
    ]
    assert report.mean("psnr", "exact") == pytest.approx(80)
    by_hand = -10 * torch.log10(torch.tensor(25 / 3 / 255**2 + 1e-8)).item()
    assert report.mean("psnr", "off") == pytest.approx(by_hand, abs=1e-4)
    bad = report.mean("psnr", "partly", "short")
    assert report.mean("psnr", "partly", "long") == pytest.approx(80)
    assert report.mean("psnr", "partly") == pytest.approx((3 * 80 + bad) / 4)
    assert all(score.size == (40, 24) and score.seconds > 0 for score in report.scores)


def test_the_table(two_clips: Benchmark) -> None:
    text = evaluate({"exact": PEERS["blend"], "off": off_by(5)}, two_clips).markdown()
    lines = text.splitlines()
    assert lines[0] == "**clips2**, mean of 4 samples in 2 sequences"
    assert [cell.strip() for cell in lines[2].strip("|").split("|")] == [
        "method", "PSNR (dB)", "SSIM", "s / frame", "CPU s / frame", "parameters",
    ]  # fmt: skip
    assert lines[4].startswith("| exact  |     80.00 | 1.0000 |")
    assert lines[5].startswith("| off    |     38.92 | 0.99")
    assert "| long" in text
    assert "torch" in lines[-1]
    for table in (lines[2:6], lines[7:11]):
        assert len({len(line) for line in table}) == 1


def test_json_holds_what_it_takes_to_repeat_the_run(two_clips: Benchmark) -> None:
    report = evaluate({"exact": PEERS["blend"]}, two_clips)
    values = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert values["benchmark"] == "clips2"
    assert values["entrants"] == [{"name": "exact", "parameters": 0, "digest": ""}]
    assert values["means"]["exact"]["psnr"] == pytest.approx(80)
    assert len(values["scores"]) == 4
    assert values["scores"][3]["sample"] == "short/00001"
    assert values["version"].startswith("0.")
    assert values["date"].endswith("+00:00")
    assert "cores" in values["machine"]


def test_the_same_run_gives_the_same_digits(two_clips: Benchmark) -> None:
    def digits(report: Report) -> list[tuple[float, float]]:
        return [(score.psnr, score.ssim) for score in report.scores]

    runs = [digits(evaluate({"dis": PEERS["dis"], "off": off_by(3)}, two_clips)) for _ in range(2)]
    assert runs[0] == runs[1]


def test_progress_is_told(two_clips: Benchmark) -> None:
    told: list[tuple[int, int | None]] = []
    evaluate({"blend": PEERS["blend"]}, two_clips, lambda done, total: told.append((done, total)))
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_compare_takes_everything_by_name(two_clips: Benchmark, tmp_path: Path) -> None:
    report = compare(["blend", "dis"], f"clips:{tmp_path / 'eval'}", part="1/2")
    assert report.benchmark == "clips2, part 1/2"
    assert [entrant.name for entrant in report.entrants] == ["blend", "dis"]
    assert [score.sample for score in report.scores[::2]] == ["long/00000", "long/00004", "short/00001"]


@pytest.mark.parametrize(
    "broken", [lambda f: f[1, :, 1:], lambda f: f[1] * float("nan")], ids=["shape", "nan"]
)
def test_a_broken_method_is_named(broken: Method, two_clips: Benchmark) -> None:
    with pytest.raises(
        ValueError, match=r"broken made a frame of shape .* for long/00000: expected \(3, 24, 40\)"
    ):
        evaluate({"broken": broken}, two_clips)


def test_nothing_to_evaluate(two_clips: Benchmark) -> None:
    for methods, samples in (({}, two_clips), ({"blend": PEERS["blend"]}, Benchmark("none", ()))):
        with pytest.raises(ValueError, match=f"nothing to evaluate: {len(methods)} methods"):
            evaluate(methods, samples)
