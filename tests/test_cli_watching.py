"""The command line over several videos, from settings, watched by people and machines."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from tweenlet import video
from tweenlet.cli import app, interpolate_paths, main, progress
from tweenlet.network import checkpoint as weights


class Blend(nn.Module):
    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        return (frames[:, 1] + frames[:, 2]) / 2


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(weights, "load", lambda name, device="cpu": Blend())
    monkeypatch.chdir(tmp_path)


def clip(name: str, count: int = 4, cut: int | None = None, hold: bool = False, width: int = 64) -> Path:
    with av.open(name, "w") as output:
        stream = output.add_stream("libx264", 10, {"crf": "4"})
        stream.width, stream.height, stream.pix_fmt = width, 48, "yuv420p"
        x, y = np.meshgrid(np.arange(width), np.arange(48))
        for number in range(count):
            place = number // 2 * 2 if hold else number
            wave = np.sin((x + 2 * place) / 5) * np.cos(y / 6)
            if cut is not None and number >= cut:
                wave = np.sign(np.sin(y / 3 + place) * np.cos(x / 9)) * 0.9 + 0.1
            picture = np.repeat((128 + 100 * wave).clip(0, 255).astype(np.uint8)[..., None], 3, 2)
            output.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        output.mux(stream.encode(None))
    return Path(name)


def run(*arguments: str | Path) -> int:
    try:
        main([str(a) for a in arguments])
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def count(path: str) -> int:
    with video.read(path) as reader:
        return sum(1 for _ in reader)


def test_many_videos_one_broken_and_what_is_done_is_not_done_again(capsys) -> None:
    clip("a.mp4")
    clip("b.mkv")
    Path("broken.mp4").write_text("no video at all " * 40)
    assert run("interpolate", "a.mp4", "b.mkv", "broken.mp4", "--out-dir", "out") == 1
    said = capsys.readouterr()
    assert said.out.splitlines()[-1] == "3 videos: 2 done, 1 failed"
    assert "tweenlet: broken.mp4 is not a video" in said.err
    assert (count("out/a.mp4"), count("out/b.mkv")) == (7, 7)
    before = Path("out/a.mp4").stat().st_mtime_ns
    Path("broken.mp4").unlink()
    clip("c.avi".replace("avi", "mov"))
    assert run("interpolate", "*.m*", "--out-dir", "out", "--json") == 0
    batch = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (batch["event"], batch["done"], batch["skipped"]) == ("batch", 1, 2)
    assert Path("out/a.mp4").stat().st_mtime_ns == before


def test_a_batch_never_calls_its_own_sources_done(capsys) -> None:
    clip("a.mkv")
    assert run("interpolate", "a.mkv", "--out-dir", ".") == 1
    told = capsys.readouterr()
    assert told.out.splitlines()[-1] == "1 videos: 1 failed"
    assert "the output a.mkv is the input itself" in told.err
    assert count("a.mkv") == 4


def test_addresses_and_pipes_have_names_of_files() -> None:
    address = "http://127.0.0.1:1/some/holiday.mp4?token=secret"
    assert list(interpolate_paths.expand([address])) == [address]
    assert interpolate_paths.name_in(Path("out"), address, "") == Path("out/holiday.mp4")
    assert interpolate_paths.name_in(Path("out"), "http://host/a%20b.mkv", "") == Path("out/a b.mkv")
    assert interpolate_paths.name_in(Path("out"), "http://host/", "") == Path("out/host.mkv")
    assert interpolate_paths.name_in(Path("out"), "-", "") == Path("out/stdin.mkv")
    with pytest.raises(
        ValueError, match=r"only IN may be a URL, with OUT on this machine \(or --out-dir\); got http"
    ):
        interpolate_paths.find_target([address, address], "2x")


def test_a_video_too_large_for_the_memory_does_not_stop_the_rest(capsys, monkeypatch) -> None:
    class Large(Blend):
        def forward(self, frames: torch.Tensor) -> torch.Tensor:
            if frames.shape[-1] > 64:
                raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory\nat alloc.cpp")
            return super().forward(frames)

    monkeypatch.setattr(weights, "load", lambda name, device="cpu": Large())
    clip("a.mp4", width=96)
    clip("b.mkv")
    assert run("interpolate", "a.mp4", "b.mkv", "--out-dir", "out") == 1
    told = capsys.readouterr()
    assert told.out.splitlines()[-1] == "2 videos: 1 done, 1 failed"
    assert "tweenlet: a.mp4: not enough memory: [enforce fail]" in told.err


def test_between_two_images_options_of_videos_are_named(capsys) -> None:
    for name in ("a.png", "b.png"):
        Image.new("RGB", (64, 48)).save(name)
    assert run("interpolate", "a.png", "b.png", "c.png", "--crf", "20", "-y", "--no-cuts") == 0
    assert "between two images, no use is made of --crf, --cuts" in capsys.readouterr().err


def test_videos_of_one_name_are_refused(capsys) -> None:
    Path("x").mkdir()
    clip("a.mp4")
    clip("x/a.mp4")
    assert run("interpolate", "a.mp4", "x/a.mp4", "--out-dir", "out") == 1
    assert "several INs would be written as a.mp4" in capsys.readouterr().err
    assert not Path("out").exists()


def test_options_are_saved_found_again_and_typed_ones_win(capsys) -> None:
    clip("a.mp4")
    Path("tweenlet.toml").write_text("[train]\nsteps = 5\n")
    typed = ["--fps", "40", "--codec", "ffv1", "--no-cuts", "-y", "--save-config"]
    assert run("interpolate", "a.mp4", "b.mkv", *typed) == 0
    saved = Path("tweenlet.toml").read_text()
    Path("tweenlet.toml").write_bytes(b"\xef\xbb\xbf" + saved.replace("\n", "\r\n").encode())  # as in Notepad
    assert saved == '[train]\nsteps = 5\n\n[interpolate]\nfps = "40"\ncodec = "ffv1"\ncuts = false\n'
    assert run("interpolate", "a.mp4", "c.mkv") == 0
    assert (count("b.mkv"), count("c.mkv")) == (13, 13)
    assert run("interpolate", "a.mp4", "d.mp4", "--factor", "3", "--codec", "h264") == 0
    assert count("d.mp4") == 10
    Path("tweenlet.toml").write_text("[interpolate]\nloop = false\nquiet = true\ncuts = true\n")
    capsys.readouterr()
    assert run("interpolate", "a.mp4", "e.mp4") == 0
    assert capsys.readouterr() == ("", "")
    Path("tweenlet.toml").write_text("[interpolate\n")
    assert run("interpolate", "a.mp4", "e.mkv") == 1
    assert "tweenlet.toml cannot be read" in capsys.readouterr().err
    Path("tweenlet.toml").write_text("[interpolate]\nfasp = 3\n")
    assert run("interpolate", "a.mp4", "e.mkv") == 2
    assert "fasp" in capsys.readouterr().err


def test_the_words_of_ffmpeg_are_understood() -> None:
    clip("a.mp4")
    clip("b.mp4")
    assert run("interpolate", "-i", "a.mp4", "-r", "30", "-y", "-o", "b.mp4") == 0
    assert count("b.mp4") == 10


def test_the_nearest_option_is_named(capsys) -> None:
    for wrong, right in (("--facter", "--factor"), ("--speeed", "--speed"), ("-crf", "--crf")):
        assert run("interpolate", "a.mp4", wrong, "2") == 2
        assert f"tweenlet: Unknown option: {wrong}. Did you mean {right}?" in capsys.readouterr().err
    assert run("--hlp") == 2
    assert "tweenlet: Unknown option: --hlp. Did you mean --help?" in capsys.readouterr().err


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash completes")
def test_bash_completes_verbs_options_choices_and_leaves_paths_to_bash() -> None:
    Path("complete.sh").write_text(app.generate_completion(shell="bash"))

    def complete(*words: str) -> list[str]:
        line = f"source complete.sh; COMP_WORDS=({shlex.join(words)}); COMP_CWORD={len(words) - 1}; "
        line += '_tweenlet; printf "%s\\n" "${COMPREPLY[@]}"'
        done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=True)
        return done.stdout.split()

    assert complete("tweenlet", "interp") == ["interpolate"]
    assert complete("tweenlet", "interpolate", "--cod") == ["--codec"]
    assert complete("tweenlet", "interpolate", "--codec", "pr") == ["prores"]
    assert complete("tweenlet", "interpolate", "complete") == []
    rule = subprocess.run(["bash", "-c", "source complete.sh; complete -p tweenlet"], capture_output=True)
    assert b"-o default" in rule.stdout


@pytest.mark.slow
def test_zsh_completes_paths() -> None:
    script = app.generate_completion(shell="zsh")
    verb = script.partition("        interpolate)")[2]
    assert re.search(r"'1:A video, a folder of frames.*:_files'", verb)


def test_without_a_terminal_there_is_a_line_from_time_to_time(monkeypatch, capsys) -> None:
    monkeypatch.setattr(progress, "LINE_EVERY", 0.0)
    clip("a.mp4")
    assert run("interpolate", "a.mp4", "b.mp4") == 0
    said = capsys.readouterr()
    first, *_, last = said.err.splitlines()
    assert first.startswith("tweenlet: b.mp4: 1 of 7 frames, at 0:00:00.00, ")
    assert last.startswith("tweenlet: b.mp4: 7 of 7 frames, at 0:00:00.30, ")
    assert last.endswith(", 0:00:00 left")
    assert run("interpolate", "a.mp4", "c.mp4", "--json") == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["event"] for line in lines] == ["progress"] * 7 + ["summary"]
    assert [line["frames"] for line in lines[:7]] == list(range(1, 8))
    assert lines[3]["total"] == 7
    assert run("interpolate", "a.mp4", "d.mp4", "--quiet") == 0
    assert capsys.readouterr() == ("", "")


def test_the_preview_is_the_latest_frame() -> None:
    clip("a.mp4")
    assert run("interpolate", "a.mp4", "b.mkv", "--preview", "now.png", "--preview-every", "0") == 0
    with video.read(["now.png"]) as now, video.read("b.mkv") as out:
        *_, last = out
        assert np.abs(now.first.rgb() - last.rgb()).mean() < 0.02
    assert {path.name for path in Path().iterdir()} == {"a.mp4", "b.mkv", "now.png"}


def test_info_says_what_is_there(capsys) -> None:
    clip("held.mkv", 12, cut=6, hold=True)
    assert run("info", "held.mkv") == 0
    page = capsys.readouterr().out
    assert "64x48, h264, yuv420p (8 bits)" in page
    assert "10 frames/s, constant" in page
    assert "6 frames repeat the one before, 2 in a row at most" in page
    assert "1: 0:00:00.60" in page
    assert "--repeats smooth" in page
    assert run("info", "held.mkv", "--json", "--from", "0.2") == 0
    values = json.loads(capsys.readouterr().out)
    assert (values["frames"], values["rate"], values["tracks"]) == (10, 10.0, [])
    assert run("info", "nothing.mkv") == 1
