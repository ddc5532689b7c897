from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tweenlet.evaluation import MethodInfo, Report, Score
from tweenlet.evaluation.published import Published, published_results

Reported = Callable[..., Report]

NINE = {f"clip{i}": [30.0 + i, 31.0 + i] for i in range(9)}
BETTER = {clip: [x + 0.5 + 0.01 * i for i, x in enumerate(values)] for clip, values in NINE.items()}
LEVEL = {
    clip: [x + (0.5 if i % 2 else -0.5) for x in values] for i, (clip, values) in enumerate(NINE.items())
}


def test_the_average_is_as_the_benchmark_defines_it(reported: Reported) -> None:
    uneven = {"a": {"long": [10.0, 20.0, 30.0], "short": [40.0]}}
    assert reported(uneven).mean("psnr", "a") == pytest.approx(25)
    assert reported(uneven, by_sequence=True).mean("psnr", "a") == pytest.approx(30)
    assert reported(uneven, by_sequence=True).mean("seconds", "a") == pytest.approx(0.25)
    assert reported(uneven).mean("psnr", "a", "long") == pytest.approx(20)
    assert "mean of the means of sequences of 4 samples in 2" in reported(uneven, by_sequence=True).markdown()


def test_a_difference_inside_the_noise_is_shown_as_such(reported: Reported) -> None:
    found = reported({"ours": BETTER, "worse": NINE, "level": LEVEL})
    rows = [line for line in found.certainty().splitlines() if "PSNR" in line]
    worse = next(row for row in rows if "worse" in row)
    level = next(row for row in rows if "level" in row)
    assert "+0.5" in worse
    assert "0.0039" in worse
    assert "noise" not in worse
    assert "noise (" in next(
        line for line in reported({"a": NINE, "b": LEVEL}).certainty().splitlines() if "| b" in line
    )
    assert "+" in level or "noise" in level


def test_the_tables_line_up_and_are_complete(reported: Reported) -> None:
    text = reported({"ours": BETTER, "a | b": NINE}, note="12 of 20 sequences").markdown()
    lines = text.splitlines()
    assert lines[0] == "**clips**: mean of 18 samples in 9 sequences; 12 of 20 sequences"
    assert [cell.strip() for cell in lines[2].strip("|").split("|")] == [
        "method", "PSNR (dB)", "SSIM", "s / frame", "CPU s / frame", "parameters",
    ]  # fmt: skip
    assert "| a \\| b |" in text
    assert "| clip8" in text
    assert "bootstrap over 9 sequences" in text
    assert lines[-1] == "tweenlet 0.1.0, 2026-11-24T12:00:00+00:00, a machine"
    tables = [block.splitlines() for block in text.split("\n\n") if block.startswith("|")]
    assert [len({len(line) for line in table}) for table in tables] == [1, 1, 1]


def test_rows_per_sequence_only_where_they_tell_something(reported: Reported) -> None:
    single = {f"clip{i}": [30.0 + i] for i in range(9)}
    assert not reported({"a": single}).sequences_tell
    assert reported({"a": NINE}).sequences_tell
    assert not reported({"a": {f"{i}": [1.0, 2.0] for i in range(101)}}).sequences_tell


def test_two_frames_are_said(reported: Reported) -> None:
    assert "two frames only" in reported({"a": NINE}, two_frames=True).markdown()
    assert "two frames" not in reported({"a": NINE}).markdown()


def test_the_worst_are_by_the_first_metric(reported: Reported) -> None:
    found = reported({"a": {"x": [30.0, 10.0, 20.0]}})
    assert found.worst("a", 2) == ["x/1", "x/2"]


def test_json_goes_there_and_back(reported: Reported) -> None:
    result = reported({"ours": BETTER, "worse": NINE}, skipped=(("x/1", "cut off"),))
    values = json.loads(result.dumps())
    assert values["means"]["ours"]["psnr"] == pytest.approx(result.mean("psnr", "ours"))
    assert values["intervals"]["ours"]["psnr"] == list(result.interval("psnr", "ours") or ())
    assert Report.from_json(values) == result
    with pytest.raises(ValueError, match="expected the JSON of a report"):
        Report.from_json({"benchmark": "x"})


def test_every_published_number_has_a_source() -> None:
    entries = published_results()
    assert len(entries) == len(
        {(e.method, e.benchmark, e.frames, e.source, *e.values.items()) for e in entries}
    )
    for entry in entries:
        assert entry.source
        assert entry.frames in (2, 4)
        assert 20 < entry.values["psnr"] < 50
    yardsticks = {(e.method, e.benchmark): e.values["psnr"] for e in entries if e.frames == 2}
    assert yardsticks["compressed AdaCoF", "ucf101-dvf"] == 35.10
    assert yardsticks["compressed AdaCoF", "middlebury"] == 35.43
    assert yardsticks["CDFI", "ucf101-dvf"] == 35.21
    assert yardsticks["CDFI", "middlebury"] == 37.14


def test_two_and_four_frames_are_never_mixed() -> None:
    assert {e.method for e in published_results("snufilm-hard", two_frames=False)} == {"ST-MFNet"}
    assert {e.method for e in published_results("snufilm-hard", two_frames=True)} == {"CDFI"}
    assert not published_results("clips")


@pytest.mark.parametrize(
    ("gap", "text"), [(0.04, "agrees within 0.05 dB"), (0.05, "agrees"), (0.08, "DIFFERS by 0.08 dB")]
)
def test_whether_it_agrees_with_what_is_published(reported: Reported, gap: float, text: str) -> None:
    theirs = (
        Published("ours", "davis", 4, {"psnr": 34.5 + gap}, "a paper"),
        Published("unknown", "davis", 4, {"psnr": 1.0}, "a paper"),
    )
    flat = {"ours": {"x": [34.0, 35.0]}, "other": {"x": [1.0, 2.0]}}
    result = reported(flat, published=theirs)
    (line,) = result.agreement()
    assert text in line
    assert "measured 34.500 dB" in line
    assert line in result.markdown()
    assert "ours (published)" in result.markdown()
    assert Report.from_json(json.loads(result.dumps())) == result
    for part in ({"whole": False}, {"skipped": (("x/3", "gone"),)}):
        (line,) = reported(flat, published=theirs, **part).agreement()
        assert "not to be compared" in line
    (line,) = reported({"mine": {"x": [34.0]}}, published=theirs).agreement()
    assert "Nothing measured has the name of a published method (ours, unknown)" in line


def test_of_too_few_samples_nothing_is_called_noise(reported: Reported) -> None:
    rows = reported({"a": {"x": [30.0, 31.0]}, "b": {"x": [10.0, 11.0]}}).certainty().splitlines()
    assert "too few" in rows[3]
    assert "noise" not in rows[3]
    assert "+20.00" in rows[3]


def test_ratios_have_a_geometric_mean_and_are_compared_as_ratios() -> None:
    """0.5 and 2 are as far from 1 as each other; the arithmetic mean would call them 1.25."""
    ours, theirs = (0.5, 2, 1, 0.8, 1.25, 1), (0.25, 1, 0.5, 0.4, 0.625, 0.5)
    scores = tuple(
        Score(name, f"clip{i}/0", f"clip{i}", (40, 24), {"detail": values[i]}, 0.25, 0.5)
        for i in range(len(ours))
        for name, values in (("ours", ours), ("theirs", theirs))
    )
    report = Report("clips", (MethodInfo("ours"), MethodInfo("theirs")), ("detail",), scores, "", "", "")
    assert report.mean("detail", "ours") == pytest.approx(1)
    assert report.mean("detail", "ours", "clip1") == pytest.approx(2)
    low, high = report.interval("detail", "ours") or (0, 0)
    assert low * high == pytest.approx(1, abs=0.1)
    apart = report.difference("detail", "ours", "theirs")
    assert apart.mean == pytest.approx(0.5)
    assert apart.interval == pytest.approx((0.5, 0.5))
    assert apart.sure
    assert "+0.50" in report.certainty()
    assert report.worst("ours", 2) == ["clip0/0", "clip1/0"]  # half and twice the detail alike
