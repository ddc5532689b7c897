"""Times: slow motion and ramps with sound, parts, loops, blur, frames kept and remade; on real files."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from torch import nn

from tweenlet import interpolate_video, video
from tweenlet.interpolation.frame_stream import parse_numbers
from tweenlet.video.retiming import TimeMap, parse_speed, parse_time
from tweenlet.video.tempo import Tempo

RATE, BEEPS = 48000, (0.25, 0.5, 0.75)
RAMP = "0:1 0.4:0.25 0.8:1"


class AnyTime(nn.Module):
    """Makes the frame at any time: frames that are as light as it is late stay so."""

    takes_time = True

    def forward(self, frames: torch.Tensor, *, time: float | torch.Tensor) -> torch.Tensor:
        return frames[:, 1].lerp(frames[:, 2], float(time))


def lightness(number: int, count: int) -> np.ndarray:
    return np.full((48, 64, 3), 30 + 190 * number / count)


def record(path: Path, rate: int = 24, count: int = 24, bad: tuple[int, ...] = ()) -> Path:
    """A second that gets lighter, with a beep of 1 kHz at BEEPS, words and a chapter; some frames black."""
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate, {"crf": "1", "bf": "0", "g": "6"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv444p"
        sound = output.add_stream("flac" if path.suffix == ".mkv" else "aac", RATE, layout="mono")
        words = output.add_mux_stream("subrip") if path.suffix == ".mkv" else None
        output.set_chapters(
            [{"id": 1, "start": 500, "end": 1000, "time_base": Fraction(1, 1000), "metadata": {}}]
        )
        packets = []
        for number in range(count):
            pixels = lightness(number, count) * (number not in bad)
            frame = av.VideoFrame.from_ndarray(np.rint(pixels).astype(np.uint8), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, rate)
            packets += stream.encode(frame)
        packets += stream.encode(None)
        seconds = np.arange(RATE) / RATE
        wave = sum(np.sin(2000 * np.pi * seconds) * (abs(seconds - beep) < 0.02) for beep in BEEPS)
        for start in range(0, RATE, 4096):
            block = np.asarray(wave * 20000, np.int16)[None, start : start + 4096]
            samples = av.AudioFrame.from_ndarray(block, "s16", "mono")
            samples.sample_rate, samples.pts, samples.time_base = RATE, start, Fraction(1, RATE)
            packets += sound.encode(samples)
        packets += sound.encode(None)
        if words is not None:
            words.time_base = Fraction(1, 1000)
            line = av.Packet(b"half past")
            line.stream, line.time_base, line.pts, line.dts, line.duration = (
                words,
                Fraction(1, 1000),
                500,
                500,
                250,
            )
            packets.append(line)
        for packet in sorted(packets, key=lambda p: p.dts * p.time_base):
            output.mux(packet)
    return path


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return record(tmp_path / "clip.mkv")


def retime(clip: Path, name: str = "out.mkv", **ask: object):
    out = clip.with_name(name)
    summary = interpolate_video(
        clip, out, model=AnyTime(), cuts=False, overwrite=True, repeats="ignore", **ask
    )
    return out, summary


def shown(path: Path, count: int = 24, rate: int = 24) -> list[tuple[float, float]]:
    """(seconds of the output, seconds of the source as the lightness says) of each frame."""
    with video.read(path) as reader:
        return [(float(f.time), (float(f.rgb().mean()) * 255 - 30) / 190 * count / rate) for f in reader]


def heard(path: Path) -> tuple[np.ndarray, float]:
    """The middle of each beep in seconds, and the length of the sound."""
    with av.open(str(path)) as container:
        blocks = list(container.decode(audio=0))
    wave = np.concatenate([b.to_ndarray()[0].astype(float) for b in blocks])
    wave /= abs(wave).max()
    start = float(blocks[0].pts * blocks[0].time_base)
    loud = np.flatnonzero(np.convolve(abs(wave), np.ones(480) / 480, "same") > 0.3)
    groups = np.split(loud, np.flatnonzero(np.diff(loud) > 2000) + 1)
    return np.array([g.mean() / RATE + start for g in groups]), len(wave) / RATE


def pitch(path: Path) -> float:
    with av.open(str(path)) as container:
        wave = np.concatenate([b.to_ndarray()[0].astype(float) for b in container.decode(audio=0)])
    return float(abs(np.fft.rfft(wave)).argmax()) / len(wave) * RATE


def test_slow_motion_keeps_sound_at_its_pitch_and_subtitles_and_chapters_in_time(clip: Path) -> None:
    out, summary = retime(clip, slow=2.5)
    assert (summary.rate_out, summary.frames_out) == (24, 59)
    for time, source in shown(out)[:-1]:
        assert source == pytest.approx(time / 2.5, abs=0.009)
    beeps, length = heard(out)
    np.testing.assert_allclose(beeps, np.array(BEEPS) * 2.5, atol=0.03)
    assert length == pytest.approx(2.5, abs=0.05)
    assert pitch(out) == pytest.approx(1000, abs=20)
    with av.open(str(out)) as container:
        (line,) = [p for p in container.demux(subtitles=0) if p.size]
        assert (line.pts * line.time_base, line.duration * line.time_base) == (Fraction(5, 4), Fraction(5, 8))
        (chapter,) = container.chapters()
        assert chapter["start"] * chapter["time_base"] == Fraction(5, 4)


def test_a_ramp_shows_every_moment_when_it_should_and_is_heard_there(clip: Path) -> None:
    out, summary = retime(clip, speed=RAMP, fps=48)
    time_map = parse_speed(RAMP)
    assert summary.rate_out == 48
    frames = shown(out)
    for time, source in frames[:-1]:
        assert source == pytest.approx(float(time_map.source_time(Fraction(time))), abs=0.009)
    assert np.diff([time for time, _ in frames]) == pytest.approx(1 / 48, abs=0.0011)
    beeps, length = heard(out)
    expected = [float(time_map.output_time(Fraction(beep))) for beep in BEEPS]
    np.testing.assert_allclose(beeps, expected, atol=0.07)
    assert length == pytest.approx(float(time_map.output_time(Fraction(1))), abs=0.12)


@pytest.mark.parametrize(
    "speed", ["0:1 4:1 4:0.1 5:0.1 5:1", "0:1 3:1 4:0.1 5:0.1 6:1", "0:1 4:1 4:0.25 5:4"]
)
def test_sound_is_in_time_again_where_the_speed_settles(speed: str) -> None:
    time_map, seconds, rate = parse_speed(speed), 10, 48_000
    wave = np.random.default_rng(0).normal(0, 0.003, seconds * rate).astype(np.float32)
    for second in range(seconds):
        wave[second * rate : second * rate + 960] = 0.8 * np.sin(0.3 * np.arange(960))
    tempo, blocks = Tempo("fltp", "mono", rate, time_map), []
    for start in range(0, len(wave), 1000):
        block = av.AudioFrame.from_ndarray(wave[None, start : start + 1000].copy(), "fltp", "mono")
        block.sample_rate = rate
        blocks += tempo.stretch(block, Fraction(start, rate))
    heard = np.concatenate([block.to_ndarray()[0] for block in [*blocks, *tempo.finish()]])
    assert len(heard) / rate == pytest.approx(float(time_map.output_time(Fraction(seconds))), abs=1e-3)
    loud = np.flatnonzero(abs(heard) > 0.25)
    begins = loud[np.diff(loud, prepend=-rate) > 3000] / rate
    for second in (0, 1, 2, 3, 6, 7, 8, 9):
        due = float(time_map.output_time(Fraction(second)))
        assert min(abs(begins - due)) < 0.06


@pytest.mark.parametrize("name", ["part.mkv", "part.mp4"])
def test_a_part_begins_with_its_first_frame_and_its_sound(clip: Path, name: str) -> None:
    out, summary = retime(clip, name, start="0.25", end=0.75, factor=2)
    assert (summary.frames_in, summary.frames_out) == (12, 23)
    for time, source in shown(out):
        assert source == pytest.approx(time + 0.25, abs=0.009)
    beeps, length = heard(out)
    assert min(abs(beeps - 0.25)) < 0.03
    assert length == pytest.approx(0.5, abs=0.1)


def test_a_part_far_into_a_file_is_found_without_reading_all_of_it(tmp_path: Path, monkeypatch) -> None:
    long = record(tmp_path / "long.mp4", count=240)
    decoded = []
    to_rgb = video.Frame.rgb
    monkeypatch.setattr(video.Frame, "rgb", lambda self, clip=True: decoded.append(1) or to_rgb(self, clip))
    out, summary = retime(long, "part.mp4", start=8, end=8.5)
    assert (summary.frames_in, len(decoded)) == (12, 12)
    monkeypatch.undo()
    for time, source in shown(out, 240):
        assert source == pytest.approx(time + 8, abs=0.12)


def test_a_part_that_is_not_there_is_refused(clip: Path) -> None:
    with pytest.raises(ValueError, match=r"clip.mkv has no frames from 7 s to its end"):
        retime(clip, start=7)
    with pytest.raises(ValueError, match=r"expected a part that begins before it ends, got 0\.5 to 0\.25"):
        retime(clip, start=0.5, end=0.25)
    assert not clip.with_name("out.mkv").exists()


def test_a_loop_leads_back_to_its_first_frame_and_does_not_show_it_twice(clip: Path) -> None:
    out, summary = retime(clip, factor=4, loop=True)
    assert (summary.frames_in, summary.frames_out) == (24, 96)
    last = [source for _, source in shown(out)[-4:]]
    np.testing.assert_allclose(last, [23 / 24 * k / 4 for k in (4, 3, 2, 1)], atol=0.01)


def test_every_frame_can_be_kept_at_a_rate_that_does_not_meet_their_times(clip: Path) -> None:
    _, some = retime(clip, fps=60)
    out, all_of_them = retime(clip, fps=60, keep_frames=True)
    assert (some.frames_kept, all_of_them.frames_kept) == (13, 24)
    assert abs(some.frames_out - all_of_them.frames_out) <= 1
    sources = [source for _, source in shown(out)]
    for number in range(24):
        assert min(abs(source - number / 24) for source in sources) < 0.009
    for time, source in shown(out):
        assert abs(time - source) < 1 / 60


def test_a_rate_may_be_below_the_source_s(clip: Path) -> None:
    out, summary = retime(clip, fps=20)
    assert (summary.frames_in, summary.frames_out, summary.frames_kept) == (24, 20, 4)
    times, sources = zip(*shown(out), strict=True)
    np.testing.assert_allclose(times, [k / 20 for k in range(20)], atol=1e-3)
    np.testing.assert_allclose(sources, times, atol=0.01)


def test_a_shutter_averages_what_it_sees_and_leaves_what_stands(clip: Path, tmp_path: Path) -> None:
    out, summary = retime(clip, shutter=180)
    assert (summary.rate_out, summary.frames_out) == (24, 24)
    for time, source in shown(out)[:-1]:
        assert source == pytest.approx(time + 7 / 16 / 2 / 24, abs=0.008)
    slower, summary = retime(clip, fps=12, shutter=360)
    assert (summary.rate_out, summary.frames_out) == (12, 12)
    for time, source in shown(slower)[:-1]:
        assert source == pytest.approx(time + 7 / 16 / 12, abs=0.008)
    still = record(tmp_path / "still.mkv", bad=tuple(range(24)))
    summary = interpolate_video(still, tmp_path / "blurred.mkv", model=AnyTime(), shutter=180)
    assert (summary.frames_made, summary.frames_out) == (0, 24)


def test_what_cannot_be_remade_is_said(tmp_path: Path) -> None:
    clip = record(tmp_path / "clip.mkv", bad=(22, 23))
    out, summary = retime(clip, replace="22-23,40")
    reasons = [str(notice) for notice in summary.notices]
    assert len(reasons) == 2
    assert reasons[0].startswith("no frame follows 22, 23 to remake from")
    assert reasons[1].endswith("the last one is 23")
    assert [source for _, source in shown(out)][-2:] == pytest.approx([21 / 24] * 2, abs=0.009)


def test_damaged_frames_are_remade_from_their_neighbours(tmp_path: Path) -> None:
    clip = record(tmp_path / "clip.mkv", bad=(7, 12, 13))
    out, summary = retime(clip, replace="7,12-13")
    assert (summary.frames_in, summary.frames_out, summary.rate_out, summary.frames_kept) == (24, 24, 24, 21)
    for time, source in shown(out):
        assert source == pytest.approx(time, abs=0.009)
    out, summary = retime(clip, replace="7,12-13", fps=48)
    assert summary.frames_out == 47
    for time, source in shown(out):
        assert source == pytest.approx(time, abs=0.009)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0", "from 1 on"), ("5-3", "from 1 on"), ("3-40", "up to 5 in a row"), ("x", "such as 117,240-243"),
        ("2-5,6-9", "at most 5 frames in a row"),
    ],
)  # fmt: skip
def test_frames_that_cannot_be_remade_are_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_numbers(text)
    assert parse_numbers("3, 5-7") == {3, 5, 6, 7}


def test_times_and_speeds_are_read_as_people_write_them(tmp_path: Path) -> None:
    assert [parse_time(t) for t in ("90.5", "1:30.5", "0:01:30.5", 90.5)] == [Fraction(181, 2)] * 4
    points = tmp_path / "ramp.txt"
    points.write_text("0:1\n2:0.5  # here it slows down\n1:00:2\n")
    time_map = parse_speed(str(points))
    assert [time_map.speed_at(time_map.output_time(Fraction(t))) for t in (0, 2, 60, 90)] == [1, 0.5, 2, 2]
    for wrong in ("fast", "0:0", "1:2 0:1", "0:1,x:2", "-1:1"):
        with pytest.raises(ValueError, match="expected"):
            parse_speed(wrong)
    for wrong in ("-1", "1:2:3:4", "soon", "1/0"):
        with pytest.raises(ValueError, match="expected a time"):
            parse_time(wrong)


def test_a_map_of_times_goes_there_and_back() -> None:
    time_map = TimeMap(
        [(Fraction(1), Fraction(1)), (Fraction(2), Fraction(1, 4)), (Fraction(2), Fraction(3))]
    )
    for k in range(60):
        output = Fraction(k, 10)
        assert float(time_map.output_time(time_map.source_time(output)) - output) == pytest.approx(
            0, abs=1e-8
        )
    steps = [
        time_map.source_time(Fraction(k + 1, 100)) - time_map.source_time(Fraction(k, 100))
        for k in range(400)
    ]
    assert (float(min(steps)) * 100, float(max(steps)) * 100) == (pytest.approx(0.25, abs=0.01), 3)
