"""The layouts of published data sets, and what is said of those that are not whole."""

from __future__ import annotations

from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from PIL import Image

from tests.training.test_store import clip, pan, shift, texture
from tweenlet import video
from tweenlet.training.data.build import build_dataset
from tweenlet.training.data.clips import UnusableError, find_clips, read_frames
from tweenlet.training.data.scan import FootageScan, Window, scan_clip, scan_footage
from tweenlet.training.data.transcode import transcode
from tweenlet.training.options import Recipe

RECIPE = Recipe(samples=12, validation=2, crop=64, synthetic=0, crops_per_window=2)


def septuplet(folder: Path, pictures) -> Path:
    folder.mkdir(parents=True)
    for number, picture in enumerate(pictures, 1):
        assert cv2.imwrite(str(folder / f"im{number}.png"), picture)
    return folder


def vimeo(root: Path, train: str, test: str = "") -> Path:
    """A Vimeo-90K of the septuplets named, in both parts."""
    for name in (train + " " + test).split():
        seed = int(name.replace("/", ""))
        septuplet(root / "sequences" / name, pan(seed, 7))
    (root / "sep_trainlist.txt").write_text(train.replace(" ", "\n") + "\n\n")
    (root / "sep_testlist.txt").write_text(test.replace(" ", "\n"))
    return root


def quintuplet(folder: Path, pictures) -> Path:
    """Frames 1, 3, 5, 7 and 4 of seven, in a row."""
    folder.mkdir(parents=True)
    row = np.concatenate([pictures[k][:64, :64] for k in (0, 2, 4, 6, 3)], axis=1)
    assert cv2.imwrite(str(folder / "quintuplet.png"), row)
    return folder


def test_of_vimeo_the_training_list_is_taken(tmp_path):
    root = vimeo(tmp_path / "sets" / "vimeo", "00001/0001 00001/0003 00002/0001", "00001/0002 00002/0002")
    names = ["00001/0001", "00001/0003", "00002/0001"]
    expected = [root / "sequences" / name for name in names]
    assert find_clips([root]) == find_clips([tmp_path]) == find_clips([root / "sequences"]) == expected
    assert find_clips([root / "sequences" / "00001"]) == expected[:2]
    with pytest.raises(ValueError, match=r"no septuplet to train on in .*0002"):
        find_clips([root / "sequences" / "00001" / "0002"])
    assert [window.first for window in scan_clip(expected[0]).windows] == [0]

    train, held_out = build_dataset([root], tmp_path / "store", RECIPE)
    assert held_out is not None
    clips, others = ({place.clip for place in part.locations} for part in (train, held_out))
    assert clips | others == set(map(str, expected))
    assert len(others) == 1
    assert [shift(frames[1], frames[3]) for frames in train.frames] == [-4] * len(train)  # a pan of 2 a frame


def test_other_data_beside_vimeo_is_found_too(tmp_path):
    vimeo(tmp_path, "00001/0001")
    other = clip(tmp_path / "other", pan(2, 8))
    assert find_clips([tmp_path]) == [other, tmp_path / "sequences" / "00001" / "0001"]


def test_vimeo_that_is_not_whole_is_named(tmp_path):
    names = [f"00001/{number:04}" for number in range(1, 13)]
    root = vimeo(tmp_path / "vimeo", " ".join(names[:7]))
    (root / "sep_trainlist.txt").write_text("\n".join(names))
    broken = root / "sequences" / "00001"
    (broken / "0001" / "im5.png").unlink()
    (broken / "0002" / "im7.png").unlink()
    (broken / "0003" / "im2.png").write_bytes((broken / "0004" / "im2.png").read_bytes()[:1000])
    assert cv2.imwrite(str(broken / "0005" / "im3.png"), texture(1, 32, 32))
    scanned = scan_footage(find_clips([root]), crop=64)
    usable = {footage.path.name for footage in scanned.training + scanned.held_out}
    assert usable == {"0004", "0006", "0007"}
    assert len(scanned.held_out) == 1
    reasons = {file[len(str(broken)) + 1 :]: reason for file, reason in scanned.unusable}
    assert reasons == {
        "0001/im5.png": "is missing from a septuplet",
        "0002/im7.png": "is missing from a septuplet",
        "0003/im2.png": "is not a readable image",
        "0005": "the frame size changes from (96, 72) to (32, 32)",
        **{f"{number:04}": "is missing" for number in range(8, 13)},
    }
    lines = str(scanned).splitlines()
    assert lines[0].endswith("9 clips unusable")
    b = broken
    assert lines[1] == f"unusable: 5 x is missing: {b / '0008'}, {b / '0009'}, {b / '0010'}, and 2 more"
    assert lines[2].startswith("unusable: 2 x is missing from a septuplet: ")
    assert len(lines) == 5


def test_vimeo_lists_that_cannot_be(tmp_path):
    root = vimeo(tmp_path, "00001/0001 00001/0002")
    (root / "sep_testlist.txt").write_text("00001/0002\n00001/0003")
    with pytest.raises(ValueError, match=r"1 septuplets are in sep_trainlist\.txt and in .*: 00001/0002"):
        find_clips([root])
    (root / "sep_trainlist.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"has sequences and sep_testlist\.txt but no sep_trainlist"):
        find_clips([root])


def test_a_quintuplet_is_a_window(tmp_path):
    frames = pan(1, 7)
    folder = quintuplet(tmp_path / "bvi" / "0001", frames)
    seen = list(read_frames(folder))
    assert len(seen) == 5
    for number, picture in zip((0, 2, 3, 4, 6), seen, strict=True):
        assert np.array_equal(picture[..., ::-1], frames[number][:64, :64])
    scanned = scan_clip(folder)
    assert (scanned.width, scanned.height, scanned.frames, scanned.rejected) == (64, 64, 5, 0)
    window = scanned.windows[0]
    assert scanned.windows == (Window(0, 1, window.blend_psnr, quintuplet=True),)
    assert window.frames == (0, 1, 2, 3, 4)
    assert scan_clip(folder, strides=(2,)).windows == ()

    quintuplet(tmp_path / "bvi" / "0002", pan(2, 7))
    train, held_out = build_dataset([tmp_path / "bvi"], tmp_path / "store", RECIPE)
    assert held_out is not None
    pictures = {"0001": frames, "0002": pan(2, 7)}
    place = train.locations[0]
    assert (place.first, place.stride, place.width, place.top, place.left) == (0, 1, 64, 0, 0)
    for number, picture in zip((0, 2, 3, 4, 6), train.frames[0], strict=True):
        expected = pictures[Path(place.clip).name][number][:64, :64, ::-1]
        assert np.array_equal(picture.transpose(1, 2, 0), expected)


@pytest.mark.parametrize("cut", range(1, 7))
def test_a_quintuplet_with_a_cut_is_left_out(tmp_path, cut):
    found = scan_clip(quintuplet(tmp_path / "q", pan(1, 7)[:cut] + pan(2, 7)[cut:]))
    assert found.cuts == 1
    assert (found.windows, found.rejected) == ((), 1)


def test_a_fast_quintuplet_has_no_cut(tmp_path):
    wide = cv2.resize(texture(1, 16, 128), (512, 64), interpolation=cv2.INTER_CUBIC)
    frames = [wide[:, left : left + 64] for left in (0, 6, 10, 13, 16, 20, 26)]
    folder = quintuplet(tmp_path / "q", frames)
    found = scan_clip(folder)
    assert (found.cuts, found.repeats, len(found.windows)) == (0, 0, 1)


def test_a_quintuplet_with_a_repeated_frame_is_left_out(tmp_path):
    frames = pan(1, 7)
    frames[3] = frames[2]
    found = scan_clip(quintuplet(tmp_path / "q", frames))
    assert (found.cuts, found.repeats, found.windows) == (0, 1, ())


def test_bad_quintuplets_are_named(tmp_path):
    quintuplet(tmp_path / "good", pan(1, 7))
    for name, size in (("short", (64, 256)), ("tall", (70, 320))):
        (tmp_path / name).mkdir()
        assert cv2.imwrite(str(tmp_path / name / "quintuplet.png"), np.zeros((*size, 3), np.uint8))
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "quintuplet.png").write_bytes(b"\x89PNG")
    found = scan_footage(find_clips([tmp_path]), crop=64)
    assert [footage.path.name for footage in found.training] == ["good"]
    assert {(Path(file).parent.name, Path(file).name, reason) for file, reason in found.unusable} == {
        ("short", "quintuplet.png", "expected five square tiles side by side, got 256x64 pixels"),
        ("tall", "quintuplet.png", "expected five square tiles side by side, got 320x70 pixels"),
        ("torn", "quintuplet.png", "is not a readable image"),
    }


def test_quintuplets_are_no_footage_to_pack(tmp_path):
    quintuplet(tmp_path / "data" / "0001", pan(1, 7))
    with pytest.raises(ValueError, match=r"expected consecutive frames, got 1 quintuplets: .*0001"):
        transcode([tmp_path / "data"], tmp_path / "pack")


def test_a_folder_of_few_images_is_named(tmp_path):
    clip(tmp_path / "good", pan(1, 8))
    clip(tmp_path / "few", pan(2, 6))
    found = scan_footage(find_clips([tmp_path]), crop=64)
    assert found.unusable == ((str(tmp_path / "few"), "expected at least 7 frames, got 6"),)


def test_a_jpeg_cut_short_is_not_readable(tmp_path):
    folder = tmp_path / "jpegs"
    folder.mkdir()
    for number, picture in enumerate(pan(1, 8)):
        assert cv2.imwrite(str(folder / f"{number}.jpg"), picture)
    assert scan_clip(folder).frames == 8
    last = folder / "7.jpg"
    last.write_bytes(last.read_bytes()[:-40])
    with pytest.raises(UnusableError, match=r"7\.jpg: is not a readable image"):
        scan_clip(folder)


def test_many_reasons_stay_short(tmp_path):
    many = tuple((f"clip{k}", f"reason {k % 50}") for k in range(1000))
    lines = str(FootageScan((), (), many)).splitlines()
    assert "1000 clips unusable" in lines[0]
    assert lines[1] == "unusable: 20 x reason 0: clip0, clip50, clip100, and 17 more"
    assert lines[-1].startswith("unusable: 800 x for other reasons: clip10,")
    assert len(lines) == 12


@pytest.mark.parametrize("kind", ["video", "png", "jpg", "tif"])
def test_training_sees_the_frames_that_inference_sees(tmp_path, kind):
    """Through swscale's own matrix videos were darker by more than a step of luma."""
    y, x = np.mgrid[0:48, 0:64]
    frames = [np.stack([x * 3 + i, y * 4, x + y], -1).astype(np.uint8) for i in range(7)]
    clip = tmp_path / "clip.mkv" if kind == "video" else tmp_path
    if kind == "video":
        with av.open(str(clip), "w") as output:
            stream = output.add_stream("libx264", 25, {"crf": "10"})
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
            for frame in frames:
                output.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            output.mux(stream.encode(None))
    else:
        for i, frame in enumerate(frames):
            Image.fromarray(frame).save(tmp_path / f"{i}.{kind}")
    with video.read(clip) as reader:
        inference = [np.rint(frame.rgb().transpose(1, 2, 0) * 255) for frame in reader]
    training = list(read_frames(clip))
    assert len(training) == 7
    for a, b in zip(training, inference, strict=True):
        assert a.dtype == np.uint8
        np.testing.assert_array_equal(a, b)
