"""y4m on standard input and output, through real pipes."""

from __future__ import annotations

import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from tweenlet import video

THROUGH = """
from tweenlet import video
with video.read("-") as reader, video.write("-", reader, 2 * reader.rate) as writer:
    for frame in reader:
        writer.write(frame, frame.time, frame.duration / 2)
        writer.write(frame.rgb(), frame.time + frame.duration / 2, frame.duration / 2)
"""


def as_y4m(source: Path, target: Path) -> bytes:
    with video.read(source) as reader, video.write(target, reader, reader.rate) as writer:
        for frame in reader:
            writer.write(frame, frame.time, frame.duration)
    return target.read_bytes()


@pytest.mark.parametrize(("pixels", "bits"), [("yuv420p", 8), ("yuv444p", 8), ("yuv420p10le", 10)])
def test_there_and_back(make_clip, tmp_path, pixels, bits):
    data = as_y4m(make_clip(pixels=pixels), tmp_path / "in.y4m")
    done = subprocess.run([sys.executable, "-c", THROUGH], input=data, capture_output=True, check=True)
    assert done.stderr == b""
    (tmp_path / "out.y4m").write_bytes(done.stdout)
    with video.read(tmp_path / "in.y4m") as before, video.read(tmp_path / "out.y4m") as after:
        assert (after.bits, after.rate) == (bits, 50)
        assert after.first.picture.format.name == pixels
        real, frames = list(before), list(after)
    assert len(frames) == 24
    for one, other in zip(real, frames[::2], strict=True):
        np.testing.assert_array_equal(one.rgb(), other.rgb())


RATE = """
import sys
from fractions import Fraction
from tweenlet import video
with video.read("-", Fraction(sys.argv[1]) if sys.argv[1:] else None) as reader:
    print(reader.rate, len(list(reader)))
"""


@pytest.mark.parametrize("codec", ["png", "mjpeg"])
@pytest.mark.parametrize(("rate", "expected"), [([], "24"), (["10"], "10"), (["30000/1001"], "30000/1001")])
def test_images_in_a_pipe_have_the_rate_of_images(make_clip, codec, rate, expected):
    pixels = "yuvj420p" if codec == "mjpeg" else "rgb24"
    clip = make_clip("in.mov", codec=codec, pixels=pixels, options={})
    with av.open(str(clip)) as container:
        data = b"".join(bytes(packet) for packet in container.demux(video=0))
    done = subprocess.run([sys.executable, "-c", RATE, *rate], input=data, capture_output=True, check=True)
    assert done.stdout.decode().split() == [expected, "12"]


def test_a_video_in_a_pipe_keeps_its_rate(make_clip):
    data = make_clip("in.mkv", rate=Fraction(50)).read_bytes()
    done = subprocess.run([sys.executable, "-c", RATE, "10"], input=data, capture_output=True, check=True)
    assert done.stdout.decode().split() == ["50", "12"]


def test_input_that_is_no_y4m(tmp_path):
    done = subprocess.run([sys.executable, "-c", THROUGH], input=b"nothing of the kind", capture_output=True)
    assert b"standard input is not a video that can be read in one pass" in done.stderr
    assert done.stdout == b""


def test_reader_that_leaves_early(make_clip, tmp_path):
    data = as_y4m(make_clip(size=(320, 240), count=30), tmp_path / "in.y4m")
    (tmp_path / "big.y4m").write_bytes(data)
    command = f"{sys.executable} -c '{THROUGH}' < {tmp_path / 'big.y4m'} | head -c 10 > /dev/null"
    done = subprocess.run(["bash", "-c", command], capture_output=True, check=False)
    assert b"cannot write standard output: Broken pipe" in done.stderr


NOTICES = """
from tweenlet import video
with video.read("-") as reader:
    count = sum(1 for _ in reader)
print(count, *reader.notices, sep="; ")
"""


@pytest.mark.parametrize("name", ["in.y4m", "in.mkv", "in.ts"])
@pytest.mark.parametrize("part", [1, 0.7])
def test_a_stream_that_breaks_off_is_said_to_be_cut_short(make_clip, tmp_path, name, part):
    data = as_y4m(make_clip(), tmp_path / name) if name.endswith("y4m") else make_clip(name).read_bytes()
    command = [sys.executable, "-c", NOTICES]
    data = data[: round(part * len(data)) - (part < 1)]
    done = subprocess.run(command, input=data, capture_output=True, check=True)
    count, *notices = done.stdout.decode().strip().split("; ")
    assert (int(count) == 12) == (part == 1)
    assert [notice.partition(": ")[2] for notice in notices] == ["the file is cut short"] * (part < 1)
