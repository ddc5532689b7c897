"""Which of several videos is the film, and at what rate it runs."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest

from tweenlet import video
from tweenlet.video.programmes import find_companions
from tweenlet.video.rates import usual_rate, usual_step

DEFAULT = av.stream.Disposition.default


def write_videos(path: Path, videos: list[tuple[tuple[int, int], int, bool]]) -> Path:
    """A file with one MJPEG stream for each (size, number of pictures, whether it is the default)."""
    with av.open(str(path), "w") as output:
        streams = []
        for (width, height), _, default in videos:
            stream = output.add_stream("mjpeg", 25)
            stream.width, stream.height, stream.pix_fmt = width, height, "yuvj420p"
            stream.disposition = DEFAULT if default else av.stream.Disposition(0)
            streams.append(stream)
        for i in range(max(count for _, count, _ in videos)):
            for stream, ((width, height), count, _) in zip(streams, videos, strict=True):
                if i < count:
                    frame = av.VideoFrame.from_ndarray(np.full((height, width, 3), 9 * i, np.uint8))
                    frame.pts, frame.time_base = i, Fraction(1, 25)
                    output.mux(stream.encode(frame))
    return path


SMALL, LARGE = (32, 24), (64, 48)


@pytest.mark.parametrize(
    ("videos", "chosen"),
    [
        ([(SMALL, 8, False), (LARGE, 8, True)], 1),  # the default
        ([(SMALL, 8, True), (LARGE, 8, False)], 0),
        ([(SMALL, 8, False), (LARGE, 8, False)], 1),  # the largest
        ([(LARGE, 8, True), (SMALL, 8, True)], 0),
        ([(LARGE, 1, False), (SMALL, 8, False)], 1),  # a picture is no film
        ([(LARGE, 1, True), (SMALL, 8, False)], 1),
        ([(SMALL, 1, False), (LARGE, 1, True)], 1),  # unless there is nothing else
    ],
)
def test_the_film_is_the_default_or_the_largest(tmp_path, videos, chosen):
    path = write_videos(tmp_path / "clip.mkv", videos)
    with video.read(path) as reader:
        assert reader.stream is not None
        assert reader.stream.index == chosen
        assert len(list(reader)) == videos[chosen][1]


def test_another_stream_can_be_asked_for(tmp_path):
    path = write_videos(tmp_path / "clip.mkv", [(SMALL, 8, False), (LARGE, 8, True)])
    with video.read(path, stream=0) as reader:
        assert (reader.width, reader.height) == SMALL
    with pytest.raises(ValueError, match="has no video stream 5: its video streams are 0, 1"):
        video.read(path, stream=5)


def section(table: int, number: int, body: bytes) -> bytes:
    """A section of the program specific information of a transport stream in one packet."""
    head = bytes([table]) + (0xB000 | len(body) + 9).to_bytes(2, "big") + number.to_bytes(2, "big")
    return (b"\0" + head + b"\xc1\0\0" + body + bytes(4)).ljust(184, b"\xff")


def test_the_sound_is_that_of_the_programme(tmp_path):
    """PAT: programmes 1 and 2; PMT: pictures on 256 and sound on 257, pictures on 258 and sound on 259."""

    def packet(pid: int, payload: bytes) -> bytes:
        return b"\x47" + (0x4000 | pid).to_bytes(2, "big") + b"\x10" + payload

    def stream(kind: int, pid: int) -> bytes:
        return bytes([kind]) + (0xE000 | pid).to_bytes(2, "big") + b"\xf0\0"

    programmes = b"".join(n.to_bytes(2, "big") + (0xE000 | 4095 + n).to_bytes(2, "big") for n in (1, 2))
    path = tmp_path / "two.ts"
    path.write_bytes(
        packet(0, section(0, 1, programmes))
        + packet(4096, section(2, 1, b"\xe1\0\xf0\0" + stream(0x1B, 256) + stream(0x0F, 257)))
        + packet(4097, section(2, 2, b"\xe1\2\xf0\0" + stream(0x1B, 258) + stream(0x0F, 259)))
    )
    streams = [SimpleNamespace(index=i, id=pid) for i, pid in enumerate((256, 258, 257, 259))]
    container = SimpleNamespace(format=SimpleNamespace(name="mpegts"), streams=streams)
    assert find_companions(container, streams[0], path) == {0, 2}
    assert find_companions(container, streams[1], path) == {1, 3}
    container.format.name = "matroska,webm"
    assert find_companions(container, streams[0], path) == {0, 1, 2, 3}


class Stated:
    """What a file says about the rate of a stream."""

    def __init__(self, average: object, guessed: object) -> None:
        self.average_rate, self.guessed_rate = average, guessed


@pytest.mark.parametrize(
    ("average", "guessed", "stamps", "rate"),
    [
        (
            1000,
            Fraction(60000, 1001),
            [Fraction(round(i * 1001 / 30), 1000) for i in range(30)],
            "30000/1001",
        ),
        (60000, 25, [Fraction(i, 25) for i in range(25)], "25"),
        (Fraction(30000, 1001), 30, [Fraction(i * 1001, 30000) for i in range(9)], "30000/1001"),
        (Fraction(249999, 10000), 50, [Fraction(i, 25) for i in range(9)], "25"),
        (Fraction(5, 2), 60, [0, 4, *(4 + Fraction(i, 60) for i in range(1, 20))], "60"),  # a still first
        (Fraction(1152000, 47989), 24, [Fraction(i, 24) for i in range(9)], "24"),  # an edit list
        (1000, 90, [0, Fraction(1, 25), 4], "25"),
        (None, None, [Fraction(0), Fraction(1, 10)], "10"),
        (960, 1000, [Fraction(i, 960) for i in range(30)], "960"),  # a camera for slow motion
        (1000, 1000, [Fraction(i // 2, 25) + Fraction(i % 2, 1000) for i in range(48)], "50"),  # in bursts
        (1000, 1000, [Fraction(i // 4, 10) + Fraction(i % 4, 1000) for i in range(48)], "40"),
        (24, 24, [], "24"),
    ],
)
def test_stated_rates_are_compared_with_the_time_stamps(average, guessed, stamps, rate):
    assert usual_rate(Stated(average, guessed), usual_step(stamps)) == Fraction(rate)


def test_a_clip_that_begins_late_or_at_an_hour_is_whole(make_clip):
    for offset in (1, 3600):
        times = [offset + Fraction(i, 25) for i in range(12)]
        path = make_clip(f"{offset}.mkv", times=times, sound="aac" if offset == 1 else None)
        with video.read(path, strict=True) as reader:
            frames = list(reader)
            assert reader.notices == ()
        assert frames[0].time == pytest.approx(1 if offset == 1 else 0, abs=0.03)
        assert frames[-1].time + frames[-1].duration - frames[0].time == Fraction(12, 25)


@pytest.mark.parametrize(
    "text", ["00:00:1e99999999", "1/0:00:00", "00:00:1e400", "nan:00:00", "x", "0:0:1/0"]
)
def test_lengths_that_are_no_lengths_are_passed_over(make_clip, text):
    path = make_clip("clip.mkv")
    data = path.read_bytes()
    known = b"00:00:00.480000000"
    assert known in data
    path.write_bytes(data.replace(known, text.encode().ljust(len(known), b"\0")))
    with video.read(path) as reader:
        assert len(list(reader)) == 12


def test_a_clock_that_jumps_beyond_the_file_is_set_right(make_clip):
    times = [Fraction(i, 25) for i in range(12)]
    path = make_clip("clip.mkv", times=times, container_options={"cluster_time_limit": "100"})
    data = bytearray(path.read_bytes())
    at = data.rfind(b"\x1f\x43\xb6\x75")  # the last cluster, and its time stamp in ms
    at = data.index(b"\xe7", at)
    size = data[at + 1] & 0x7F
    data[at + 2 : at + 2 + size] = b"\x7f" + bytes(size - 1) if size > 1 else b"\x7f"
    if size == 1:
        pytest.skip("time stamps of one byte cannot be made large")
    path.write_bytes(data)
    with video.read(path) as reader:
        frames = list(reader)
    assert frames[-1].time < 1
    assert "clock" in [notice.kind for notice in reader.notices]


def test_a_pause_in_an_even_clip_is_told(make_clip):
    times = [Fraction(i, 25) + (20 if i >= 30 else 0) for i in range(40)]
    with video.read(make_clip("clip.mkv", times=times), strict=True) as reader:
        frames = list(reader)
    assert frames[29].duration == pytest.approx(20 + 1 / 25, abs=0.002)
    assert [(n.kind, round(float(n.end or 0), 1)) for n in reader.notices] == [("gap", 21.2)]


@pytest.mark.parametrize("scale", [16_777_216, 268_435_456, 1_000_000_000, 2_000_000_000])
def test_fine_time_scales_can_be_written(make_clip, tmp_path, scale):
    path = make_clip(
        count=6, rate=Fraction(30000, 1001), container_options={"video_track_timescale": str(scale)}
    )
    with (
        video.read(path) as reader,
        video.write(tmp_path / "out.mp4", reader, 2 * (reader.rate or 1)) as writer,
    ):
        real = list(reader)
        for frame in real:
            writer.write(frame, frame.time, frame.duration / 2)
            writer.write(frame, frame.time + frame.duration / 2, frame.duration / 2)
    with video.read(tmp_path / "out.mp4", strict=True) as reader:
        copied = list(reader)
    assert len(copied) == 12
    for one, other in zip(real, copied[::2], strict=True):
        assert abs(one.time - other.time) < Fraction(1, 10_000)
