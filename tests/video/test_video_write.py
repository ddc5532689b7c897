"""The way from a reader to a writer: counts, times, sound and tags that must come out as they went in."""

from __future__ import annotations

import ctypes
import hashlib
import os
import struct
import sys
from ctypes import c_size_t, c_void_p
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.frame import PictureType
from scene import scene

from tweenlet import video
from tweenlet.video import chroma, picture_encoder, video_writer


def double(source: object, target: Path | str, **options: object) -> None:
    """Twice the frames: each one as it is, then a made picture half way to the next."""
    with video.read(source) as reader:
        rate = 2 * (reader.rate or video.IMAGE_RATE)
        with video.write(target, reader, rate, **options) as writer:
            for frame in reader:
                writer.write(frame, frame.time, frame.duration / 2)
                writer.write(frame.rgb(), frame.time + frame.duration / 2, frame.duration / 2)


def frames_of(path: Path) -> list[av.VideoFrame]:
    with av.open(str(path)) as container:
        return list(container.decode(video=0))


def packets_of(path: Path, kind: str) -> list[tuple[Fraction, str]]:
    """Time and digest of every packet of the first stream of a kind."""
    with av.open(str(path)) as container:
        stream = next(s for s in container.streams if s.type == kind)
        return [
            (p.pts * p.time_base, hashlib.md5(bytes(p)).hexdigest())
            for p in container.demux(stream)
            if p.size
        ]


def sound_of(path: Path) -> np.ndarray:
    """All that is heard, as floats (channels, samples)."""
    plain = av.AudioResampler("fltp", "stereo", 48000)
    with av.open(str(path)) as container:
        blocks = [block for frame in container.decode(audio=0) for block in plain.resample(frame)]
    return np.concatenate([block.to_ndarray() for block in blocks], axis=1)


def luma(frame: av.VideoFrame) -> np.ndarray:
    plane = frame.planes[0]
    kind = np.uint8 if frame.format.components[0].bits == 8 else np.uint16
    return np.frombuffer(plane, kind).reshape(plane.height, -1)[:, : plane.width].astype(float)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "mov", "webm", "y4m"])
def test_counts_and_times(make_clip, tmp_path, suffix):
    target = tmp_path / f"out.{suffix}"
    double(make_clip(), target)
    frames = frames_of(target)
    assert [f.pts * f.time_base for f in frames] == [Fraction(i, 50) for i in range(24)]
    with video.read(target) as reader:
        assert reader.rate == 50
        assert reader.duration == Fraction(24, 50)
        assert reader.frame_count == 24
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


@pytest.mark.parametrize("count", [8, 9, 10, 11])
@pytest.mark.parametrize("pixels", ["yuv420p", "yuv420p10le"])
@pytest.mark.parametrize("suffix", ["mp4", "mkv", "mov"])
def test_the_last_frame_lasts_as_long_as_it_did(make_clip, tmp_path, suffix, pixels, count):
    """Also where the encoder puts frames into another order than that of their times, as MP4 keeps them."""
    source, target = make_clip(count=count, size=(64, 64), pixels=pixels), tmp_path / f"out.{suffix}"
    with video.read(source) as reader, video.write(target, reader, Fraction(50)) as writer:
        *frames, last = reader
        for frame in frames:
            writer.write(frame, frame.time, frame.duration / 2)
            writer.write(frame.rgb(), frame.time + frame.duration / 2, frame.duration / 2)
        writer.write(last, last.time, last.duration)
    with video.read(target) as reader:
        *_, end = reader
        assert (end.time, end.duration) == (Fraction(count - 1, 25), Fraction(1, 25))
        assert reader.duration == Fraction(count, 25)


def dirty_heap() -> None:
    """Fill and free memory, so that what a library leaves uninitialised is not zero by chance."""
    libc = ctypes.CDLL(None)
    libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = c_void_p, [c_size_t], [c_void_p]
    for block, size in [(libc.malloc(size), size) for size in 6 * [*range(8, 8000, 16)]]:
        ctypes.memset(block, 0x41, size)
        libc.free(block)


@pytest.mark.skipif(sys.platform == "win32", reason="malloc is not the libraries' own there")
@pytest.mark.parametrize("count", [1, 2, 3, 5, 6])
@pytest.mark.parametrize("sound", [None, "aac"])
@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_no_picture_is_lost_where_the_last_segment_is_short(
    make_clip, tmp_path, monkeypatch, suffix, sound, count
):
    """x265 leaves the decoding times of one or two pictures uninitialised."""
    monkeypatch.setattr(video_writer, "SEGMENT", 4)
    source = make_clip(count=count, size=(96, 64), pixels="yuv420p10le", sound=sound)
    with video.read(source) as reader:
        dirty_heap()
        with video.write(tmp_path / f"out.{suffix}", reader, Fraction(25)) as writer:
            for frame in reader:
                writer.write(frame, frame.time, frame.duration)
    assert writer.warnings == []
    times = [float(f.pts * f.time_base) for f in frames_of(tmp_path / f"out.{suffix}")]
    assert times == pytest.approx([k / 25 for k in range(count)], abs=1e-3)


@pytest.mark.parametrize("sound", [None, "aac"])
@pytest.mark.parametrize("wrong", [lambda p: p.pts + 10**9, lambda p: -(10**12)])
def test_a_picture_that_a_container_would_refuse_fails_the_file(
    make_clip, tmp_path, monkeypatch, wrong, sound
):
    def with_wrong_times(packets):
        return [replace(packet, dts=wrong(packet)) for packet in packets]

    monkeypatch.setattr(picture_encoder, "with_decoding_times", with_wrong_times)
    with pytest.raises(ValueError, match=r"out\.mkv: the encoder gave the picture at \d+ the time -?\d+"):
        double(make_clip(sound=sound), tmp_path / "out.mkv")
    assert not (tmp_path / "out.mkv").exists()


def test_variable_rate(make_clip, tmp_path):
    times = [Fraction(n, 100) for n in (0, 4, 10, 11, 30, 34)]
    source, target = make_clip(times=times), tmp_path / "out.mp4"
    double(source, target)
    got = [f.pts * f.time_base for f in frames_of(target)]
    assert got[0::2] == times
    assert got[1:-1:2] == [(a + b) / 2 for a, b in pairwise(times)]
    with video.read(target) as reader:
        assert reader.duration == times[-1] + Fraction(1, 25)


@pytest.mark.parametrize(("suffix", "text"), [("mp4", None), ("mkv", "subrip"), ("mov", None)])
def test_sound_subtitles_chapters_names_are_copied(make_clip, tmp_path, suffix, text):
    chapter = {"id": 1, "start": 0, "end": 300, "time_base": Fraction(1, 1000), "metadata": {"title": "Eins"}}
    source = make_clip(
        f"clip.{suffix}",
        count=20,
        sound="aac",
        subtitles=text,
        chapters=[chapter],
        metadata={"title": "Probe"},
    )
    target = tmp_path / f"out.{suffix}"
    double(source, target)
    assert packets_of(target, "audio") == packets_of(source, "audio")
    if text:
        assert packets_of(target, "subtitle") == packets_of(source, "subtitle")
    with av.open(str(source)) as before, av.open(str(target)) as after:
        assert after.metadata["title"] == "Probe"
        assert [c["metadata"]["title"] for c in after.chapters()] == ["Eins"]
        assert after.streams.audio[0].metadata["language"] == "fra"
        if text:
            assert after.streams.subtitles[0].metadata["language"] == "deu"
        assert abs(before.duration - after.duration) <= 20_000


def test_sound_longer_than_the_pictures_is_kept_whole(make_clip, tmp_path):
    source, target = make_clip(sound="aac", sound_seconds=2.0), tmp_path / "out.mkv"
    double(source, target)
    heard = [(time, digest) for time, digest in packets_of(source, "audio") if time >= 0]
    assert [d for _, d in packets_of(target, "audio")] == [d for _, d in heard]


def test_sound_ends_where_it_did_if_its_decoder_is_a_packet_late(make_clip, tmp_path):
    source, target = make_clip("clip.wmv", codec="wmv2", sound="wmav2", count=25), tmp_path / "out.mp4"
    double(source, target)
    before, after = sound_of(source).shape[1], sound_of(target).shape[1]
    assert before <= after <= before + 2 * 1024  # AAC's frames, and one before the first


def test_rotation_and_pixel_shape_are_kept(make_clip, tmp_path):
    target = tmp_path / "out.mp4"
    double(make_clip(rotation=90, sound="aac"), target)
    assert frames_of(target)[0].rotation == 90


@pytest.mark.parametrize("colour", [(1, 1, 1, 1), (6, 2, 6, 6), (9, 1, 9, 14), (2, 0, 2, 2)])
def test_colour_tags_are_kept(make_clip, tmp_path, colour):
    target = tmp_path / "out.mp4"
    double(make_clip(colour=colour), target)
    frame = frames_of(target)[0]
    assert (frame.colorspace, frame.color_range, frame.color_primaries, frame.color_trc) == colour


@pytest.mark.parametrize("pixels", ["yuv420p", "yuv444p"])
@pytest.mark.parametrize("colour", [(1, 1, 1, 1), (6, 1, 6, 6), (1, 2, 1, 1), (6, 2, 6, 6)])
def test_made_pictures_are_as_bright_as_real_ones(make_clip, tmp_path, pixels, colour):
    target = tmp_path / "out.y4m"
    double(make_clip(pixels=pixels, colour=colour), target)
    frames = frames_of(target)
    shifts = [
        luma(made).mean() - luma(real).mean() for real, made in zip(frames[::2], frames[1::2], strict=True)
    ]
    assert max(map(abs, shifts)) < 0.1


def test_the_encoder_makes_no_picture_brighter_than_its_neighbours(make_clip, tmp_path):
    """As B-frames do, whose averages round up, and every second picture would be one."""
    target = tmp_path / "out.mp4"
    double(make_clip(), target)
    assert {PictureType(f.pict_type) for f in frames_of(target)} == {PictureType.I, PictureType.P}


def test_real_frames_reach_the_encoder_unchanged(make_clip, tmp_path):
    source, target = make_clip(), tmp_path / "out.y4m"
    double(source, target)
    for before, after in zip(frames_of(source), frames_of(target)[::2], strict=True):
        np.testing.assert_array_equal(before.to_ndarray(), after.to_ndarray())


def test_ten_bits_stay_ten_bits(make_clip, tmp_path):
    source = make_clip("clip.mkv", pixels="yuv420p10le", colour=(9, 1, 9, 16))
    target = tmp_path / "out.mp4"
    double(source, target)
    frame = frames_of(target)[0]
    assert frame.format.name == "yuv420p10le"
    assert (frame.colorspace, frame.color_range, frame.color_primaries, frame.color_trc) == (9, 1, 9, 16)
    with video.read(target) as reader:
        assert reader.bits == 10


@pytest.mark.parametrize("target", ["out.mkv", "out.webm"])
def test_hdr10_side_data_is_kept(make_clip, tmp_path, target):
    params = (
        "log-level=error:hdr10=1:master-display=G(13250,34500)B(7500,3000)R(34000,16000)"
        "WP(15635,16450)L(10000000,1):max-cll=1000,400"
    )
    source = make_clip(
        "clip.mp4", size=(96, 64), codec="libx265", pixels="yuv420p10le", colour=(9, 1, 9, 16),
        options={"preset": "ultrafast", "x265-params": params},
    )  # fmt: skip
    double(source, tmp_path / target)
    before, after = frames_of(source)[0].side_data, frames_of(tmp_path / target)[0].side_data
    assert bytes(before["CONTENT_LIGHT_LEVEL"]) == bytes(after["CONTENT_LIGHT_LEVEL"])
    displays = [display_of(bytes(data["MASTERING_DISPLAY_METADATA"])) for data in (before, after)]
    np.testing.assert_allclose(displays[1], displays[0], rtol=0.001, atol=1e-4)
    lost = losses(source, tmp_path / "lost.mkv", "prores")
    assert lost == [f"{tmp_path / 'lost.mkv'}: HDR10 metadata is left out, which prores_ks does not carry"]


def losses(source, target, codec=None):
    with video.read(source) as reader:
        writer = video.write(target, reader, Fraction(25), encoding=video.Encoding(codec=codec))
        with writer:
            writer.write(reader.first, Fraction(0), Fraction(1, 25))
    return writer.warnings


@pytest.mark.parametrize(
    ("pixels", "codec", "loss"),
    [
        ("gray16le", None, "16 bits are reduced to 10"),
        ("yuv420p12le", "av1", "12 bits are reduced to 10"),
        ("bgr0", "ffv1", "RGB is converted to Y'CbCr, which is not lossless"),
        ("yuv420p", "ffv1", None),
    ],
)
def test_what_a_file_cannot_hold_is_named(make_clip, tmp_path, pixels, codec, loss):
    colour = (0, 2, 1, 13) if pixels == "bgr0" else (1, 1, 1, 1)
    source = make_clip("in.mkv", size=(96, 64), codec="ffv1", pixels=pixels, colour=colour, options={})
    named = losses(source, tmp_path / "out.mkv", codec)
    assert named == ([f"{tmp_path / 'out.mkv'}: {loss}"] if loss else [])


def display_of(mastering: bytes) -> list[float]:
    """Primaries, white and luminances (lowest, highest) of a mastering display."""
    numbers = struct.unpack("22i", mastering[:88])
    return [a / b for a, b in zip(numbers[:20:2], numbers[1:20:2], strict=True)]


def test_hlg_is_not_taken_for_hdr10(make_clip, tmp_path):
    source = make_clip(size=(96, 64), pixels="yuv420p10le", colour=(9, 1, 9, 18))
    double(source, tmp_path / "out.mkv")
    kinds = {str(data.type) for data in frames_of(tmp_path / "out.mkv")[0].side_data}
    assert not kinds & {"Type.MASTERING_DISPLAY_METADATA", "Type.CONTENT_LIGHT_LEVEL"}


@pytest.mark.parametrize("location", [chroma.LEFT, chroma.CENTER, chroma.TOP_LEFT])
@pytest.mark.parametrize("target", ["out.mp4", "out.mkv", "out.webm", "out.y4m"])
def test_the_place_of_chroma_is_kept(make_clip, tmp_path, target, location):
    source = make_clip(options={"crf": "10", "chroma_sample_location": str(location)})
    double(source, tmp_path / target)
    for path in (source, tmp_path / target):
        assert chroma.location_of(frames_of(path)[0]) == location


@pytest.mark.parametrize(("pixels", "target"), [("bgr0", "out.mp4"), ("gray", "out.y4m")])
def test_chroma_made_from_what_has_none_lies_where_the_file_says(make_clip, tmp_path, pixels, target):
    source = make_clip("clip.mkv", pixels=pixels, codec="ffv1", options={"level": "3"})
    double(source, tmp_path / target)
    frame = frames_of(tmp_path / target)[0]
    assert (frame.format.name[:7], chroma.location_of(frame)) == ("yuv420p", chroma.LEFT)


@pytest.mark.parametrize("suffix", ["webm", "y4m"])
def test_odd_sizes_are_not_cropped(make_clip, tmp_path, suffix):
    source = make_clip("odd.webm", size=(63, 47), codec="libvpx-vp9", options={"deadline": "realtime"})
    target = tmp_path / f"out.{suffix}"
    double(source, target)
    assert {(f.width, f.height) for f in frames_of(target)} == {(63, 47)}


def test_start_other_than_zero(make_clip, tmp_path):
    times = [Fraction(i, 25) + Fraction(1, 5) for i in range(10)]
    source, target = make_clip("clip.ts", times=times, sound="mp2"), tmp_path / "out.mkv"
    double(source, target)

    def lead(path: Path) -> Fraction:
        return packets_of(path, "audio")[0][0] - min(t for t, _ in packets_of(path, "video"))

    assert abs(lead(target) - lead(source)) < Fraction(2, 1000)


@pytest.mark.parametrize(
    ("name", "sound", "target", "codec"),
    [("clip.mp4", "aac", "out.webm", "opus"), ("clip.mkv", "pcm_s16le", "out.mp4", "aac")],
)
def test_sound_that_does_not_fit_is_encoded_anew(make_clip, tmp_path, name, sound, target, codec):
    source, target = make_clip(name, sound=sound, sound_seconds=1.0), tmp_path / target
    double(source, target)
    with av.open(str(target)) as container:
        tone = container.streams.audio[0]
        assert (tone.codec_context.name, tone.metadata["language"]) == (codec, "fra")
    played, heard = sound_of(source), sound_of(target)
    assert abs(heard.shape[1] - played.shape[1]) < 2000
    assert abs(heard.std() - played.std()) < 0.01


@pytest.mark.parametrize(
    ("target", "codec", "first"), [("out.mp4", "mov_text", b"\x00\x04eins"), ("out.webm", "webvtt", b"eins")]
)
def test_subtitles_that_do_not_fit_are_put_in_other_words(make_clip, tmp_path, target, codec, first):
    source = make_clip("clip.mkv", count=20, subtitles="subrip")
    double(source, tmp_path / target)
    with av.open(str(tmp_path / target)) as container:
        text = container.streams.subtitles[0]
        assert (text.codec_context.codec.name, text.metadata["language"]) == (codec, "deu")
        packets = [p for p in container.demux(text) if p.size > 2]
    assert [float(p.pts * p.time_base) for p in packets] == [0.1, 0.3]
    assert bytes(packets[0]) == first


DISPLAY = {
    "mirrored": ((-1, 0, 0, 1), lambda rgb: rgb[:, :, ::-1]),
    "upside down and mirrored": ((1, 0, 0, -1), lambda rgb: rgb[:, ::-1]),
    "transposed": ((0, 1, 1, 0), lambda rgb: rgb.transpose(0, 2, 1)),
    "transversed": ((0, -1, -1, 0), lambda rgb: rgb[:, ::-1, ::-1].transpose(0, 2, 1)),
}


@pytest.mark.parametrize("target", ["out.y4m", "out.mp4", "out.mov", "out.mkv", "out"])
@pytest.mark.parametrize("kind", DISPLAY)
def test_mirrored_video_stays_mirrored(tmp_path, target, kind):
    """As phones write it, and as FFmpeg defines the display matrix: (x, y) -> (a x + c y, b x + d y)."""
    (a, b, c, d), shown = DISPLAY[kind]
    source = tmp_path / "clip.mp4"
    with av.open(str(source), "w") as output:
        stream = output.add_stream("libx264", 25, {"crf": "4"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv444p"
        one = 1 << 16
        stream.set_display_matrix((a * one, b * one, 0, c * one, d * one, 0, 0, 0, 1 << 30))
        for i in range(3):
            pixels = np.rint(scene(0, 64, 48).transpose(1, 2, 0) * 255).astype(np.uint8)
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            frame.pts, frame.time_base = i, Fraction(1, 25)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    double(source, tmp_path / target)
    with video.read(tmp_path / target) as reader:
        for frame in list(reader)[:2]:
            got = reader.orientation.upright(frame.rgb())
            assert np.abs(got - shown(scene(0, 64, 48))).mean() < 0.02


def test_rotated_video_to_y4m_is_upright(make_clip, tmp_path):
    double(make_clip(rotation=-90), tmp_path / "out.y4m")
    with video.read(tmp_path / "out.y4m") as reader:
        assert (reader.width, reader.height) == (48, 64)
        assert np.abs(reader.first.rgb() - np.rot90(scene(0, 64, 48), -1, axes=(1, 2))).mean() < 0.05


@pytest.mark.parametrize("suffix", ["mp4", "webm"])
@pytest.mark.parametrize("pixels", ["yuv420p", "yuv420p10le"])
@pytest.mark.parametrize("size", [(16, 16), (4, 6)])
def test_tiny_pictures(make_clip, tmp_path, capfd, suffix, pixels, size):
    """x265 corrupts memory below 64 pixels, and SVT-AV1 talks: neither is to be noticed."""
    target = tmp_path / f"out.{suffix}"
    double(make_clip(size=size, pixels=pixels), target)
    assert len(frames_of(target)) == 24
    assert capfd.readouterr() == ("", "")


def test_stills_of_sixteen_bits_become_video_of_ten(make_clip, tmp_path):
    with video.read(make_clip("clip.mkv", pixels="gray10le", codec="ffv1", options={})) as reader:
        assert reader.bits == 10
    double(tmp_path / "clip.mkv", tmp_path / "out.mp4")
    assert frames_of(tmp_path / "out.mp4")[0].format.name == "yuv420p10le"


def write_all(
    source: Path, target: Path, rate: Fraction, times: list[tuple[Fraction, Fraction]]
) -> list[str]:
    """Write the frames of a source at these times, for these durations; what the writer warns of."""
    with video.read(source) as reader, video.write(target, reader, rate) as writer:
        for frame, (time, duration) in zip(reader, times, strict=True):
            writer.write(frame, time, duration)
    return writer.warnings


@pytest.mark.parametrize("suffix", [".mkv", ".webm"])
def test_more_frames_than_milliseconds_are_refused(make_clip, tmp_path, suffix):
    with video.read(make_clip(count=3)) as reader:
        with pytest.raises(ValueError, match=r"milliseconds: expected up to 1000 .* got 2000; \.mp4"):
            video.write(tmp_path / f"out{suffix}", reader, Fraction(2000))
        with video.write(tmp_path / "out.mp4", reader, Fraction(2000)) as writer:
            for i, frame in enumerate(reader):
                writer.write(frame, Fraction(i, 2000), Fraction(1, 2000))
    assert {path.name for path in tmp_path.iterdir()} == {"clip.mp4", "out.mp4"}


@pytest.mark.parametrize(("pixels", "is_named"), [("yuv422p10le", True), ("yuv420p10le", False)])
def test_chroma_that_webm_reduces_is_named(make_clip, tmp_path, pixels, is_named):
    source = make_clip("clip.mkv", count=2, codec="ffv1", pixels=pixels, options={})
    times = [(Fraction(i, 25), Fraction(1, 25)) for i in range(2)]
    warnings = write_all(source, tmp_path / "out.webm", Fraction(25), times)
    assert ["chroma is reduced to 4:2:0" in warning for warning in warnings] == [True] * is_named


@pytest.mark.parametrize("target", ["out.y4m", "images"])
def test_a_hold_is_repeated_where_there_are_no_times(make_clip, tmp_path, target):
    step, hold = Fraction(1, 25), Fraction(2)
    times = [(0 * step, step), (step, hold), (step + hold, step)]
    assert write_all(make_clip(count=3), tmp_path / target, Fraction(25), times) == []
    with video.read(tmp_path / target) as reader:
        frames = [frame.rgb() for frame in reader]
    assert len(frames) == 52
    assert all(np.array_equal(frames[1], frame) for frame in frames[1:51])
    assert not np.array_equal(frames[1], frames[51])


def test_a_hold_without_end_is_repeated_for_minutes_only(make_clip, tmp_path):
    times = [(Fraction(0), Fraction(1)), (Fraction(1), Fraction(10_000)), (Fraction(10_001), Fraction(1))]
    (warning,) = write_all(make_clip(count=3), tmp_path / "out.y4m", Fraction(2), times)
    assert "no times" in warning
    with video.read(tmp_path / "out.y4m") as reader:
        assert sum(1 for _ in reader) == 2 + 1200 + 2


@pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0, reason="only root's threads can be made real-time ones"
)
def test_av1_leaves_the_process_its_priority(make_clip, tmp_path: Path) -> None:
    policy = os.sched_getscheduler(0)
    source = make_clip("deep.mkv", codec="ffv1", pixels="yuv420p10le", count=2)
    with (
        video.read(source) as reader,
        video.write(tmp_path / "out.webm", reader, Fraction(25)) as writer,
    ):
        for frame in reader:
            writer.write(frame, frame.time, frame.duration)
        threads = [int(thread.name) for thread in Path("/proc/self/task").iterdir()]
        assert {os.sched_getscheduler(thread) for thread in threads} == {policy}
    with av.open(str(tmp_path / "out.webm")) as container:
        assert container.streams.video[0].codec.name in ("av1", "libdav1d")
