"""Damaged and truncated files: what can be read is read, and what is damaged or missing is told, and when."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest

from tweenlet import video
from tweenlet.video.notices import Notice, Notices
from tweenlet.video.truncation import is_truncated

RATE = Fraction(25)
STEP = 1 / RATE


def read_all(path: Path, **options: object) -> tuple[list[video.Frame], tuple[Notice, ...]]:
    with video.read(path, **options) as reader:
        frames = list(reader)
        return frames, reader.notices


def damage(notices: Iterable[Notice]) -> list[tuple[str, float | None, float | None]]:
    return [
        (n.kind, n.start and round(float(n.start), 2), n.end and round(float(n.end), 2))
        for n in notices
        if n.is_damage
    ]


def cut(path: Path, part: float) -> Path:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * part)])
    return path


def write_avi(path: Path, count: int) -> Path:
    with av.open(str(path), "w") as output:
        stream = output.add_stream("mjpeg", RATE)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
        for i in range(count):
            noise = np.random.default_rng(i).integers(0, 256, (48, 64, 3), dtype=np.uint8)
            output.mux(stream.encode(av.VideoFrame.from_ndarray(noise)))
        output.mux(stream.encode(None))
    return path


def packets_of(path: Path) -> list[tuple[int, int, float]]:
    """Position, size and time of the packets of a video stream."""
    with av.open(str(path)) as container:
        return [
            (p.pos, p.size, float((p.pts if p.pts is not None else p.dts) * p.time_base))
            for p in container.demux(video=0)
            if p.size
        ]


def overwrite(path: Path, index: int, part: float = 0.2) -> float:
    """Fill most of one packet with bytes of a fixed noise; its time in seconds."""
    position, size, time = packets_of(path)[index]
    data = bytearray(path.read_bytes())
    begin = position + int(size * part)
    noise = np.random.default_rng(7).integers(0, 256, position + size - begin, dtype=np.uint8)
    data[begin : position + size] = noise.tobytes()
    path.write_bytes(data)
    return time


@pytest.mark.parametrize("part", [0.3, 0.6, 0.93])
@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv", "clip.mov", "clip.avi", "clip.flv"])
def test_a_missing_end_is_told_and_no_frame_is_frozen_over_it(make_clip, tmp_path, name, part):
    flags = {"movflags": "faststart"} if name.endswith(("mp4", "mov")) else None
    if name == "clip.avi":
        path = write_avi(tmp_path / name, 60)
    else:
        path = make_clip(name, count=60, options={"crf": "10", "g": "10"}, container_options=flags)
    assert read_all(path, strict=True)[1] == ()
    frames, notices = read_all(cut(path, part))
    assert len(frames) == pytest.approx(60 * part, abs=8)
    assert frames[-1].duration <= 2 * STEP
    shown = round(float(frames[-1].time + frames[-1].duration), 2)
    kind, start, end = damage(notices)[-1]
    assert (kind, start) == ("missing", shown)
    assert end == pytest.approx(2.4, abs=0.1)
    with pytest.raises(ValueError, match=f"{name} is missing from "):
        read_all(path, strict=True)


@pytest.mark.parametrize("name", ["clip.ts", "clip.y4m", "clip.gif", "fragments.mp4"])
def test_a_missing_end_of_unknown_length_is_told(make_clip, tmp_path, name):
    codec = {"clip.y4m": "wrapped_avframe", "clip.gif": "gif"}.get(name, "libx264")
    pixels = "rgb8" if codec == "gif" else "yuv420p"
    flags = {"movflags": "frag_keyframe+empty_moov"} if name == "fragments.mp4" else None
    path = make_clip(name, count=40, codec=codec, pixels=pixels, container_options=flags)
    assert read_all(path, strict=True)[1] == ()
    frames, notices = read_all(cut(path, 0.7))
    assert 15 < len(frames) < 36
    assert damage(notices)[-1][0] == "missing"


@pytest.mark.parametrize(
    ("name", "codec", "pixels"),
    [
        ("clip.mp4", "libx264", "yuv420p"), ("clip.mkv", "libx264", "yuv420p"), ("clip.mov", "png", "rgb24"),
        ("clip.mkv", "libvpx-vp9", "yuv420p"), ("clip.mkv", "ffv1", "yuv420p"),
    ],
)  # fmt: skip
def test_damage_in_the_middle_is_told_and_the_rest_is_read(make_clip, name, codec, pixels):
    options = {
        "libx264": {"crf": "10", "g": "10", "bf": "0"},
        "libvpx-vp9": {"g": "10", "lag-in-frames": "0"},
        "ffv1": {"level": "3", "slicecrc": "1"},
    }.get(codec, {})
    path = make_clip(name, count=40, codec=codec, pixels=pixels, options=options)
    time = overwrite(path, 22)
    frames, notices = read_all(path)
    assert len(frames) >= 30
    assert frames[-1].time == pytest.approx(39 / 25, abs=0.002)
    spans = damage(notices)
    assert spans
    assert min(start for _, start, _ in spans) == pytest.approx(time, abs=0.002)
    assert max(end for _, _, end in spans) <= 1.61
    if codec == "libx264":  # what rests on the damaged picture is damaged as well, up to the next key frame
        assert max(end for _, _, end in spans) == pytest.approx(30 / 25, abs=0.002)
    with pytest.raises(ValueError, match=r"clip.* is (damaged|missing) from "):
        read_all(path, strict=True)


def test_lost_packets_of_a_broadcast(make_clip):
    path = make_clip("clip.ts", count=40, options={"crf": "10", "g": "10", "bf": "0"})
    data = path.read_bytes()
    at = packets_of(path)[22][0] // 188 + 2
    path.write_bytes(data[: 188 * at] + data[188 * (at + 3) :])
    frames, notices = read_all(path)
    start = frames[0].time
    spans = damage(notices)
    assert spans[0][1] == pytest.approx(float(start) + 22 / 25, abs=0.05)
    assert spans[-1][2] == pytest.approx(float(start) + 30 / 25, abs=0.05)


def test_a_recording_that_begins_between_key_frames_is_whole(make_clip):
    path = make_clip("clip.ts", count=40, options={"crf": "10", "g": "20", "bf": "0"})
    data = path.read_bytes()
    at = packets_of(path)[7][0] // 188
    path.write_bytes(data[188 * 3 : 188 * 6] + data[: 188 * 3] + data[188 * at :])
    frames, notices = read_all(path, strict=True)
    assert len(frames) == 20
    assert [n.kind for n in notices] in ([], ["late"])


def test_spans_that_touch_are_one():
    notices = Notices("clip")
    for i in (0, 1, 2, 5):
        notices.add(Notice("damaged", "errors", i * STEP, (i + 1) * STEP))
    assert [(n.start, n.end) for n in notices.all()] == [(0, 3 * STEP), (5 * STEP, 6 * STEP)]
    assert notices.all()[0].as_json() == {"kind": "damaged", "start": 0.0, "end": 0.12, "message": "errors"}


def test_theora_repeats_a_picture_with_an_empty_packet(tmp_path):
    """The packets of a clip with one emptied, as encoders do where nothing has changed."""
    path = tmp_path / "clip.mkv"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("ffv1", RATE)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for i in range(10):
            frame = av.VideoFrame(64, 48, "yuv420p")
            frame.pts, frame.time_base = i, STEP
            for packet in stream.encode(frame):
                if i == 4:
                    empty = av.Packet(b"")
                    empty.stream, empty.time_base = stream, packet.time_base
                    empty.pts, empty.dts, empty.duration = packet.pts, packet.dts, packet.duration
                    packet = empty
                output.mux(packet)
        output.mux(stream.encode(None))
    frames, notices = read_all(path)
    assert damage(notices) == []
    assert [f.duration for f in frames[2:5]] == [STEP, 2 * STEP, STEP]


def test_opacity_and_fields_are_told(make_clip, tmp_path):
    path = tmp_path / "alpha.mov"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("png", RATE)
        stream.width, stream.height, stream.pix_fmt = 16, 16, "rgba"
        for _ in range(2):
            pixels = np.full((16, 16, 4), 128, np.uint8)
            output.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgba")))
        output.mux(stream.encode(None))
    assert [n.kind for n in read_all(path)[1]] == ["alpha"]
    woven = {"x264-params": "interlaced=1:tff=1"}
    assert [n.kind for n in read_all(make_clip("woven.mp4", options=woven))[1]] == ["interlaced"]
    assert read_all(make_clip())[1] == ()


def test_pictures_without_time_stamps_are_not_lost(make_clip, tmp_path):
    """A bare stream of H.264, as some cameras write it."""
    path = tmp_path / "clip.h264"
    with (
        av.open(str(make_clip("clip.mkv", options={"bf": "0"}))) as source,
        av.open(str(path), "w") as output,
    ):
        stream = output.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                output.mux(packet)
    frames, notices = read_all(path, strict=True)
    assert len(frames) == 12
    assert notices == ()
    assert [b.time - a.time for a, b in pairwise(frames)] == [STEP] * 11


@pytest.mark.parametrize(
    ("data", "truncated"),
    [
        (b"RIFF" + (20).to_bytes(4, "little") + b"AVI " + bytes(16), False),
        (b"RIFF" + (40).to_bytes(4, "little") + b"AVI " + bytes(16), True),
        (b"OggS" + bytes(22) + b"\x01\x05" + bytes(5), False),
        (b"OggS" + bytes(22) + b"\x01\x05" + bytes(4), True),
        (bytes([0, 0, 0, 12]) + b"ftypisom" + bytes([0, 0, 0, 20]) + b"mdat" + bytes(12), False),
        (bytes([0, 0, 0, 12]) + b"ftypisom" + bytes([0, 0, 0, 20]) + b"mdat" + bytes(11), True),
        (b"\x1a\x45\xdf\xa3\x80\x18\x53\x80\x67\x84" + bytes(4), False),
        (b"\x1a\x45\xdf\xa3\x80\x18\x53\x80\x67\x84" + bytes(3), True),
        (b"\x1a\x45\xdf\xa3\x80\x18\x53\x80\x67\xff" + bytes(3), False),  # a recording: of unknown length
        ((b"G" + bytes(187)) * 3, False),
        ((b"G" + bytes(187)) * 3 + b"G", True),
        (b"YUV4MPEG2 W4 H2 F25:1 C420jpeg\n" + (b"FRAME\n" + bytes(12)) * 2, False),
        (b"YUV4MPEG2 W4 H2 F25:1 C420jpeg\n" + (b"FRAME\n" + bytes(12)) * 2 + b"FRA", True),
        (b"YUV4MPEG2 W3 H3 F25:1 C422p10\n" + (b"FRAME\n" + bytes(2 * (9 + 2 * 6))) * 2, False),
        (b"something else altogether", False),
        (b"", False),
    ],
)
def test_bytes_that_a_file_lacks(tmp_path, data, truncated):
    path = tmp_path / "file"
    path.write_bytes(data)
    assert is_truncated(path) == truncated
