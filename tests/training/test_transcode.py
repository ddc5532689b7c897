from __future__ import annotations

import pytest

from tests.training.test_store import clip, pan
from tweenlet.training.data.scan import scan_clip
from tweenlet.training.data.transcode import transcode


def test_a_pack_holds_the_middle_of_every_clip_within_its_size(tmp_path):
    for place in ("one", "two"):  # both clips are called "pan"
        clip(tmp_path / "data" / place / "pan", pan(ord(place[0]), 20))
    files = transcode([tmp_path / "data"], tmp_path / "pack", megabytes=0.2, short_side=48, max_frames=12)
    assert [f.name for f in files] == ["pan.mp4", "pan-2.mp4"]
    assert sum(f.stat().st_size for f in files) < 200_000
    assert (scan_clip(files[0]).frames, scan_clip(files[0]).width, scan_clip(files[0]).height) == (12, 64, 48)


def test_a_pack_touches_nothing_of_others(tmp_path):
    clip(tmp_path / "data" / "pan", pan(1, 20))
    (tmp_path / "pack.new").mkdir()
    (tmp_path / "pack.new" / "thesis.txt").write_text("precious")
    messages = []

    def second(what, *_):
        with pytest.raises(BlockingIOError, match="another run is writing"):
            transcode([tmp_path / "data"], tmp_path / "pack")
        messages.append(what)

    transcode([tmp_path / "data"], tmp_path / "pack", progress=second)
    assert messages
    assert (tmp_path / "pack.new" / "thesis.txt").read_text() == "precious"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "pack", "pack.new"]


def test_a_pack_appears_whole_or_not_at_all(tmp_path):
    clip(tmp_path / "data" / "pan", pan(1, 20))

    def stop(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        transcode(
            [tmp_path / "data"], tmp_path / "pack", progress=lambda what, *_: what == "transcoding" and stop()
        )
    assert not list(tmp_path.glob("pack*"))
    (tmp_path / "pack").mkdir()
    with pytest.raises(FileExistsError, match="exists already"):
        transcode([tmp_path / "data"], tmp_path / "pack")
