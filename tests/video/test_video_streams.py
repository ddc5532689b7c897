"""What lies beside the pictures: each stream copied, encoded anew or named, and none that ends the run."""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest

from tweenlet import video

RATE = 48000


def copy(source: Path, target: Path) -> list[str]:
    """Write the frames of a source as they are; what the writer warned of."""
    warnings = write(source, target)
    assert count_of(target) == count_of(source)
    return warnings


def write(source: Path, target: Path) -> list[str]:
    with video.read(source) as reader:
        writer = video.write(target, reader, reader.rate or video.IMAGE_RATE)
        with writer:
            for frame in reader:
                writer.write(frame, frame.time, frame.duration)
    return writer.warnings


def count_of(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


def sounds_of(path: Path) -> list[str]:
    with av.open(str(path)) as container:
        return [s.codec_context.codec.canonical_name for s in container.streams.audio if s.codec_context]


def packets_of(path: Path, kind: str) -> list[tuple[Fraction, bytes]]:
    with av.open(str(path)) as container:
        stream = next(s for s in container.streams if s.type == kind)
        return [(p.pts * p.time_base, bytes(p)) for p in container.demux(stream) if p.size]


def mute(path: Path, sound: Callable[[float], bool], codec: str = "pcm_s16le", seconds: int = 4) -> Path:
    """A clip of ``seconds`` whose sound has no packets at times where ``sound`` is false."""
    with av.open(str(path), "w") as output:
        picture = output.add_stream("libx264", 10, {"preset": "ultrafast"})
        picture.width, picture.height, picture.pix_fmt = 32, 32, "yuv420p"
        tone = output.add_stream(codec, RATE, layout="mono")
        for i in range(10 * seconds):
            frame = av.VideoFrame.from_ndarray(np.full((48, 32), 90 + i, np.uint8), "yuv420p")
            frame.pts, frame.time_base = i, Fraction(1, 10)
            output.mux(picture.encode(frame))
            for k in range(100 * i, 100 * i + 100, 20):
                if sound(k / 1000):
                    output.mux(tone.encode(beep(k * RATE // 1000)))
        output.mux(picture.encode(None))
    return path


def beep(start: int, samples: int = 960) -> av.AudioFrame:
    """20 ms of sound that is loud in the first 100 ms of each second, else soft."""
    at = np.arange(start, start + samples)
    wave = np.sin(at * 0.1) * np.where(at % RATE < RATE // 10, 20000, 1000)
    frame = av.AudioFrame.from_ndarray(wave.astype(np.int16)[None], "s16", "mono")
    frame.sample_rate, frame.pts, frame.time_base = RATE, start, Fraction(1, RATE)
    return frame


def beeps_of(path: Path) -> list[float]:
    """When the sound becomes loud, counting samples as a player does that goes by them alone."""
    plain = av.AudioResampler("s16", "mono", RATE)
    with av.open(str(path)) as container:
        frames = list(container.decode(audio=0))
        begin = float(frames[0].time or 0)
        blocks = [b.to_ndarray()[0] for frame in frames for b in plain.resample(frame)]
    blocks += [b.to_ndarray()[0] for b in plain.resample(None)]
    loud = np.abs(np.concatenate(blocks).astype(float)).reshape(-1)
    level = loud[: len(loud) // 480 * 480].reshape(-1, 480).max(axis=1) > 8000
    edges = np.flatnonzero(level & ~np.concatenate([[False], level[:-1]]))
    return [round(begin + edge / 100, 2) for edge in edges]


def test_sound_that_changes_midway_is_named(tmp_path):
    """As between programmes on television; the containers of files say rate and channels once."""
    for part, (rate, layout) in enumerate([(48000, "stereo"), (44100, "mono")]):
        with av.open(str(tmp_path / f"{part}.ts"), "w") as output:
            picture, tone = output.add_stream("libx264", 10), output.add_stream("aac", rate, layout=layout)
            picture.width, picture.height, picture.pix_fmt = 64, 48, "yuv420p"
            for number in range(10):
                frame = av.VideoFrame.from_ndarray(np.full((72, 64), 90 + number, np.uint8), "yuv420p")
                frame.pts, frame.time_base = 10 * part + number, Fraction(1, 10)
                output.mux(picture.encode(frame))
            for start in range(rate * part, rate * (part + 1) - 1024, 1024):
                silence = np.zeros((1 + (layout == "stereo"), 1024), np.float32)
                sound = av.AudioFrame.from_ndarray(silence, "fltp", layout)
                sound.sample_rate, sound.pts, sound.time_base = rate, start, Fraction(1, rate)
                output.mux(tone.encode(sound))
            for stream in (picture, tone):
                output.mux(stream.encode(None))
    (tmp_path / "in.ts").write_bytes((tmp_path / "0.ts").read_bytes() + (tmp_path / "1.ts").read_bytes())
    (warning,) = write(tmp_path / "in.ts", tmp_path / "out.mkv")
    assert re.fullmatch(r"audio stream 1 \(aac\) changes its rate .* at \d\.\d\d s, .*--audio aac", warning)
    assert write(tmp_path / "0.ts", tmp_path / "one.mkv") == []


@pytest.mark.parametrize(
    ("names", "kind"), [((b"A_AAC", b"A_XYZ"), "audio"), ((b"S_TEXT/UTF8", b"S_TEXT/USF\0"), "subtitle")]
)
@pytest.mark.parametrize("suffix", ["mkv", "mp4", "webm"])
def test_a_stream_of_an_unknown_codec_is_left_out_and_named(make_clip, tmp_path, names, kind, suffix):
    source = make_clip("clip.mkv", sound="aac", subtitles="subrip")
    source.write_bytes(source.read_bytes().replace(*names, 1))
    (warning,) = copy(source, tmp_path / f"out.{suffix}")
    assert re.fullmatch(
        rf".*clip.mkv: left out.*\.{suffix}.*: {kind} stream . \(of an unknown codec\)", warning
    )


@pytest.mark.parametrize(
    ("sound", "target", "codec"),
    [
        ("flac", "out.mov", "aac"),
        ("libopus", "out.mov", "aac"),
        ("wavpack", "out.mp4", "aac"),
        ("wavpack", "out.mkv", "wavpack"),
        ("flac", "out.mp4", "flac"),
        ("ac3", "out.mov", "ac3"),
        ("pcm_mulaw", "out.mkv", "pcm_mulaw"),
        ("pcm_mulaw", "out.webm", "opus"),
    ],
)
def test_sound_is_copied_where_it_is_held_and_else_encoded(make_clip, tmp_path, sound, target, codec):
    source = make_clip("clip.mov" if sound == "pcm_mulaw" else "clip.mkv", sound=sound, sound_seconds=1.0)
    assert copy(source, tmp_path / target) == []
    assert sounds_of(tmp_path / target) == [codec]
    if codec == sound:
        copied, original = (packets_of(path, "audio") for path in (tmp_path / target, source))
        assert [data for _, data in copied] == [data for _, data in original]


def test_old_windows_sound_is_copied_into_matroska(tmp_path):
    source = mute(tmp_path / "old.avi", lambda _: True, "pcm_alaw")
    assert copy(source, tmp_path / "out.mkv") == []
    assert b"".join(d for _, d in packets_of(tmp_path / "out.mkv", "audio")) == b"".join(
        d for _, d in packets_of(source, "audio")
    )


@pytest.mark.parametrize("suffix", ["mp4", "webm"])
def test_a_gap_in_the_sound_is_silence(tmp_path, suffix):
    source = mute(tmp_path / "gap.mkv", lambda time: not 0.5 <= time < 2.5)
    assert copy(source, tmp_path / f"out.{suffix}") == []
    np.testing.assert_allclose(beeps_of(tmp_path / f"out.{suffix}"), [0, 3], atol=0.03)


def test_sound_whose_channels_and_rate_change_goes_on(tmp_path):
    """MPEG-TS of MP2, whose packets say each what they are."""
    parts = []
    for name, rate, layout in (("a.ts", 48000, "stereo"), ("b.ts", 32000, "mono")):
        with av.open(str(tmp_path / name), "w", options={"mpegts_flags": "+initial_discontinuity"}) as output:
            picture = output.add_stream("libx264", 10, {"preset": "ultrafast"})
            picture.width, picture.height, picture.pix_fmt = 32, 32, "yuv420p"
            tone = output.add_stream("mp2", rate, layout=layout)
            for i in range(10):
                frame = av.VideoFrame(32, 32, "yuv420p")
                frame.pts, frame.time_base = i, Fraction(1, 10)
                output.mux(picture.encode(frame))
            output.mux(picture.encode(None))
            for k in range(rate // 1152):
                block = av.AudioFrame("s16", layout, 1152)
                block.planes[0].update(bytes(block.planes[0].buffer_size))
                block.sample_rate, block.pts, block.time_base = rate, k * 1152, Fraction(1, rate)
                output.mux(tone.encode(block))
        parts.append((tmp_path / name).read_bytes())
    (tmp_path / "both.ts").write_bytes(b"".join(parts))
    copy(tmp_path / "both.ts", tmp_path / "out.webm")
    with av.open(str(tmp_path / "out.webm")) as container:
        frames = list(container.decode(audio=0))
    assert abs(sum(f.samples for f in frames) / frames[0].sample_rate - 2) < 0.2


@pytest.mark.parametrize("suffix", ["mkv", "mp4", "webm"])
def test_joined_recordings_go_on_where_they_ended(make_clip, tmp_path, suffix):
    part = make_clip("part.ts", count=25, sound="mp2", options={"crf": "10", "bf": "0"})
    source = tmp_path / "both.ts"
    source.write_bytes(part.read_bytes() * 2)
    copy(source, tmp_path / f"out.{suffix}")
    times = [time for time, _ in packets_of(tmp_path / f"out.{suffix}", "audio")]
    assert all(a < b for a, b in pairwise(times))
    assert abs(times[-1] - 2) < 0.15
    assert max(b - a for a, b in pairwise(times)) < 0.08


def test_damaged_sound_packets_are_left_out_and_counted(make_clip, tmp_path):
    source = make_clip("clip.mkv", sound="flac", sound_seconds=1.0)
    data = bytearray(source.read_bytes())
    middle = [p for _, p in packets_of(source, "audio")][3]
    at = bytes(data).index(middle)
    data[at : at + len(middle)] = b"\0" * len(middle)
    source.write_bytes(data)
    (warning,) = copy(source, tmp_path / "out.webm")
    assert re.fullmatch(r"audio stream 1 \(flac\): 1 of \d+ packets are damaged and were left out", warning)
    assert sounds_of(tmp_path / "out.webm") == ["opus"]


def test_lines_shown_at_the_same_time_stay_in_time_in_mp4(tmp_path, make_clip):
    source = make_clip("lines.mkv", count=36, rate=Fraction(6), options={"bf": "3", "b-pyramid": "normal"})
    spans = [(i, i + 2) for i in range(5)]
    with av.open(str(source)) as old, av.open(str(tmp_path / "lines2.mkv"), "w") as output:
        picture = output.add_stream_from_template(old.streams.video[0])
        text = output.add_mux_stream("subrip")
        text.time_base = Fraction(1, 1000)
        packets = [p for p in old.demux(video=0) if p.size]
        for packet in packets:
            packet.stream = picture
        for begin, end in spans:
            packet = av.Packet(b"line %d" % begin)
            packet.stream, packet.time_base = text, Fraction(1, 1000)
            packet.pts = packet.dts = 1000 * begin
            packet.duration = 1000 * (end - begin)
            packets.append(packet)
        for packet in sorted(packets, key=lambda p: (p.dts or 0) * p.time_base):
            output.mux(packet)
    copy(tmp_path / "lines2.mkv", tmp_path / "out.mp4")
    texts = [
        (float(t), d[2:].decode()) for t, d in packets_of(tmp_path / "out.mp4", "subtitle") if len(d) > 2
    ]
    expected = ["line 0", *(f"line {i}\nline {i + 1}" for i in range(4)), "line 4"]
    assert texts == [(float(i), text) for i, text in enumerate(expected)]


@pytest.mark.parametrize(("suffix", "before"), [("mkv", 0), ("mp4", 0.1)])
def test_what_an_edit_list_hides_stays_hidden(make_clip, tmp_path, suffix, before):
    """A recording cut by its edit list, as phones do: half a second of sound lies before the start."""
    whole = make_clip("whole.mp4", count=50, sound="aac")
    with av.open(str(whole)) as old, av.open(str(tmp_path / "cut.mp4"), "w") as output:
        streams = [output.add_stream_from_template(s) for s in (old.streams.video[0], old.streams.audio[0])]
        for packet in old.demux():
            if packet.size:
                shift = round(Fraction(1, 2) / packet.time_base)
                packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
                packet.stream = streams[packet.stream_index]
                output.mux(packet)
    target = tmp_path / f"out.{suffix}"
    with video.read(tmp_path / "cut.mp4") as reader, video.write(target, reader, Fraction(25)) as writer:
        for frame in reader:
            writer.write(frame, frame.time, frame.duration)
    assert packets_of(tmp_path / "cut.mp4", "audio")[0][0] < -0.4
    assert -before <= packets_of(target, "audio")[0][0] < 0.03


def test_times_that_an_output_cannot_hold_are_named(make_clip, tmp_path):
    varying = make_clip(times=[Fraction(n, 100) for n in (0, 4, 10, 11, 30, 34)])
    for target in ("out.y4m", "images"):
        (warning,) = write(varying, tmp_path / target)
        assert "no times" in warning
    assert copy(make_clip("steady.mkv", rate=Fraction(24000, 1001)), tmp_path / "steady.y4m") == []


def test_sound_that_an_output_of_pictures_cannot_hold_is_named(make_clip, tmp_path):
    source = make_clip(sound="aac")
    assert copy(source, tmp_path / "out.y4m") == [
        f"{tmp_path}/out.y4m holds pictures only: left out audio stream 1 (aac)"
    ]
