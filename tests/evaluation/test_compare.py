from __future__ import annotations

from collections.abc import Callable, Iterable
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from tweenlet.cli import main
from tweenlet.evaluation import BASELINES, Benchmark, Report, compare, evaluate
from tweenlet.evaluation.report import MethodInfo, Score

Reported = Callable[..., Report]

NINE = {f"clip{i}": [30.0 + i, 31.0 + i] for i in range(9)}
BETTER = {clip: [x + 0.5 + 0.01 * i for i, x in enumerate(values)] for clip, values in NINE.items()}
LEVEL = {
    clip: [x + (0.5 if i % 2 else -0.5) for x in values] for i, (clip, values) in enumerate(NINE.items())
}


def drift(index: float) -> np.ndarray:
    """A frame (24, 40, 3) of a soft pattern that moves a pixel a frame."""
    x, y = np.meshgrid(np.arange(40) - index, np.arange(24))
    return np.stack([127 + 100 * np.sin(x / 3) * np.cos(y / (4 + c)) for c in range(3)], -1).astype(np.uint8)


def other_scene(index: float) -> np.ndarray:
    """A frame that has nothing in common with those of :func:`drift`."""
    return np.ascontiguousarray(255 - drift(index)[::-1])


def folder_of(folder: Path, pictures: Iterable[np.ndarray]) -> Path:
    folder.mkdir()
    for index, picture in enumerate(pictures):
        assert cv2.imwrite(str(folder / f"{index:05d}.png"), picture)
    return folder


def video_of(path: Path, pictures: Iterable[np.ndarray], milliseconds: Iterable[int]) -> Path:
    """A video of which every frame is shown at a time of its own."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=25, options={"crf": "12"})
        stream.width, stream.height, stream.pix_fmt = 40, 24, "yuv420p"
        stream.codec_context.time_base = stream.time_base = Fraction(1, 1000)
        for picture, time in zip(pictures, milliseconds, strict=True):
            frame = av.VideoFrame.from_ndarray(picture)
            frame.pts, frame.time_base = time, Fraction(1, 1000)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def starts_of(hidden: compare.HiddenFrames) -> list[int]:
    return [int(sample.name[-5:]) for sample in hidden.benchmark]


def test_every_other_frame_is_hidden(tmp_path: Path) -> None:
    result = compare.hide_frames(folder_of(tmp_path / "clip", map(drift, range(12))))
    names = [sample.name for sample in result.benchmark]
    assert names == ["clip/00000", "clip/00002", "clip/00004"]
    assert result.benchmark.count == 3
    assert "every other frame hidden; " in result.benchmark.note
    assert "twice as far apart as in real use, which is harder" in result.benchmark.note
    assert "left out" not in result.benchmark.note
    assert result.moment(names[0]) == "frame 3"


def test_of_a_long_clip_as_many_as_asked(tmp_path: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    result = compare.hide_frames(
        folder_of(tmp_path / "clip", map(drift, range(60))), 5, lambda *messages: seen.append(messages)
    )
    assert starts_of(result) == [4, 16, 26, 36, 48]
    assert "5 of 27 recreated" in result.benchmark.note
    assert seen == [(done, 60) for done in range(1, 61)]


def test_a_clip_has_its_own_name_wherever_one_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = folder_of(tmp_path / "clip", map(drift, range(7)))
    monkeypatch.chdir(folder)
    for path in (".", "../clip", "../clip/../clip"):
        assert compare.resolve_clip(Path(path)) == folder
    assert compare.hide_frames(Path()).benchmark.name == "clip"
    (tmp_path / "link").symlink_to(folder)
    assert compare.resolve_clip(Path("../link")) == tmp_path / "link"


def test_windows_with_a_cut_are_left_out_and_counted(tmp_path: Path) -> None:
    pictures = (drift(i) if i < 10 else other_scene(i) for i in range(20))
    found = compare.hide_frames(folder_of(tmp_path / "clip", pictures))
    assert starts_of(found) == [0, 2, 10, 12]
    assert found.benchmark.note.endswith("windows left out: 3 for cuts")


def test_windows_with_repeated_frames_are_left_out_and_counted(tmp_path: Path) -> None:
    numbers = [*range(13), 12, *range(13, 24)]
    found = compare.hide_frames(folder_of(tmp_path / "clip", map(drift, numbers)))
    assert starts_of(found) == [0, 2, 4, 6, 14, 16, 18]
    assert found.benchmark.note.endswith("windows left out: 3 for repeated frames")
    pictures = (drift(number) if number < 7 else other_scene(number) for number in numbers)
    both = compare.hide_frames(folder_of(tmp_path / "cut", pictures)).benchmark.note
    assert both.endswith("windows left out: 3 for cuts, 3 for repeated frames")


@pytest.mark.parametrize("hold", [2, 3])
def test_a_clip_on_twos_or_threes_is_not_judged(tmp_path: Path, hold: int) -> None:
    """Coded with loss, repeated frames are not quite the same, and motion between them looks like cuts."""
    pictures = (drift(5 * (i // hold)) for i in range(30))
    path = video_of(tmp_path / "twos.mp4", pictures, range(0, 1200, 40))
    with pytest.raises(ValueError, match=r"twos.mp4 repeats its frames \(in 12 of 12 .*mpdecimate"):
        compare.hide_frames(path)


def test_a_still_picture_is_not_judged_but_one_in_which_little_moves_is(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"still repeats its frames"):
        compare.hide_frames(folder_of(tmp_path / "still", [drift(0)] * 9))
    black, white = np.zeros((240, 320, 3), np.uint8), (255, 255, 255)
    pictures = [cv2.rectangle(black.copy(), (2 * i, 9), (2 * i + 7, 16), white, -1) for i in range(9)]
    assert len(starts_of(compare.hide_frames(folder_of(tmp_path / "cursor", pictures)))) == 2


def test_windows_of_uneven_time_are_left_out_and_times_are_exact(tmp_path: Path) -> None:
    times = [40 * i if i < 10 else 40 * i + 160 for i in range(20)]
    result = compare.hide_frames(video_of(tmp_path / "vfr.mp4", map(drift, range(20)), times))
    assert starts_of(result) == [0, 2, 4, 8, 10, 12]
    assert result.benchmark.note.endswith("windows left out: 1 for uneven time")
    names = [sample.name for sample in result.benchmark]
    assert result.moment(names[0]) == "frame 3 (0.12 s)"
    assert result.moment(names[-1]) == "frame 15 (0.76 s)"


def test_the_frames_are_counted_whatever_the_file_promises(tmp_path: Path) -> None:
    """Of a file that tells no count, rate times duration is far off where the rate varies."""
    times = [10 * i for i in range(12)] + [500 * i for i in range(1, 13)]
    found = compare.hide_frames(video_of(tmp_path / "vfr.mkv", map(drift, range(24)), times), 50)
    assert starts_of(found) == [0, 2, 4, 6, 10, 12, 14, 16]


def test_a_clip_of_which_nothing_is_left_says_why(tmp_path: Path) -> None:
    pictures = (drift(i) if i % 8 < 4 else other_scene(i) for i in range(12))
    with pytest.raises(ValueError, match=r"no frame to compare on: all its .* left out, 3 for cuts"):
        compare.hide_frames(folder_of(tmp_path / "clip", pictures))


def test_what_is_no_clip_or_too_short_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no such video or folder of frames: .*nowhere"):
        compare.hide_frames(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"clip has 6 frames: expected 7 or more"):
        compare.hide_frames(folder_of(tmp_path / "clip", map(drift, range(6))))
    with pytest.raises(ValueError, match=r"one has 1 frame: expected 7 or more"):
        compare.hide_frames(folder_of(tmp_path / "one", [drift(0)]))
    with pytest.raises(ValueError, match=r"expected to hide a frame or more, got 0"):
        compare.hide_frames(tmp_path / "clip", most=0)


def test_the_verdict_says_who_is_best_and_by_how_much(reported: Reported) -> None:
    text = compare.verdict(reported({"worse": NINE, "ours": BETTER}))
    assert text.startswith("**ours** restores this clip best: 35.0")
    assert "0.51 dB ahead of worse" in text or "0.50 dB ahead of worse" in text
    assert "best on 100%" in text


def test_the_verdict_calls_noise_noise(reported: Reported) -> None:
    said = compare.verdict(reported({"a": NINE, "b": LEVEL}))
    assert "within noise" in said
    assert "restores this clip best" not in said


def test_of_few_frames_the_verdict_says_no_more_than_it_can(reported: Reported) -> None:
    text = compare.verdict(reported({"a": {"clip": [30.0, 31.0]}, "b": {"clip": [10.0, 11.0]}}))
    assert "2 hidden frames are too few" in text
    text = compare.verdict(reported({"a": {"clip": [30.0]}, "b": {"clip": [10.0]}}))
    assert "1 hidden frame is too few" in text


def test_the_verdict_on_detail_goes_by_the_distance_from_one() -> None:
    """0.91 and 1.1 are equally far from it."""
    scores = tuple(
        Score(name, f"clip/{i}", "clip", (40, 24), {"detail": value + noise}, 0.25, 0.5)
        for i, noise in enumerate(np.random.default_rng(0).normal(0, 0.01, 30))
        for name, value in (("softer", 0.909), ("sharper", 1.1), ("far", 0.3))
    )
    methods = tuple(MethodInfo(name) for name in ("softer", "sharper", "far"))
    report = Report("clip", methods, ("detail",), scores, "", "", "")
    text = compare.verdict(report)
    assert "restores this clip best" not in text
    assert report.advantage("detail", "sharper", "far").sure
    assert report.advantage("detail", "sharper", "softer").mean == pytest.approx(0, abs=0.01)


def test_where_each_fails(reported: Reported) -> None:
    result = reported({"a": {"clip": [30.0, 10.0]}, "b": {"clip": [5.0, 20.0]}})
    assert compare.failures(result, 10) == ["clip/1", "clip/0"]
    hidden = compare.HiddenFrames(Benchmark("clip", ()), {4: Fraction(2, 5)})
    lines = compare.weakness_table(result, hidden.moment).splitlines()
    assert len(lines) == 4
    assert "50%" in lines[2]
    assert "10.00" in lines[2]
    assert "frame 4 (0.40 s)" in lines[2]
    assert lines[3].rstrip(" |").endswith("frame 3")


def test_a_draw_counts_for_each_and_is_told(reported: Reported) -> None:
    best = {clip: list(values) for clip, values in BETTER.items()}
    best["clip0"] = NINE["clip0"]
    result = reported({"worse": NINE, "ours": best})
    *lines, note = compare.weakness_table(result, str).splitlines()
    assert "11%" in lines[2]
    assert "100%" in lines[3]
    assert note == "A tie counts for each method."
    assert "best on 100% of the hidden frames, counting ties," in compare.verdict(result)


def test_a_clip_is_judged(tmp_path: Path) -> None:
    result = evaluate(
        {"blend": BASELINES["blend"], "dis": BASELINES["dis"]},
        compare.hide_frames(folder_of(tmp_path / "clip", map(drift, range(20)))).benchmark,
    )
    assert result.count == 7
    assert compare.verdict(result)


def run(*arguments: str | Path) -> int:
    """The command, with blending for a network."""
    with pytest.raises(SystemExit) as end:
        main(["compare", *map(str, arguments), "--model", "blend", "--against", "dis", "--metrics", "psnr"])
    return int(end.value.code or 0)


def test_no_page_goes_over_a_video(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clip = video_of(tmp_path / "a.mp4", map(drift, range(7)), range(0, 280, 40))
    held = clip.read_bytes()
    (tmp_path / "folder.html").mkdir()
    for page in (clip, tmp_path / "page.txt", tmp_path / "folder.html"):
        assert run(clip, page, "--overwrite") == 1
        assert "expected the name of a page to write" in capsys.readouterr().err
    assert clip.read_bytes() == held


def test_a_page_that_cannot_be_written_is_told_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clip = folder_of(tmp_path / "clip", map(drift, range(7)))
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setattr(compare, "hide_frames", lambda *_: pytest.fail("work was begun"))
    for folder in ("nowhere", "file"):
        assert run(clip, tmp_path / folder / "page.html") == 1
        assert "the folder to write into does not exist" in capsys.readouterr().err
    monkeypatch.setattr("os.access", lambda *_, **__: False)
    assert run(clip, tmp_path / "page.html") == 1
    assert f"the folder {tmp_path} cannot be written into" in capsys.readouterr().err


def test_the_table_is_out_before_the_page_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr("tweenlet.evaluation.document.write_files", full)
    assert run(folder_of(tmp_path / "clip", map(drift, range(7)))) == 1
    said, errors = capsys.readouterr()
    assert "| blend " in said
    assert "disk is full" in errors


def test_the_page_of_the_folder_one_stands_in_lies_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    numbers = [*range(13), 12, *range(13, 24)]
    monkeypatch.chdir(folder_of(tmp_path / "clip", map(drift, numbers)))
    assert run(".") == 0
    told = "windows left out: 3 for repeated frames"
    assert told in capsys.readouterr().out
    assert told in (tmp_path / "clip.compare.html").read_text()


def test_lpips_takes_its_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clip = folder_of(tmp_path / "clip", map(drift, range(7)))
    assert run(clip, "--lpips", tmp_path / "none.pth") == 1
    assert "none.pth" in capsys.readouterr().err
