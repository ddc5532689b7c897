"""Folders, globs and lists of images in and out, at 8 and 16 bits."""

from __future__ import annotations

import struct
import zlib
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps

from tweenlet import video
from tweenlet.video.image_tags import read_tags
from tweenlet.video.images import is_animated
from tweenlet.video.orientation import UPRIGHT


def double(source: object, target: Path | str, **options: object) -> None:
    with (
        video.read(source) as reader,
        video.write(target, reader, 2 * (reader.rate or video.IMAGE_RATE), **options) as writer,
    ):
        for frame in reader:
            writer.write(frame, frame.time, frame.duration / 2)
            writer.write(frame.rgb(), frame.time + frame.duration / 2, frame.duration / 2)


def picture(shade: int, size: tuple[int, int] = (40, 30)) -> np.ndarray:
    x, y = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
    return np.stack([x * 3 + shade, y * 4 + shade, (x + y) * 2], axis=-1).astype(np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "in"
    place.mkdir()
    for i in (1, 2, 10):
        Image.fromarray(picture(i)).save(place / f"frame{i}.png")
    (place / "notes.txt").write_text("not an image")
    return place


@pytest.mark.parametrize("kind", ["folder", "glob", "list"])
def test_images_are_read_in_natural_order(folder, kind):
    names = [folder / f"frame{i}.png" for i in (1, 2, 10)]
    source = {"folder": folder, "glob": folder / "frame*.png", "list": names}[kind]
    with video.read(source, rate=Fraction(10)) as reader:
        assert (reader.width, reader.height, reader.frame_count, reader.rate) == (40, 30, 3, 10)
        frames = list(reader)
    assert [frame.path for frame in frames] == names
    assert [frame.time for frame in frames] == [0, Fraction(1, 10), Fraction(1, 5)]
    for frame, shade in zip(frames, (1, 2, 10), strict=True):
        rgb = frame.rgb()
        assert (rgb.shape, rgb.dtype) == ((3, 30, 40), np.float32)
        np.testing.assert_array_equal(np.rint(rgb.transpose(1, 2, 0) * 255), picture(shade))


def test_a_superscript_in_a_name_is_no_number(folder):
    (folder / "frame10.png").rename(folder / "frame2²0.png")
    with video.read(folder) as reader:
        assert [frame.path.name for frame in reader] == ["frame1.png", "frame2.png", "frame2²0.png"]


def test_without_a_rate(folder):
    with video.read(folder) as reader:
        assert reader.rate is None
        assert [frame.time for frame in reader] == [Fraction(i, 24) for i in range(3)]


def test_folder_to_folder_copies_the_files(folder, tmp_path):
    double(folder, tmp_path / "out")
    written = sorted((tmp_path / "out").iterdir())
    assert [path.name for path in written] == [f"{i:05d}.png" for i in range(1, 7)]
    for before, after in zip([1, 2, 10], written[::2], strict=True):
        assert after.read_bytes() == (folder / f"frame{before}.png").read_bytes()
    for before, after in zip([1, 2, 10], written[1::2], strict=True):
        np.testing.assert_array_equal(np.asarray(Image.open(after)), picture(before))


@pytest.mark.parametrize(("suffix", "error"), [("png", 0), ("tif", 0), ("tiff", 0), ("webp", 0), ("jpg", 3)])
def test_patterns_and_kinds(folder, tmp_path, suffix, error):
    double(folder, tmp_path / f"out/%03d.{suffix}")
    written = sorted((tmp_path / "out").iterdir())
    assert [path.name for path in written] == [f"{i:03d}.{suffix}" for i in range(1, 7)]
    got = np.asarray(Image.open(written[-1]).convert("RGB")).astype(int)
    assert np.abs(got - picture(10)).mean() <= error
    double(tmp_path / "out", tmp_path / "again")
    assert len(list((tmp_path / "again").iterdir())) == 12


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bits_stay_sixteen_bits(tmp_path, suffix):
    ramp = (np.arange(3 * 30 * 40, dtype=np.float32) / 3600).reshape(3, 30, 40)
    (tmp_path / "in").mkdir()
    Image.fromarray(picture(1)).save(tmp_path / "in" / "a.png")
    with video.read(tmp_path / "in") as reader:
        reader.bits = 16
        with video.write(tmp_path / f"deep/%d.{suffix}", reader, Fraction(24)) as writer:
            writer.write(ramp, Fraction(0), Fraction(1))
    with video.read(tmp_path / "deep") as reader:
        assert reader.bits == 16
        np.testing.assert_allclose(reader.first.rgb(), ramp, atol=0.6 / 65535)
        with video.write(tmp_path / "out.mp4", reader, Fraction(24)) as writer:
            writer.write(reader.first, Fraction(0), Fraction(1, 24))
    with video.read(tmp_path / "out.mp4") as reader:
        assert reader.bits == 10


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "LA", "I;16", "1"])
def test_other_kinds_of_pixels(tmp_path, mode):
    (tmp_path / "in").mkdir()
    for i in range(2):
        image = Image.fromarray(picture(i))
        if mode == "I;16":
            image = Image.fromarray(picture(i)[..., 0].astype(np.uint16) * 257)
        image = image if mode == "I;16" else image.convert(mode)
        image.save(tmp_path / "in" / f"{i}.png")
        expected = np.asarray(image.convert("RGB")) if mode != "I;16" else picture(i)[..., :1].repeat(3, -1)
    with video.read(tmp_path / "in") as reader:
        got = list(reader)[-1].rgb()
    assert np.abs(got.transpose(1, 2, 0) * 255 - expected).max() < 0.51
    double(tmp_path / "in", tmp_path / "out.mp4")
    double(tmp_path / "in", tmp_path / "out")
    with video.read(tmp_path / "out") as reader:
        frames = list(reader)
    assert len(frames) == 4
    assert np.abs(frames[2].rgb() - frames[3].rgb()).max() < 0.51 / 255


def test_images_to_video_keep_their_brightness(folder, tmp_path):
    double(folder, tmp_path / "out.mp4")
    with video.read(tmp_path / "out.mp4") as reader:
        assert (reader.rate, reader.frame_count) == (48, 6)
        assert reader.colour.range == 1
        frames = [frame.rgb() for frame in reader]
    assert abs(frames[0].mean() - picture(1).mean() / 255) < 1 / 255
    assert abs(frames[0].mean() - frames[1].mean()) < 0.25 / 255


def test_rotated_video_to_upright_images(make_clip, tmp_path):
    double(make_clip(rotation=90, count=2), tmp_path / "out")
    with video.read(tmp_path / "out") as reader:
        assert (reader.width, reader.height) == (48, 64)
        assert len(list(reader)) == 4


def photograph(path: Path, orientation: int, image: np.ndarray) -> Path:
    tags = Image.Exif()
    tags[0x0112] = orientation
    tags[0x010F] = "Maker"
    Image.fromarray(image).save(path, exif=tags, quality=100)
    return path


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photographs_are_shown_as_their_exif_orientation_says(tmp_path, orientation):
    (tmp_path / "in").mkdir()
    for name in ("a.jpg", "b.jpg"):
        source = photograph(tmp_path / "in" / name, orientation, picture(1))
    shown = np.asarray(ImageOps.exif_transpose(Image.open(source))).astype(int)
    double(tmp_path / "in", tmp_path / "out")
    double(tmp_path / "in", tmp_path / "out/%d.jpg", overwrite=True)
    for path in (tmp_path / "out").iterdir():
        with Image.open(path) as image:
            assert image.getexif().get(0x0112, 1) == 1
            assert np.abs(np.asarray(image).astype(int) - shown).mean() < 3
    double(tmp_path / "in", tmp_path / "out.mp4")
    with video.read(tmp_path / "out.mp4") as reader:
        got = reader.orientation.upright(reader.first.rgb()).transpose(1, 2, 0) * 255
    assert got.shape == shown.shape
    assert np.abs(got - shown).mean() < 4


def test_a_phone_that_was_turned_over_midway(tmp_path):
    (tmp_path / "in").mkdir()
    upside_down = np.ascontiguousarray(np.rot90(picture(1), 2))
    photograph(tmp_path / "in" / "a.jpg", 1, picture(1))
    photograph(tmp_path / "in" / "b.jpg", 3, upside_down)
    double(tmp_path / "in", tmp_path / "out")
    for path in (tmp_path / "out").iterdir():
        assert np.abs(np.asarray(Image.open(path)).astype(int) - picture(1)).mean() < 3
    photograph(tmp_path / "in" / "c.jpg", 6, picture(1))
    with (
        pytest.raises(ValueError, match=r"c\.jpg is 30x40, but .*a\.jpg is 40x30"),
        video.read(tmp_path / "in") as reader,
    ):
        list(reader)


def test_files_that_a_mac_leaves_beside_images(folder):
    for name in ("._frame1.png", "._frame2.png"):
        (folder / name).write_bytes(b"\0\x05\x16\x07" + bytes(80))
    (folder / ".DS_Store").write_bytes(bytes(100))
    for source in (folder, folder / "*.png"):
        with video.read(source) as reader:
            assert [frame.path.name for frame in reader] == ["frame1.png", "frame2.png", "frame10.png"]


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_tiff_compressed_as_jpeg(tmp_path, mode):
    (tmp_path / "in").mkdir()
    image = Image.fromarray(picture(1)).convert(mode)
    image.save(tmp_path / "in" / "a.tif", compression="jpeg", quality=95)
    with video.read(tmp_path / "in") as reader:
        got = reader.first.rgb().transpose(1, 2, 0) * 255
    assert np.abs(got - np.asarray(image.convert("RGB"))).mean() < 3


PROFILES = {"RGB": ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()}
PROFILES["L"] = PROFILES["RGB"][:16] + b"GRAY" + PROFILES["RGB"][20:]


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("kind", ["png", "jpg", "tif", "webp"])
@pytest.mark.parametrize("source", ["png", "jpg"])
def test_made_images_have_the_profile_and_the_exif_of_the_real_ones(tmp_path, source, kind, mode):
    (tmp_path / "in").mkdir()
    tags = Image.Exif()
    tags[0x010F] = "Maker"
    for name in "ab":
        image = Image.fromarray(picture(1)).convert(mode)
        image.save(tmp_path / f"in/{name}.{source}", icc_profile=PROFILES[mode], exif=tags)
    double(tmp_path / "in", tmp_path / f"out/%d.{kind}")
    for path in (tmp_path / "out").iterdir():
        with Image.open(path) as image:
            image.load()
            expected = PROFILES["RGB"] if mode == "RGB" else PROFILES["L"] if kind in ("png", "tif") else None
            copied = source == kind and path.stem in "13"
            assert image.info.get("icc_profile") == (PROFILES[mode] if copied else expected)
            if kind != "tif":
                assert image.getexif()[0x010F] == "Maker"
            real = Image.fromarray(picture(1)).convert(mode).convert("RGB")
            assert np.abs(np.asarray(image.convert("RGB")).astype(int) - np.asarray(real)).mean() < 4


def test_made_images_have_the_gamma_of_the_real_ones(tmp_path):
    (tmp_path / "in").mkdir()
    gamma = b"\0\0\0\4gAMA" + struct.pack(">I", 55555)
    gamma += struct.pack(">I", zlib.crc32(gamma[4:]))
    for name in "ab":
        path = tmp_path / f"in/{name}.png"
        Image.fromarray(picture(1)).save(path)
        data = path.read_bytes()
        path.write_bytes(data[:33] + gamma + data[33:])
    double(tmp_path / "in", tmp_path / "out")
    for path in (tmp_path / "out").iterdir():
        with Image.open(path) as image:
            assert image.info["gamma"] == pytest.approx(0.55555)
            np.testing.assert_array_equal(np.asarray(image), picture(1))


@pytest.mark.parametrize(("mode", "expected"), [("L", "L"), ("I;16", "I;16"), ("LA", None)])
@pytest.mark.parametrize("kind", ["png", "tif"])
def test_images_made_from_gray_ones_are_gray(tmp_path, mode, expected, kind):
    (tmp_path / "in").mkdir()
    for name in "ab":
        image = Image.fromarray(picture(1)[..., 0].astype(np.uint16) * 257)
        image = image if mode == "I;16" else Image.fromarray(picture(1)).convert(mode)
        image.save(tmp_path / f"in/{name}.png")
    double(tmp_path / "in", tmp_path / f"out/%d.{kind}")
    for path in (tmp_path / "out").iterdir():
        with Image.open(path) as image:
            assert mode == "LA" or image.mode == expected
    double(tmp_path / "in", tmp_path / "out.mp4")
    with video.read(tmp_path / "out.mp4") as reader:
        assert reader.colour.matrix == 1
        assert reader.colour.range == 1
        frames = [frame.rgb() for frame in reader]
    assert np.abs(frames[0] - frames[1]).mean() < 1 / 255


def test_one_image_is_one_frame(folder):
    with video.read(folder / "frame1.png") as reader:
        assert len(list(reader)) == 1


def test_an_animated_png_is_a_video(tmp_path):
    first, *others = [Image.fromarray(picture(20 * i)) for i in range(4)]
    first.save(tmp_path / "moving.png", save_all=True, append_images=others, duration=100)
    with video.read(tmp_path / "moving.png") as reader:
        frames = list(reader)
    assert [frame.time for frame in frames] == [Fraction(i, 10) for i in range(4)]
    for i, frame in enumerate(frames):
        np.testing.assert_array_equal(np.rint(frame.rgb().transpose(1, 2, 0) * 255), picture(20 * i))
    double(tmp_path / "moving.png", tmp_path / "out.mp4")
    with video.read(tmp_path / "out.mp4") as reader:
        assert len(list(reader)) == 8


def test_sizes_that_differ(folder):
    Image.fromarray(picture(3, (20, 10))).save(folder / "frame3.png")
    with (
        pytest.raises(ValueError, match=r"frame3\.png is 20x10, but .*frame1\.png is 40x30"),
        video.read(folder) as reader,
    ):
        list(reader)


def test_a_shorter_sequence_replaces_a_longer_one(folder, tmp_path):
    """No image of the longer one stays at its end; what has another name does."""
    double(folder, tmp_path / "out")
    for name in ("00007.png", "00008.png", "0009.png", "cover.png"):
        (tmp_path / "out" / name).write_bytes(b"of an earlier run, or of somebody")
    double(folder, tmp_path / "out", overwrite=True)
    names = sorted(file.name for file in (tmp_path / "out").iterdir())
    assert names == [*(f"{number:05d}.png" for number in range(1, 7)), "0009.png", "cover.png"]


def test_what_comes_into_a_folder_meanwhile_stays(folder, tmp_path):
    (tmp_path / "out").mkdir()
    with (
        video.read(folder) as reader,
        video.write(tmp_path / "out", reader, video.IMAGE_RATE) as writer,
    ):
        (tmp_path / "out/00009.png").write_bytes(b"of another program")
        for frame in reader:
            writer.write(frame, frame.time, frame.duration)
    assert (tmp_path / "out/00009.png").exists()


def test_tags_of_an_image_larger_than_pillow_opens(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)
    path = photograph(tmp_path / "a.jpg", 6, picture(1))
    assert read_tags(path).orientation != UPRIGHT
    Image.fromarray(picture(1)).save(path.with_suffix(".png"), icc_profile=b"profile")
    assert read_tags(path.with_suffix(".png")).icc == b"profile"
    assert not is_animated(path.with_suffix(".png"))
    assert Image.MAX_IMAGE_PIXELS == 50


def test_a_gap_in_the_numbers_is_named(tmp_path):
    names = [f"shot2_{number}.png" for number in (1, 2, 3, 5, 6, 7, 12)]
    for name in names:
        Image.fromarray(picture(1)).save(tmp_path / name)
    with video.read(tmp_path, rate=Fraction(10)) as reader:
        assert len(list(reader)) == 7
        assert [str(notice) for notice in reader.notices] == [
            "gap from 0.20 s to 0.30 s: no images between shot2_3.png and shot2_5.png, which are taken to "
            "follow each other",
            "gap from 0.50 s to 0.60 s: no images between shot2_7.png and shot2_12.png, which are taken to "
            "follow each other",
        ]
    for name in names[::2]:  # 1, 3, 6, 12: no numbering that skips some
        (tmp_path / name).rename(tmp_path / f"x{name}")
    with video.read(str(tmp_path / "x*.png")) as reader:
        assert len(list(reader)) == 4
        assert not reader.notices


def test_an_animated_webp_is_named(tmp_path):
    first, *rest = (Image.fromarray(picture(shade)) for shade in (1, 5, 9))
    first.save(tmp_path / "a.webp", save_all=True, append_images=rest)
    with pytest.raises(ValueError, match="an animated WebP, which cannot be read: convert it to APNG"):
        video.read(tmp_path / "a.webp")


def test_folder_without_images(tmp_path):
    with pytest.raises(ValueError, match="holds no images"):
        video.read(tmp_path)
    with pytest.raises(ValueError, match="holds no images"):
        video.read([])


def test_outputs_that_cannot_be(folder, tmp_path):
    with pytest.raises(ValueError, match="is the folder of the input"):
        double(folder, folder, overwrite=True)
    double(folder, tmp_path / "out")
    with pytest.raises(FileExistsError, match="--overwrite"):
        double(folder, tmp_path / "out")
    double(folder, tmp_path / "out", overwrite=True)
    assert len(list((tmp_path / "out").iterdir())) == 6
    (tmp_path / "file").write_text("x")
    with pytest.raises(FileExistsError, match="is a file, not a folder"):
        double(folder, tmp_path / "file")
