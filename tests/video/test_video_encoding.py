"""What is chosen about an output's encoding is what the file says; what cannot be is said before any work."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest
import torch
from torch import nn

from tweenlet import interpolate_video, video
from tweenlet.video import Encoding


class Blend(nn.Module):
    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        return (frames[:, 1] + frames[:, 2]) / 2


def encode(source, name: str, **chosen: object):
    target = source.with_name(name)
    summary = interpolate_video(source, target, model=Blend(), encoding=Encoding(**chosen), overwrite=True)
    with av.open(str(target)) as container:
        stream = container.streams.video[0]
        frames = sum(1 for _ in container.decode(video=0))
        sound = [s.codec_context.name for s in container.streams.audio]
        return stream.codec_context.name, stream.codec_context.pix_fmt, frames, sound, summary


@pytest.mark.parametrize(
    ("name", "chosen", "codec", "pixels"),
    [
        ("a.mp4", {"codec": "h264", "crf": 30, "preset": "veryfast"}, "h264", "yuv420p"),
        ("a.mkv", {"codec": "hevc", "pixels": "yuv420p10le"}, "hevc", "yuv420p10le"),
        ("a.mp4", {"codec": "av1", "crf": 40, "preset": "12"}, "libdav1d", "yuv420p"),
        ("a.mkv", {"codec": "vp9", "crf": 40}, "vp9", "yuv420p"),
        ("a.mov", {"codec": "prores"}, "prores", "yuv422p10le"),
        ("a.mkv", {"codec": "ffv1"}, "ffv1", "yuv420p"),
        ("a.mp4", {"encoder": "libx265", "preset": "ultrafast"}, "hevc", "yuv420p"),
        ("a.mkv", {"crf": 35}, "h264", "yuv420p"),
        ("a.mp4", {"pixels": "yuv444p"}, "h264", "yuv444p"),
    ],
)
def test_codecs_and_pixel_formats(make_clip, name, chosen, codec, pixels) -> None:
    got = encode(make_clip(size=(96, 64)), name, **chosen)
    assert got[:3] == (codec, pixels, 23)


def test_quality_makes_the_file_larger(make_clip) -> None:
    clip = make_clip(size=(96, 64))
    sizes = []
    for crf in (10, 40):
        encode(clip, "out.mp4", crf=crf)
        sizes.append(clip.with_name("out.mp4").stat().st_size)
    assert sizes[0] > 1.5 * sizes[1]


def test_lossless_is_lossless(make_clip) -> None:
    clip = make_clip()
    encode(clip, "out.mkv", codec="ffv1")
    with video.read(clip) as before, video.read(clip.with_name("out.mkv")) as after:
        for a, b in zip(before, list(after)[::2], strict=True):
            np.testing.assert_array_equal(a.picture.to_ndarray(), b.picture.to_ndarray())


@pytest.mark.parametrize(
    ("name", "audio", "codecs"),
    [
        ("out.mkv", None, ["aac"]), ("out.mp4", "copy", ["aac"]), ("out.mp4", "opus", ["opus"]),
        ("out.mkv", "opus", ["opus"]), ("out.mov", "aac", ["aac"]), ("out.mp4", "none", []),
    ],
)  # fmt: skip
def test_sound_is_copied_encoded_or_left_out(make_clip, name, audio, codecs) -> None:
    *_, sound, summary = encode(make_clip(sound="aac"), name, audio=audio)
    assert sound == codecs
    assert not summary.notices


@pytest.mark.parametrize(
    ("name", "chosen", "message"),
    [
        ("a.mp4", {"codec": "ffv1"}, r"\.mp4 files hold no ffv1: expected one of \.mkv"),
        ("a.webm", {"codec": "h264"}, r"\.webm files hold no h264"),
        ("a.mov", {"codec": "prores", "crf": 20}, "prores_ks has no crf"),
        ("a.mkv", {"codec": "ffv1", "preset": "slow"}, "ffv1 has no presets"),
        (
            "a.mp4",
            {"preset": "gentle"},
            "libx264 cannot be used here with .*preset gentle: Error setting preset",
        ),
        ("a.mp4", {"pixels": "yuv999p"}, "expected a pixel format such as yuv420p, got yuv999p"),
        (
            "a.mp4",
            {"codec": "av1", "pixels": "yuv444p"},
            "libsvtav1 takes no yuv444p: expected one of yuv420p",
        ),
        ("a.mp4", {"codec": "vp9", "pixels": "yuv440p"}, r"\.mp4 files hold no VP9 in yuv440p, which \.mkv"),
        ("a.mp4", {"encoder": "h264_nvenc"}, "h264_nvenc cannot be used here"),
        (
            "a.mkv",
            {"encoder": "mpeg2video"},
            "mpeg2video cannot be used here .*: MPEG-1/2 does not support 90",
        ),
        ("a.mp4", {"encoder": "h266_magic"}, "no encoder h266_magic"),
        ("a.mp4", {"encoder": "libx264", "codec": "hevc"}, "libx264 encodes h264, not hevc"),
        ("a.mp4", {"codec": "mpeg7"}, "expected a codec of h264"),
        ("a.mp4", {"crf": 99}, "expected a crf from 0 to 63, got 99"),
        ("a.mov", {"audio": "opus"}, r"\.mov files hold no opus"),
        ("a.y4m", {"crf": 20}, "y4m holds pictures as they are"),
        ("images", {"crf": 20}, "is for images"),
    ],
)
def test_what_cannot_be_encoded_is_said_before_any_work(make_clip, name, chosen, message) -> None:
    clip = make_clip(count=3)
    before = set(clip.parent.iterdir())
    with pytest.raises(ValueError, match=message):
        encode(clip, name, **chosen)
    assert set(clip.parent.iterdir()) == before


def test_what_is_lost_is_named(make_clip) -> None:
    clip = make_clip("clip.mkv", count=3, codec="ffv1", pixels="yuv444p10le", options={})
    notices = [str(n) for n in encode(clip, "out.mp4", codec="h264", pixels="yuv420p")[-1].notices]
    assert any("chroma is reduced to 4:2:0" in notice for notice in notices)
    assert any("10 bits are reduced to 8" in notice for notice in notices)


def woven(path) -> None:
    """A bar that moves within a frame: the two fields show it 4 pixels apart."""
    options = {"x264-params": "interlaced=1:tff=1", "crf": "4"}
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", 25, options)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for number in range(8):
            picture = np.full((64, 96, 3), 40, np.uint8)
            for field in (0, 1):
                left = 10 + 8 * number + 4 * field
                picture[field::2, left : left + 12] = 220
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))


def combing(path) -> float:
    """How far neighbouring lines differ."""
    with video.read(path) as reader:
        return float(np.mean([np.abs(np.diff(frame.rgb(), axis=1)).mean() for frame in reader]))


def test_fields_are_made_frames_and_are_named_if_they_are_not(tmp_path) -> None:
    clip, plain, progressive = (tmp_path / name for name in ("clip.mp4", "plain.mp4", "out.mp4"))
    woven(clip)
    summary = interpolate_video(clip, plain, model=Blend())
    assert [notice.kind for notice in summary.notices] == ["interlaced"]
    summary = interpolate_video(clip, progressive, model=Blend(), deinterlace=True)
    assert (summary.frames_in, summary.frames_out, summary.notices) == (8, 15, ())
    assert combing(progressive) < combing(plain) / 4
