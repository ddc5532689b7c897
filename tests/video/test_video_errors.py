"""What goes wrong outside: one clear sentence, and nothing left under the final name."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from tweenlet import video


def copy(source: object, target: Path | str, strict: bool = False, **options: object) -> None:
    with (
        video.read(source, strict=strict) as reader,
        video.write(target, reader, reader.rate or video.IMAGE_RATE, **options) as writer,
    ):
        for frame in reader:
            writer.write(frame, frame.time, frame.duration)


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("source", ["missing.mp4", "missing/*.png"])
def test_nothing_there(tmp_path, source):
    with pytest.raises(FileNotFoundError, match="no such"):
        video.read(tmp_path / source)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("text.mp4", b"this is no video " * 100, "not a video file that can be read"),
        ("text.txt", b"this is no video " * 100, "not a video file that can be read"),
        ("empty.mp4", b"", "is an empty file"),
        ("zeros.mkv", bytes(5000), "not a video file that can be read"),
    ],
)
def test_not_a_video(tmp_path, name, content, reason):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=reason):
        video.read(tmp_path / name)


def test_index_of_mp4_missing(make_clip):
    path = make_clip(count=50)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ValueError, match="cut short: the index"):
        video.read(path)


@pytest.mark.parametrize("part", [0.4, 0.7, 0.9])
@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv", "clip.mov"])
def test_cut_short(make_clip, tmp_path, name, part):
    options = {"movflags": "faststart"} if name != "clip.mkv" else None
    path = make_clip(name, count=100, container_options=options, sound="aac")
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * part)])
    with pytest.raises(ValueError, match="cut short"):
        copy(path, tmp_path / "out.mp4", strict=True)
    assert left_in(tmp_path) == [name]


def test_no_picture_stream(tmp_path):
    path = tmp_path / "sound.m4a"
    with av.open(str(path), "w", format="mp4") as output:
        stream = output.add_stream("aac", 48000, layout="stereo")
        block = av.AudioFrame.from_ndarray(np.zeros((2, 1024), np.float32), "fltp", "stereo")
        block.sample_rate = 48000
        output.mux(stream.encode(block))
        output.mux(stream.encode(None))
    with pytest.raises(ValueError, match="has no video stream"):
        video.read(path)


def test_no_frames(tmp_path):
    path = tmp_path / "none.y4m"
    path.write_bytes(b"YUV4MPEG2 W16 H16 F25:1 Ip A1:1 C420\n")
    with pytest.raises(ValueError, match="no frames"):
        video.read(path)


def test_size_that_changes_midway(make_clip, tmp_path):
    with (tmp_path / "clip.ts").open("wb") as both:
        for i, size in enumerate([(64, 48), (96, 64)]):
            times = [Fraction(i * 12 + k, 25) for k in range(12)]
            both.write(make_clip(f"{i}.ts", size=size, times=times).read_bytes())
    (tmp_path / "0.ts").unlink()
    (tmp_path / "1.ts").unlink()
    with pytest.raises(ValueError, match=r"is 96x64, but its first frame is 64x48: .*; --from"):
        copy(tmp_path / "clip.ts", tmp_path / "out.mp4")
    assert left_in(tmp_path) == ["clip.ts"]


def test_existing_output_is_left_alone(make_clip, tmp_path):
    source, target = make_clip(), tmp_path / "out.mp4"
    target.write_bytes(b"mine")
    with pytest.raises(FileExistsError, match="--overwrite"):
        copy(source, target)
    assert target.read_bytes() == b"mine"
    copy(source, target, overwrite=True)
    assert target.stat().st_size > 1000


@pytest.mark.parametrize(
    ("target", "kind", "reason"),
    [
        ("nowhere/out.mp4", FileNotFoundError, "folder to write into does not exist"),
        ("nowhere/deep/frames", FileNotFoundError, "folder to write into does not exist"),
        ("out.xyz", ValueError, "cannot write .xyz files"),
        ("out.mp3", ValueError, "cannot write .mp3 files"),
        ("out.png", ValueError, "number them"),
        ("out/100%.png", ValueError, "number them"),
        ("out/%d-%d.png", ValueError, "number them"),
        ("clip.mp4", ValueError, "is the input itself"),
    ],
)
def test_outputs_that_cannot_be(make_clip, tmp_path, target, kind, reason):
    source = make_clip()
    with pytest.raises(kind, match=reason):
        copy(source, tmp_path / target, overwrite=True)
    assert left_in(tmp_path) == ["clip.mp4"]


def test_failure_midway_leaves_nothing(make_clip, tmp_path):
    source = make_clip()

    def interrupted(target: Path) -> None:
        with video.read(source) as reader, video.write(target, reader, Fraction(50)) as writer:
            for frame in reader:
                writer.write(frame, frame.time, frame.duration)
                if frame.time > 0.2:
                    raise KeyboardInterrupt

    for target in ("out.mp4", "frames"):
        with pytest.raises(KeyboardInterrupt):
            interrupted(tmp_path / target)
        assert left_in(tmp_path) == ["clip.mp4"]


def test_failure_midway_keeps_the_old_output(make_clip, tmp_path):
    source, target = make_clip(), tmp_path / "out.mp4"
    target.write_bytes(b"mine")
    with (
        pytest.raises(ValueError, match="got a picture of 8x8"),
        video.read(source) as reader,
        video.write(target, reader, Fraction(50), overwrite=True) as writer,
    ):
        writer.write(np.zeros((3, 8, 8), np.float32), Fraction(0), Fraction(1))
    assert target.read_bytes() == b"mine"


def test_no_pictures(make_clip, tmp_path):
    source = make_clip()
    for target in ("out.mp4", "frames"):
        with (
            pytest.raises(ValueError, match="no pictures"),
            video.read(source) as reader,
            video.write(tmp_path / target, reader, Fraction(50)),
        ):
            pass
    assert left_in(tmp_path) == ["clip.mp4"]


@pytest.mark.parametrize("target", ["out.mp4", "out.mkv", "out.y4m", "frames"])
def test_full_disk(make_clip, tmp_path, target):
    """A limit on the size of files stands for the disk: the kernel refuses to write on, as for a full one."""
    source = make_clip(count=40, size=(160, 120))
    program = f"""
import resource, signal
from pathlib import Path
from tweenlet import video
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))
try:
    with video.read({str(source)!r}) as reader:
        with video.write({str(tmp_path / target)!r}, reader, reader.rate) as writer:
            for frame in reader:
                writer.write(frame.rgb(), frame.time, frame.duration)
except OSError as error:
    print(error.errno, error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout.startswith(f"{errno.EFBIG} "), done.stdout + done.stderr
    assert "cannot write" in done.stdout
    assert os.strerror(errno.EFBIG) in done.stdout
    assert left_in(tmp_path) == ["clip.mp4"]


@pytest.mark.parametrize("name", ["b.png", "b.jpg"])
def test_damaged_image(make_clip, tmp_path, name):
    folder = tmp_path / "in"
    folder.mkdir()
    pattern = folder / f"%02d{Path(name).suffix}"
    copy(make_clip(count=2), pattern, overwrite=True)
    second = sorted(folder.iterdir())[1]
    copy(make_clip(count=3), pattern, overwrite=True)
    second.write_bytes(second.read_bytes()[:200])
    with pytest.raises(ValueError, match=second.name), video.read(folder, strict=True) as reader:
        list(reader)
    with video.read(folder, Fraction(10)) as reader:
        frames = list(reader)
    assert [frame.time for frame in frames] == [0, Fraction(1, 10), Fraction(2, 10)]
    [notice] = reader.notices
    assert (notice.start, notice.end) == (Fraction(1, 10), Fraction(2, 10))
    assert second.name in str(notice)
