from __future__ import annotations

import json
import math
import multiprocessing
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from tweenlet.evaluation import BASELINES, METRICS, Benchmark, Method, Metric, Report, benchmark, evaluate
from tweenlet.evaluation.datasets import MIDDLEBURY
from tweenlet.evaluation.report import Score

Footage = Callable[[Path, int], Path]


@pytest.fixture
def two_clips(tmp_path: Path, footage: Footage) -> Benchmark:
    footage(tmp_path / "eval" / "long", 12)
    footage(tmp_path / "eval" / "short", 8)
    windows = {"windows": {"eval/long/": [0, 2, 4], "eval/short/": [1]}}
    (tmp_path / "eval_windows.json").write_text(json.dumps(windows))
    return benchmark(f"clips:{tmp_path / 'eval'}")


def off_by(steps: int) -> Method:
    """A method that misses the truth of the numbered frames by so many 8-bit steps, in red alone."""

    def method(frames: Tensor) -> Tensor:
        return frames[1:3].mean(0) + torch.tensor([steps / 255, 0, 0])[:, None, None]

    return method


def dims_short_ones(frames: Tensor) -> Tensor:
    """Exact but for the window that begins at frame 1."""
    return BASELINES["blend"](frames) * (0.5 if round(frames[0, 0, 0, 0].item() * 255) == 1 else 1)


def digits(report: Report) -> list[tuple[str, str, dict[str, float]]]:
    return [(score.method, score.sample, dict(score.values)) for score in report.scores]


def test_means_are_over_samples_and_per_sequence(two_clips: Benchmark) -> None:
    report = evaluate({"exact": BASELINES["blend"], "off": off_by(5), "partly": dims_short_ones}, two_clips)
    assert report.sequences == ["long", "short"]
    assert [score.sample for score in report.scores[::3]] == [
        "long/00000", "long/00002", "long/00004", "short/00001",
    ]  # fmt: skip
    assert report.mean("psnr", "exact") == pytest.approx(80)
    by_hand = -10 * torch.log10(torch.tensor(25 / 3 / 255**2 + 1e-8)).item()
    assert report.mean("psnr", "off") == pytest.approx(by_hand, abs=1e-4)
    bad = report.mean("psnr", "partly", "short")
    assert report.mean("psnr", "partly", "long") == pytest.approx(80)
    assert report.mean("psnr", "partly") == pytest.approx((3 * 80 + bad) / 4)
    assert all(score.size == (40, 24) and score.seconds > 0 for score in report.scores)


def test_only_what_is_asked_is_measured(two_clips: Benchmark) -> None:
    report = evaluate({"off": off_by(2)}, two_clips, {"ssim": METRICS["ssim"]})
    assert report.metrics == ("ssim",)
    assert set(report.scores[0].values) == {"ssim"}


def test_a_method_is_warmed_up_once_for_each_size(tmp_path: Path, two_clips: Benchmark) -> None:
    seen: list[Tensor] = []

    def counts(frames: Tensor) -> Tensor:
        seen.append(frames)
        return frames[1]

    evaluate({"counts": counts}, two_clips)
    assert len(seen) == 4 + 1


def test_the_same_run_gives_the_same_digits(two_clips: Benchmark) -> None:
    runs = [digits(evaluate({"dis": BASELINES["dis"], "off": off_by(3)}, two_clips)) for _ in range(2)]
    assert runs[0] == runs[1]


def test_progress_is_told(two_clips: Benchmark) -> None:
    progress: list[tuple[int, int | None]] = []
    evaluate(
        {"blend": BASELINES["blend"]}, two_clips, progress=lambda done, total: progress.append((done, total))
    )
    assert progress == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_what_is_in_the_ledger_is_not_made_again(two_clips: Benchmark, tmp_path: Path) -> None:
    ledger, calls = tmp_path / "scores.jsonl", []

    def dies_at(last: int) -> Method:
        def method(frames: Tensor) -> Tensor:
            calls.append(frames)
            if len(calls) == last:
                raise RuntimeError("died")
            return off_by(4)(frames)

        return method

    whole = evaluate({"off": off_by(4)}, two_clips)
    with pytest.raises(RuntimeError, match="died"):
        evaluate({"off": dies_at(4)}, two_clips, ledger=ledger)
    assert len(ledger.read_text().splitlines()) == 1 + 2
    ledger.write_text(ledger.read_text() + '{"place": 0, "samp')  # a line that a kill cut off
    calls.clear()
    resumed = evaluate({"off": dies_at(99)}, two_clips, ledger=ledger)
    assert len(calls) == 1 + 2
    assert digits(resumed) == digits(whole)
    calls.clear()
    assert evaluate({"off": dies_at(99)}, two_clips, ledger=ledger) == resumed
    assert not calls


def _slow(frames: Tensor) -> Tensor:
    time.sleep(0.2)
    return off_by(1)(frames)


def _evaluate_slowly(place: str, ledger: Path, threads: int) -> None:
    torch.set_num_threads(threads)
    evaluate({"slow": _slow}, benchmark(place), ledger=ledger)


@pytest.mark.long
def test_killed_at_any_point_it_goes_on(two_clips: Benchmark, tmp_path: Path) -> None:
    ledger, place = tmp_path / "scores.jsonl", f"clips:{tmp_path / 'eval'}"
    process = multiprocessing.get_context("spawn").Process(
        target=_evaluate_slowly, args=(place, ledger, torch.get_num_threads())
    )
    process.start()
    while not ledger.exists() or ledger.read_text().count("\n") < 2:
        time.sleep(0.05)
        assert process.is_alive()
    os.kill(process.pid or 0, signal.SIGKILL)
    process.join()
    written = ledger.read_text().count("\n")
    report = evaluate({"slow": _slow}, benchmark(place), ledger=ledger)
    assert 2 <= written < 5
    assert digits(report) == digits(evaluate({"slow": _slow}, benchmark(place)))


def test_the_ledger_of_another_run_is_left_alone(two_clips: Benchmark, tmp_path: Path) -> None:
    ledger = tmp_path / "scores.jsonl"
    evaluate({"blend": BASELINES["blend"]}, two_clips, ledger=ledger)
    before = ledger.read_text()
    with pytest.raises(ValueError, match=r"scores\.jsonl holds another run: it differs in methods; --over"):
        evaluate({"dis": BASELINES["dis"]}, two_clips, ledger=ledger)
    with pytest.raises(ValueError, match="another run: it differs in benchmark, data"):
        evaluate({"blend": BASELINES["blend"]}, two_clips.part(1, 2), ledger=ledger)
    assert ledger.read_text() == before
    for content, reason in (
        ("not json\n", "line 1 is not valid JSON"),
        (before.splitlines()[0] + "\n{\n", "line 2 is not valid JSON"),
        ("", "it has no whole line"),
    ):
        ledger.write_text(content)
        with pytest.raises(ValueError, match=rf"is not the ledger of an evaluation \({reason}"):
            evaluate({"blend": BASELINES["blend"]}, two_clips, ledger=ledger)


def test_a_damaged_sample_ends_the_run_or_is_listed(tmp_path: Path, footage: Footage) -> None:
    footage(tmp_path / "eval" / "long", 12)
    footage(tmp_path / "eval" / "short", 8)
    windows = {"windows": {"eval/long/": [0, 2, 4], "eval/short/": [1, 5]}}
    (tmp_path / "eval_windows.json").write_text(json.dumps(windows))
    clips = benchmark(f"clips:{tmp_path / 'eval'}")
    with pytest.raises(ValueError, match=r"short/00005 cannot be used: .* needs 12"):
        evaluate({"blend": BASELINES["blend"]}, clips)
    ledger = tmp_path / "scores.jsonl"
    for _ in range(2):  # the second time from the ledger
        report = evaluate({"blend": BASELINES["blend"]}, clips, skip_bad=True, ledger=ledger)
        assert [name for name, _ in report.skipped] == ["short/00005"]
        assert report.count == 4
        assert "1 SKIPPED" in report.markdown()
        assert "- short/00005: " in report.markdown()
    with pytest.raises(
        ValueError, match="short/00005 cannot be used"
    ):  # what was skipped once is not forgiven
        evaluate({"blend": BASELINES["blend"]}, clips, ledger=ledger)


def test_changed_data_is_another_run(two_clips: Benchmark, tmp_path: Path, footage: Footage) -> None:
    ledger = tmp_path / "scores.jsonl"
    evaluate({"blend": BASELINES["blend"]}, two_clips, ledger=ledger)
    image = tmp_path / "eval" / "short" / "00003.png"
    shutil.copy(tmp_path / "eval" / "short" / "00005.png", image)
    with pytest.raises(ValueError, match="holds another run: it differs in data"):
        evaluate({"blend": BASELINES["blend"]}, two_clips, ledger=ledger)


def test_two_runs_do_not_write_into_one_folder(two_clips: Benchmark, tmp_path: Path) -> None:
    ledger = tmp_path / "scores.jsonl"

    def once_more(frames: Tensor) -> Tensor:
        with pytest.raises(OSError, match="another run is writing into"):
            evaluate({"blend": BASELINES["blend"]}, two_clips, ledger=ledger, overwrite=True)
        return off_by(1)(frames)

    evaluate({"nested": once_more}, two_clips, ledger=ledger)
    ledger.write_text("damaged")
    evaluate({"nested": once_more}, two_clips, ledger=ledger, overwrite=True)
    evaluate({"nested": once_more}, two_clips, ledger=ledger)  # the first has let go of it


def test_a_metric_that_is_no_number_is_named(two_clips: Benchmark) -> None:
    lost = Metric("LOST", 2, "higher", lambda *_: float("nan"))
    with pytest.raises(ValueError, match="lost of long/00000 made by blend is nan"):
        evaluate({"blend": BASELINES["blend"]}, two_clips, {"lost": lost})
    with pytest.raises(ValueError, match="long/00000: ms_ssim needs pictures of at least"):
        evaluate({"blend": BASELINES["blend"]}, two_clips, {"ms_ssim": METRICS["ms_ssim"]})


def test_a_broken_method_is_named(two_clips: Benchmark) -> None:
    shape = r"broken made a frame of shape \(3, 23, 40\) for long/00000: expected \(3, 24, 40\)"
    with pytest.raises(ValueError, match=shape):
        evaluate({"broken": lambda frames: frames[1, :, 1:]}, two_clips)
    with pytest.raises(
        ValueError, match="broken made a frame with 2880 values that are not finite for long/0"
    ):
        evaluate({"broken": lambda frames: frames[1] * float("nan")}, two_clips)


def test_nothing_to_evaluate(two_clips: Benchmark) -> None:
    for methods, samples in (({}, two_clips), ({"blend": BASELINES["blend"]}, Benchmark("none", ()))):
        with pytest.raises(ValueError, match=f"nothing to evaluate: {len(methods)} methods"):
            evaluate(methods, samples)


def test_what_runs_while_a_method_is_timed_is_the_method_alone(two_clips: Benchmark) -> None:
    """Reading ahead would steal a core from what is timed, and count among its CPU seconds."""
    sleeper: list[Score] = list(evaluate({"slow": _slow}, two_clips).scores)
    assert all(score.seconds >= 0.2 for score in sleeper)
    assert min(score.cpu_seconds for score in sleeper) < 0.1


def test_the_yardsticks_are_scored_as_published_by_hand(tmp_path: Path) -> None:
    """Middlebury OTHER as CDFI and AdaCoF score it: 8 bits, the mean of the PSNR of each picture."""
    rng = np.random.default_rng(0)
    by_hand = []
    for i, name in enumerate(MIDDLEBURY):
        before, after, truth = rng.integers(0, 256, (3, 6, 8, 3), np.uint8)
        after = after // 2 * 2 + before % 2  # so that no mean lies between two steps
        if i % 2:  # about as near to the mean as a good method comes
            truth = np.round((before.astype(float) + after) / 2 + i).clip(0, 255).astype(np.uint8)
        for folder, file, picture in (
            ("other-data", "frame10.png", before),
            ("other-data", "frame11.png", after),
            ("other-gt-interp", "frame10i11.png", truth),
        ):
            (tmp_path / folder / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(tmp_path / folder / name / file)
        made = np.round((before.astype(np.float32) / 255 + after.astype(np.float32) / 255) / 2 * 255)
        by_hand.append(10 * np.log10(255**2 / np.mean((made - truth) ** 2)))
    yardstick = benchmark(f"middlebury:{tmp_path}")
    result = evaluate({"blend": BASELINES["blend"]}, yardstick, {"psnr": METRICS["psnr"]})
    assert result.two_frames
    assert result.count == 12
    assert result.mean("psnr", "blend") == pytest.approx(np.mean(by_hand), abs=1e-3)


def _of_a_score(**changes: Any) -> Callable[[dict[str, Any]], None]:
    return lambda line: line["scores"][0].update(changes)


EDITS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "no place": lambda line: line.pop("place"),
    "a place that is no number": lambda line: line.update(place={"a": 1}),
    "no sample": lambda line: line.pop("sample"),
    "another sample": lambda line: line.update(sample="other"),
    "scores that are a number": lambda line: line.update(scores=1e308),
    "no scores at all": lambda line: line.update(scores=[]),
    "a score too many": lambda line: line["scores"].append(line["scores"][0]),
    "a sample that is a list": _of_a_score(sample=[[]]),
    "another method": _of_a_score(method="dis"),
    "another metric": _of_a_score(values={"ssim": 0.5}),
    "a value that is text": _of_a_score(values={"psnr": "high"}),
    "no finite value": _of_a_score(values={"psnr": math.nan}),
    "a size of one": _of_a_score(size=[3]),
    "a field too many": _of_a_score(depth=3),
    "seconds that are none": _of_a_score(seconds=None),
    "a reason that is none": lambda line: (line.pop("scores"), line.update(reason=3)),
}


@pytest.mark.parametrize("edit", EDITS)
def test_a_ledger_that_was_edited_is_refused_in_words(
    edit: str, two_clips: Benchmark, tmp_path: Path
) -> None:
    ledger, chosen = tmp_path / "scores.jsonl", {"psnr": METRICS["psnr"]}
    evaluate({"blend": BASELINES["blend"]}, two_clips, chosen, ledger=ledger)
    head, first, *others = ledger.read_text().splitlines(keepends=True)
    line = json.loads(first)
    EDITS[edit](line)
    ledger.write_text(head + json.dumps(line) + "\n" + "".join(others))
    edited = ledger.read_bytes()
    with pytest.raises(ValueError, match="is not the ledger of an evaluation"):
        evaluate({"blend": BASELINES["blend"]}, two_clips, chosen, ledger=ledger)
    assert ledger.read_bytes() == edited


@pytest.mark.parametrize(
    "content", [b"\n", b"\xff\n", b"[" * 10**5 + b"\n", b"[]\n", b'{"date": 3}\n', b"3\n3\n"]
)
def test_what_is_no_ledger_is_refused_in_words(content: bytes, two_clips: Benchmark, tmp_path: Path) -> None:
    (tmp_path / "scores.jsonl").write_bytes(content)
    with pytest.raises(ValueError, match="is not the ledger of an evaluation"):
        evaluate({"blend": BASELINES["blend"]}, two_clips, ledger=tmp_path / "scores.jsonl")
