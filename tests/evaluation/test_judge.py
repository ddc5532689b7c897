from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from tweenlet.evaluation import PEERS, Report, evaluate, judge

Footage = Callable[[Path, int], Path]
Reported = Callable[..., Report]

NINE = {f"clip{i}": [30.0 + i, 31.0 + i] for i in range(9)}
BETTER = {clip: [x + 0.5 + 0.01 * i for i, x in enumerate(values)] for clip, values in NINE.items()}
LEVEL = {
    clip: [x + (0.5 if i % 2 else -0.5) for x in values] for i, (clip, values) in enumerate(NINE.items())
}


def test_every_other_frame_is_hidden(tmp_path: Path, footage: Footage) -> None:
    found = judge.hidden(footage(tmp_path / "clip", 12))
    names = [sample.name for sample in found]
    assert names == ["clip/00000", "clip/00002", "clip/00004"]
    assert [judge.moment(name, 10.0) for name in names[:2]] == ["frame 3 (0.30 s)", "frame 5 (0.50 s)"]
    assert judge.moment(names[0], None) == "frame 3"


def test_of_a_long_clip_about_so_many_as_asked(tmp_path: Path, footage: Footage) -> None:
    found = judge.hidden(footage(tmp_path / "clip", 60), most=5)
    numbers = [int(sample.name[-5:]) for sample in found]
    assert 4 <= len(numbers) <= 5
    assert all(number % 2 == 0 for number in numbers)
    assert len(set(np.diff(numbers))) == 1
    assert "left out" in found.note


def test_windows_with_a_cut_are_left_out(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    scenes = [
        cv2.GaussianBlur(rng.uniform(0, 255, (48, 64, 3)).astype(np.float32), (0, 0), 5) for _ in range(2)
    ]
    scenes = [(s - s.min()) / (s.max() - s.min()) * 255 for s in scenes]
    folder = tmp_path / "clip"
    folder.mkdir()
    for i in range(20):
        cv2.imwrite(str(folder / f"{i:03d}.png"), np.roll(scenes[i >= 10], i, 1))
    starts = [int(sample.name[-5:]) for sample in judge.hidden(folder)]
    assert starts == [0, 2, 10, 12]


def test_what_is_no_clip_or_too_short_is_refused(tmp_path: Path, footage: Footage) -> None:
    with pytest.raises(FileNotFoundError, match=r"no such video or folder of frames: .*nowhere"):
        judge.hidden(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"clip has 6 frames: expected 7 or more"):
        judge.hidden(footage(tmp_path / "clip", 6))
    with pytest.raises(ValueError, match=r"expected to hide a frame or more, got 0"):
        judge.hidden(footage(tmp_path / "long", 9), most=0)


def test_the_verdict_says_who_is_best_and_by_how_much(reported: Reported) -> None:
    said = judge.verdict(reported({"worse": NINE, "ours": BETTER}))
    assert said.startswith("**ours** restores this clip best: 35.0")
    assert "0.51 dB ahead of worse" in said or "0.50 dB ahead of worse" in said
    assert "best on 100%" in said


def test_the_verdict_calls_noise_noise(reported: Reported) -> None:
    said = judge.verdict(reported({"a": NINE, "b": LEVEL}))
    assert "inside the noise" in said
    assert "restores this clip best" not in said


def test_of_few_frames_the_verdict_says_no_more_than_it_can(reported: Reported) -> None:
    said = judge.verdict(reported({"a": {"clip": [30.0, 31.0]}, "b": {"clip": [10.0, 11.0]}}))
    assert "2 hidden frames are too few" in said


def test_where_each_fails(reported: Reported, tmp_path: Path, footage: Footage) -> None:
    found = reported({"a": {"clip": [30.0, 10.0]}, "b": {"clip": [5.0, 20.0]}})
    assert judge.failures(found, 10) == ["clip/1", "clip/0"]
    lines = judge.where(found, 10.0).splitlines()
    assert "50%" in lines[2]
    assert "10.00" in lines[2]
    assert "frame 4 (0.40 s)" in lines[2]
    assert "frame 3 (0.30 s)" in lines[3]


def test_a_clip_is_judged(tmp_path: Path, footage: Footage) -> None:
    found = evaluate(
        {"blend": PEERS["blend"], "dis": PEERS["dis"]}, judge.hidden(footage(tmp_path / "clip", 20))
    )
    assert found.count == 7
    assert judge.verdict(found)
