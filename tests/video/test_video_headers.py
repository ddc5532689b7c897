"""What headers say of a picture: its pixel shape, crop, chroma, time code, and who took it."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.stream import Disposition
from scene import scene

from tweenlet import video
from tweenlet.video.codecs import DEFAULT
from tweenlet.video.container import Clip
from tweenlet.video.headers import Shape, complete_y4m_header


def copy(
    source: Path, target: Path, rate: Fraction | None = None, encoding: video.Encoding = DEFAULT
) -> list[str]:
    with video.read(source) as reader:
        writer = video.write(target, reader, rate or reader.rate or video.IMAGE_RATE, encoding=encoding)
        with writer:
            for frame in reader:
                writer.write(frame, frame.time, frame.duration)
    return writer.warnings


def frames_of(path: Path) -> list[av.VideoFrame]:
    with av.open(str(path)) as container:
        return list(container.decode(video=0))


def aspect_of(path: Path) -> Fraction:
    with av.open(str(path)) as container:
        return container.streams.video[0].sample_aspect_ratio or Fraction(1)


@pytest.fixture
def wide(make_clip, tmp_path) -> Path:
    """A clip whose pixels are 16:11."""
    with av.open(str(tmp_path / "wide.mkv"), "w") as output:
        stream = output.add_stream("libx264", 25)
        stream.width, stream.height, stream.pix_fmt = 88, 64, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(16, 11)
        for i in range(5):
            rgb = (scene(i, 88, 64) * 255).astype(np.uint8).transpose(1, 2, 0)
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24")
            frame.pts, frame.time_base = i, Fraction(1, 25)
            output.mux(stream.encode(frame.reformat(format="yuv420p")))
        output.mux(stream.encode(None))
    return tmp_path / "wide.mkv"


@pytest.mark.parametrize(
    ("suffix", "codec"),
    [
        *(("mp4", None), ("mov", None), ("mkv", None), ("webm", None), ("y4m", None), ("mov", "prores")),
        *(("mkv", codec) for codec in ("hevc", "ffv1", "vp9", "prores")),
    ],
)
def test_the_pixel_shape_is_kept(wide, tmp_path, suffix, codec):
    copy(wide, tmp_path / f"out.{suffix}", encoding=video.Encoding(codec=codec))
    assert aspect_of(tmp_path / f"out.{suffix}") == Fraction(16, 11)
    assert len(frames_of(tmp_path / f"out.{suffix}")) == 5


def test_players_choose_the_new_pictures_before_another_video(wide, tmp_path):
    """Of two default tracks they take the first."""
    for suffix in ("mkv", "mp4", "webm"):
        copy(wide, tmp_path / f"out.{suffix}")
        with av.open(str(tmp_path / f"out.{suffix}")) as container:
            assert container.streams.video[0].disposition & Disposition.default


def test_a_y4m_header_without_a_shape_stays():
    header = b"YUV4MPEG2 W64 H48 F25:1 Ip A0:0 C420jpeg\nFRAME\n A0:0 "
    assert complete_y4m_header(header, Shape(64, 48, aspect=Fraction(4, 3))).count(b" A4:3 ") == 1


@pytest.mark.parametrize("pixels", ["yuv420p", "yuv420p10le"])
@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv"])
def test_odd_sizes_are_padded_and_marked_to_be_cropped(make_clip, tmp_path, suffix, pixels):
    source = make_clip(
        "odd.mkv", size=(97, 65), codec="ffv1", pixels=pixels, options={}, metadata={"title": "Odd"}
    )
    target = tmp_path / f"out.{suffix}"
    (warning,) = copy(source, target)
    assert "padded to 98x66" in warning
    assert "shown as 97x65" in warning
    frames = frames_of(target)
    assert {(f.width, f.height, f.format.name) for f in frames} == {(98, 66, pixels)}
    assert [f.pts * f.time_base for f in frames] == [Fraction(i, 25) for i in range(12)]
    luma = frames[0].to_ndarray()[:66].astype(int)
    assert np.abs(luma[:, 97] - luma[:, 96]).mean() < (4 if pixels == "yuv420p" else 16)
    data = target.read_bytes()
    if suffix == "mkv":
        assert b"\x54\xdd\x84\0\0\0\1" in data
        assert b"\x54\xaa\x84\0\0\0\1" in data
    else:
        at = data.index(b"clap") + 4
        assert struct.unpack(">IIIIiIiI", data[at : at + 32]) == (97, 1, 65, 1, -1, 2, -1, 2)
        assert struct.pack(">II", 97 << 16, 65 << 16) in data
    assert b"VideoHandler." not in data
    with av.open(str(target)) as container:
        assert container.metadata["title"] == "Odd"
        assert container.streams.video[0].metadata.get("handler_name") == (
            None if suffix == "mkv" else "VideoHandler"
        )


def test_odd_sizes_need_no_crop_in_webm(make_clip, tmp_path):
    source = make_clip("odd.mkv", size=(63, 47), codec="ffv1", options={})
    assert copy(source, tmp_path / "out.webm") == []
    assert {(f.width, f.height) for f in frames_of(tmp_path / "out.webm")} == {(63, 47)}


@pytest.mark.parametrize(
    ("suffix", "pixels"),
    [("mkv", "yuv444p"), ("webm", "yuv444p"), ("y4m", "yuv444p"), ("mp4", "yuv420p"), ("mov", "yuv420p")],
)
def test_rgb_keeps_its_colours_whole_where_players_take_them(make_clip, tmp_path, suffix, pixels):
    source = make_clip("rgb.mkv", codec="ffv1", pixels="bgr0", colour=(0, 2, 1, 13), options={})
    copy(source, tmp_path / f"out.{suffix}")
    assert frames_of(tmp_path / f"out.{suffix}")[0].format.name == pixels


@pytest.mark.parametrize(
    ("code", "rate", "expected"),
    [
        ("01:00:00:12", Fraction(50), "01:00:00:24"),
        ("01:00:00;12", Fraction(60000, 1001), "01:00:00;28"),
        ("10:00:00;10", Fraction(60), "10:00:00:24"),
    ],
)
def test_the_time_code_is_kept_at_the_new_rate(make_clip, tmp_path, code, rate, expected):
    source = coded(make_clip("whole.mp4"), code)
    assert copy(source, tmp_path / "out.mov", rate) == []
    assert time_code(tmp_path / "out.mov") == expected


@pytest.mark.parametrize(
    ("code", "rate", "start", "expected"),
    [
        ("01:02:03:04", Fraction(25), Fraction(1), "01:02:04:04"),
        ("23:59:59:24", Fraction(25), Fraction(1, 25), "00:00:00:00"),
        ("01:10:59;24", Fraction(25), Fraction(1, 25), "01:11:00:00"),
        ("00:00:59;29", Fraction(30000, 1001), Fraction(1, 30), "00:01:00;02"),
        ("00:09:59;29", Fraction(30000, 1001), Fraction(1, 30), "00:10:00;00"),
        ("00:10:59;29", Fraction(30000, 1001), Fraction(1, 30), "00:11:00;02"),
    ],
)
def test_the_time_code_of_a_part_is_that_of_its_first_frame(make_clip, tmp_path, code, rate, start, expected):
    source = coded(make_clip("whole.mp4", rate=rate, count=40), code)
    with (
        video.read(source, clip=Clip(start)) as reader,
        video.write(tmp_path / "out.mov", reader, rate) as writer,
    ):
        for frame in reader:
            writer.write(frame, frame.time, frame.duration)
    assert time_code(tmp_path / "out.mov") == expected


def time_code(path: Path) -> str:
    with av.open(str(path)) as container:
        return container.streams.video[0].metadata["timecode"]


def coded(whole: Path, code: str) -> Path:
    """A video with a time code."""
    with av.open(str(whole)) as old, av.open(str(whole.with_name("coded.mkv")), "w") as output:
        stream = output.add_stream_from_template(old.streams.video[0])
        stream.metadata["timecode"] = code
        for packet in old.demux(video=0):
            if packet.size:
                packet.stream = stream
                output.mux(packet)
    return whole.with_name("coded.mkv")


def test_tags_that_are_not_utf_8_are_read_as_old_programs_wrote_them(make_clip, tmp_path):
    source = make_clip("old.mkv", metadata={"title": "Café"})
    source.write_bytes(source.read_bytes().replace("Café".encode(), b"Caf\xe9!"))
    assert copy(source, tmp_path / "new.mkv") == []
    with av.open(str(tmp_path / "new.mkv")) as container:
        assert container.metadata["title"] == "Café!"


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv"])
def test_who_took_it_is_kept(make_clip, tmp_path, suffix):
    names = {"com.apple.quicktime.make": "Phone", "title": "Holiday"}
    source = make_clip(metadata=names, container_options={"movflags": "use_metadata_tags"})
    copy(source, tmp_path / f"out.{suffix}")
    with av.open(str(tmp_path / f"out.{suffix}")) as container:
        got = {k.lower(): v for k, v in container.metadata.items()}
    assert names.items() <= got.items()


def test_stereo_is_kept(make_clip, tmp_path):
    with av.open(str(make_clip())) as old, av.open(str(tmp_path / "stereo.mkv"), "w") as output:
        stream = output.add_stream_from_template(old.streams.video[0])
        stream.metadata["stereo_mode"] = "left_right"
        for packet in old.demux(video=0):
            if packet.size:
                packet.stream = stream
                output.mux(packet)
    copy(tmp_path / "stereo.mkv", tmp_path / "out.mkv")
    with av.open(str(tmp_path / "out.mkv")) as container:
        assert container.streams.video[0].metadata["stereo_mode"] == "left_right"


def test_covers_fonts_and_second_videos_go_where_they_can(make_clip, tmp_path):
    still = make_clip("cover.mov", count=1, codec="png", pixels="rgb24", options={})
    with av.open(str(still)) as container:
        png = bytes(next(container.demux(video=0)))
    with av.open(str(make_clip())) as old, av.open(str(tmp_path / "rich.mkv"), "w") as output:
        film, other = (output.add_stream_from_template(old.streams.video[0]) for _ in range(2))
        film.disposition, other.disposition = av.stream.Disposition.default, 0
        output.add_attachment("cover.png", "image/png", png)
        output.add_attachment("serif.ttf", "font/ttf", b"font")
        for packet in old.demux(video=0):
            if packet.size:
                again = av.Packet(bytes(packet))
                again.pts, again.dts, again.time_base = packet.pts, packet.dts, packet.time_base
                again.duration, again.is_keyframe, again.stream = packet.duration, packet.is_keyframe, other
                packet.stream = film
                output.mux([packet, again])
    assert copy(tmp_path / "rich.mkv", tmp_path / "out.mkv") == []
    with av.open(str(tmp_path / "out.mkv")) as container:
        films = [s for s in container.streams.video if not s.disposition & av.stream.Disposition.attached_pic]
        covers = [s for s in container.streams.video if s not in films]
        assert (len(films), len(covers)) == (2, 1)
        assert bytes(next(container.demux(covers[0]))) == png
        assert [s.name for s in container.streams if s.type == "attachment"] == ["serif.ttf"]
    (warning,) = copy(tmp_path / "rich.mkv", tmp_path / "out.mp4")
    assert warning.endswith(": attachment serif.ttf")
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert len(container.streams.video) == 3
    (warning,) = copy(tmp_path / "rich.mkv", tmp_path / "out.mov")
    assert "cover" in warning
    (warning,) = copy(tmp_path / "rich.mkv", tmp_path / "out.webm")
    assert "video stream 1 (h264)" in warning
    assert "cover" in warning
    assert "serif.ttf" in warning
