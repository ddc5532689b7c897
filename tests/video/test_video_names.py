"""Which source a name means: files whatever they are called, URLs, pipes and playlists."""

from __future__ import annotations

import os
import threading

import pytest
from PIL import Image

from tweenlet import video

NAMES = [
    "Title [dQw4w9WgXcQ].mp4", "what?.mp4", "star*.mp4", "frame%03d.mp4", "12:30.mp4", "http:x.mp4",
    "-dash.mp4", "concat:a|b.mp4", "new\nline.mp4", "noextension", os.fsdecode(b"caf\xe9.mp4"), "日本語.mp4",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_file_is_what_its_name_means(make_clip, tmp_path, monkeypatch, name):
    make_clip(count=3).rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    for source in (name, tmp_path / name):
        with video.read(source) as reader:
            assert len(list(reader)) == 3


@pytest.mark.parametrize("name", ["a[1]%02d.png", "b:?.png", "http:x.png", "%d.png"])
def test_images_are_called_as_people_like(tmp_path, monkeypatch, name):
    Image.new("RGB", (8, 8), (200, 10, 10)).save(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    with video.read(name) as reader:
        assert len(list(reader)) == 1
    with video.read([name, name]) as reader:
        assert len(list(reader)) == 2


def test_a_name_that_is_no_file_is_no_protocol(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("http:x.mp4", "concat:a|b", "10:30 talk.mp4"):
        with pytest.raises(FileNotFoundError, match="no such file"):
            video.read(name)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("list.m3u8", "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:0.8,\n{other}\n#EXT-X-ENDLIST\n"),
        ("list.mp4", "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:0.8,\n{other}\n#EXT-X-ENDLIST\n"),
        ("list.txt", "ffconcat version 1.0\nfile {other}\n"),
    ],
)
def test_playlists_are_followed_only_where_that_is_asked_for(make_clip, tmp_path, name, content):
    other = make_clip("other.ts", count=5)
    path = tmp_path / name
    path.write_text(content.format(other=other.name))
    with pytest.raises(ValueError, match=r"is a playlist, which names other files: .* file:///"):
        video.read(path)
    if name == "list.m3u8":
        with video.read(f"file://{path}") as reader:
            assert len(list(reader)) == 5


@pytest.mark.parametrize("name", ["clip.mkv", "clip.ts"])
def test_a_fifo_is_read_once(make_clip, tmp_path, name):
    source = make_clip(name, count=6, sound="aac")
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    feeder = threading.Thread(target=lambda: fifo.write_bytes(source.read_bytes()))
    feeder.start()
    with (
        video.read(fifo) as reader,
        video.write(tmp_path / "out.mp4", reader, reader.rate) as writer,
    ):
        for frame in reader:
            writer.write(frame, frame.time, frame.duration)
    feeder.join()
    assert [n.kind for n in reader.notices] == ["sound"]
    with video.read(tmp_path / "out.mp4") as copied:
        assert len(list(copied)) == 6


def test_an_mp4_with_its_index_behind_takes_a_file(make_clip, tmp_path):
    data = make_clip().read_bytes()
    at = int.from_bytes(data[:4], "big")  # behind the first box: room that no buffer holds
    data = data[:at] + (1 << 20).to_bytes(4, "big") + b"free".ljust((1 << 20) - 4, b"\0") + data[at:]
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    feeder = threading.Thread(target=lambda: fifo.write_bytes(data))
    feeder.start()
    with pytest.raises(ValueError, match="an MP4 whose index comes last"):
        video.read(fifo)
    feeder.join()


def test_devices_and_folders_without_images(tmp_path):
    with pytest.raises(ValueError, match="is a device"):
        video.read("/dev/null")
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(ValueError, match="holds no images"):
        video.read(tmp_path / "folder.mp4")
