"""The command line, in this process: what it writes, what it says, and how it fails."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from torch import nn

import tweenlet
from tweenlet import video
from tweenlet.cli import main
from tweenlet.inference import engines
from tweenlet.network import checkpoint as weights
from tweenlet.network import official

N, HEIGHT, WIDTH = 7, 36, 52


class Blend(nn.Module):
    stride = 16

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        return (frames[:, 1] + frames[:, 2]) / 2


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The command line finds a blend for its default weights, and runs in tmp_path."""
    load = weights.load
    monkeypatch.setattr(
        weights, "load", lambda name, device="cpu": Blend() if name == "default" else load(name, device)
    )
    monkeypatch.chdir(tmp_path)


def pictures(n: int = N) -> list[np.ndarray]:
    x, y = np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT))
    bars = [np.stack([np.sin((x + 2 * i) / 9), np.cos(y / 7), np.sin((x + y - i) / 11)]) for i in range(n)]
    return [(0.5 + 0.4 * bar).astype(np.float32) for bar in bars]


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    (tmp_path / "frames").mkdir()
    paths = [tmp_path / "frames" / f"{i:03d}.png" for i in range(N)]
    for path, picture in zip(paths, pictures(), strict=True):
        video.images.ImageEncoder(".png", 8).write(picture, path)
    return paths


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Seven frames of video at 25/s with a beep."""
    path = tmp_path / "clip.mp4"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=25, options={"crf": "10"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        sound = out.add_stream("aac", rate=48000)
        for picture in pictures():
            frame = av.VideoFrame.from_ndarray(
                np.ascontiguousarray(picture.transpose(1, 2, 0) * 255).astype(np.uint8)
            )
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
        tone = np.sin(np.arange(48000 * N // 25, dtype=np.float32) / 20)[None]
        heard = av.AudioFrame.from_ndarray(tone, format="fltp", layout="mono")
        heard.sample_rate = 48000
        out.mux(sound.encode(heard))
        out.mux(sound.encode(None))
    return path


def run(*arguments: str | Path) -> int:
    try:
        main([str(a) for a in arguments])
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def frames_of(path: str | Path) -> list[video.Frame]:
    with video.read(path) as reader:
        return list(reader)


def packets(path: Path, kind: str) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(p) for p in container.demux(getattr(container.streams, kind)) if p.size]


def test_a_video_gets_twice_the_frames_and_keeps_its_sound(
    clip: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("interpolate", clip) == 0
    out = clip.with_name("clip.2x.mp4")
    assert f"{out}: 7 frames at 25/s became 13 at 50/s" in capsys.readouterr().out
    before, after = frames_of(clip), frames_of(out)
    assert [f.time for f in after] == [Fraction(i, 50) for i in range(13)]
    for old, new in zip(before, after[::2], strict=True):
        assert np.abs(old.rgb() - new.rgb()).mean() < 0.02
    assert packets(out, "audio") == packets(clip, "audio")


def test_auto_tells_which_engine_it_chose(clip: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr(engines, "recall", lambda key: "eager")
    assert run("interpolate", clip, "--engine", "auto") == 0
    assert capsys.readouterr().out.rstrip().endswith("; engine: eager")


def test_brightness_does_not_flicker(clip: Path) -> None:
    assert run("interpolate", clip, "lossless.mkv") == 0
    light = [float(f.rgb().mean()) for f in frames_of("lossless.mkv")]
    expected = np.interp(np.arange(13) / 2, np.arange(7), light[::2])
    np.testing.assert_allclose(light, expected, atol=0.002)


@pytest.mark.parametrize(
    ("option", "value", "out", "frames", "last"),
    [
        ("--factor", 4, "clip.4x.mp4", 25, 0.24),
        ("--fps", 60, "clip.60fps.mp4", 16, 0.25),
        ("--fps", "60000/1001", "clip.60000_1001fps.mp4", 16, 0.25),
        ("--slow", 4, "clip.slow4.mp4", 25, 0.96),
        ("--slow", 3, "clip.slow3.mp4", 19, 0.72),
        ("--slow", 2.5, "clip.slow2_5.mp4", 16, 0.6),
        ("--factor", 3, "clip.3x.mp4", 19, 0.24),
    ],
)
def test_rates_and_slow_motion(
    clip: Path, option: str, value: object, out: str, frames: int, last: float
) -> None:
    assert run("interpolate", clip, option, str(value)) == 0
    shown = frames_of(out)
    assert len(shown) == frames
    assert float(shown[-1].time) == pytest.approx(last, abs=0.001)
    assert len({round(float(frame.duration), 4) for frame in shown}) == 1
    with av.open(out) as container:
        assert len(container.streams.audio) == 1


def test_a_kind_of_file_that_is_not_written_becomes_mkv(clip: Path) -> None:
    with av.open("old.avi", "w") as out:
        stream = out.add_stream("mpeg4", rate=25)
        stream.width, stream.height = WIDTH, HEIGHT
        for frame in frames_of(clip):
            out.mux(stream.encode(frame.picture.reformat(format="yuv420p")))
        out.mux(stream.encode(None))
    assert run("interpolate", "old.avi") == 0
    assert len(frames_of("old.2x.mkv")) == 13


def test_folders_globs_lists_and_pairs_of_images(
    images: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = images[0].parent
    assert run("interpolate", folder) == 0
    assert len(frames_of(f"{folder}-2x")) == 13
    assert run("interpolate", folder / "*.png", "a.mp4", "--rate", 10) == 0
    assert frames_of("a.mp4")[1].time == Fraction(1, 20)
    assert run("interpolate", *images[:4], "b") == 0
    assert len(frames_of("b")) == 7
    capsys.readouterr()
    assert run("interpolate", *images[:2]) == 0
    between = folder / "000.between.png"
    assert capsys.readouterr().out.strip() == str(between)
    a, made, b = (frames_of([p])[0].rgb() for p in (images[0], between, images[1]))
    np.testing.assert_allclose(made, (a + b) / 2, atol=0.003)
    capsys.readouterr()
    assert run("interpolate", *images[:2], "m.png", "--factor", 4, "--json") == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary == {"event": "summary", "outputs": ["m.1.png", "m.2.png", "m.3.png"]}
    assert [Path(f"m.{k}.png").exists() for k in range(5)] == [False, True, True, True, False]


def test_a_damaged_video_is_written_told_and_ends_with_3(
    clip: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _damaged(clip)
    assert run("interpolate", clip) == 3
    said = capsys.readouterr()
    assert "; damaged 0.08-0.28 s" in said.out
    assert "tweenlet: warning: damaged from 0.08 s to 0.28 s" in said.err
    assert len(frames_of("clip.2x.mp4")) == 13
    assert run("interpolate", clip, "--overwrite", "--json") == 3
    *told, summary = map(json.loads, capsys.readouterr().out.splitlines())
    assert [line["event"] for line in told] == ["warning"]
    assert summary["output"] == "clip.2x.mp4" or summary["output"] == str(clip.with_name("clip.2x.mp4"))
    assert (summary["frames_in"], summary["frames_out"], summary["rate_out"]) == (7, 13, 50)
    [warning] = summary["warnings"]
    assert (warning["kind"], warning["start"]) == ("damaged", 0.08)
    assert warning["end"] == pytest.approx(0.28)


@pytest.mark.filterwarnings("default")
def test_json_names_what_is_left_out(clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with av.open("odd.mkv", "w") as out, av.open(str(clip)) as source:
        stream = out.add_stream_from_template(source.streams.video[0])
        text = out.add_mux_stream("dvd_subtitle")
        text.time_base = Fraction(1, 1000)
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                out.mux(packet)
        words = av.Packet(bytes(8))
        words.stream, words.time_base, words.pts, words.dts, words.duration = text, Fraction(1, 1000), 9, 9, 9
        out.mux(words)
    assert run("interpolate", "odd.mkv", "odd.webm", "--json") == 0
    summary = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert any("subtitle" in warning["message"] for warning in summary["warnings"])


def test_names_of_all_kinds(clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("Title [dQw4w9WgXcQ].mp4", "what?.mp4", "12:30.mp4", os.fsdecode(b"caf\xe9.mp4")):
        path = Path(name)
        path.write_bytes(clip.read_bytes())
        assert run("interpolate", name) == 0
        assert len(frames_of(path.with_stem(f"{path.stem}.2x"))) == 13
    Path("-dash.mp4").write_bytes(clip.read_bytes())
    assert run("interpolate", "--", "-dash.mp4") == 0
    assert run("interpolate", "--slow", 2, "--", "-dash.mp4", "-slow.mp4") == 0
    assert len(frames_of("-slow.mp4")) == 13
    assert run("interpolate", "-dash.mp4") == 2


@pytest.mark.slow
def test_y4m_pipes(clip: Path) -> None:
    assert run("interpolate", clip, "clip.y4m") == 0
    script = (
        "from tests.test_cli import Blend; from tweenlet import cli; "
        "from tweenlet.network import checkpoint; "
        "checkpoint.load = lambda *_, **__: Blend(); cli.main(['interpolate', '-', '--quiet'])"
    )
    root = Path(__file__).parent.parent
    done = subprocess.run(
        [sys.executable, "-c", script], input=Path("clip.y4m").read_bytes(), capture_output=True, check=False,
        env={**os.environ, "PYTHONPATH": str(root)}, timeout=120,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")
    Path("out.y4m").write_bytes(done.stdout)
    assert len(frames_of("out.y4m")) == 25


def _truncated(clip: Path) -> Path:
    clip.write_bytes(clip.read_bytes()[:-800])
    return clip


def _damaged(clip: Path) -> Path:
    """The third of seven pictures overwritten, those after it resting on it."""
    with av.open(str(clip)) as container:
        position, size = [(p.pos, p.size) for p in container.demux(video=0) if p.size][3]
    data = bytearray(clip.read_bytes())
    data[position + size // 3 : position + size] = bytes(size - size // 3)
    clip.write_bytes(data)
    return clip


def _no_video(clip: Path) -> Path:
    clip.with_name("notes.mp4").write_text("Buy milk. " * 100)
    return clip.with_name("notes.mp4")


def _resized(clip: Path) -> Path:
    folder = clip.parent / "mixed"
    folder.mkdir()
    for i, picture in enumerate(pictures(4)):
        video.images.ImageEncoder(".png", 8).write(picture[:, : HEIGHT - i // 2 * 4], folder / f"{i}.png")
    return folder


def _single(clip: Path) -> Path:
    folder = clip.parent / "single"
    folder.mkdir()
    video.images.ImageEncoder(".png", 8).write(pictures(1)[0], folder / "0.png")
    return folder


def _empty(clip: Path) -> Path:
    (clip.parent / "empty").mkdir()
    return clip.parent / "empty"


BAD = {
    "missing": (lambda clip: clip.with_name("none.mp4"), [], "no such file"),
    "no video": (_no_video, [], "not a video"),
    "truncated": (_truncated, [], "cut short"),
    "damaged, strict": (_damaged, ["--strict"], "is damaged from 0.08 s"),
    "no such stream": (lambda clip: clip, ["--stream", "1"], "has no video stream 1"),
    "no frames": (_empty, ["out.mp4"], "no images"),
    "one frame": (_single, ["out.mp4"], "expected two frames or more, got 1"),
    "size changes": (_resized, ["out.mp4"], "52x32"),
    "existing": (lambda clip: clip.with_name("clip.2x.mp4").write_text("mine") and clip, [], "--overwrite"),
    "no folder": (lambda clip: clip, ["nowhere/out.mp4"], "does not exist"),
    "foreign kind": (lambda clip: clip, ["out.docx"], ".docx"),
    "unknown model": (lambda clip: clip, ["--model", "giant"], "default"),
    "corrupt model": (lambda clip: clip, ["--model", "clip.mp4"], "not a valid safetensors file"),
    "large factor": (
        lambda clip: clip,
        ["--factor", "9"],
        "max_recursion 3 gives 8 times as many frames at most",
    ),
    "no factor": (
        lambda clip: clip,
        ["--factor", "0"],
        "expected a factor of 2 or more, a whole number, got 0",
    ),
    "slower": (lambda clip: clip, ["--fps", "20", "--keep-frames"], "25 frames per second"),
    "no rate": (lambda clip: clip, ["--fps", "fast"], "expected a frame rate"),
    "no depth": (
        lambda clip: clip,
        ["--fps", "60", "--max-recursion", "0"],
        "expected a max_recursion from 1 to 8",
    ),
    "endless rate": (lambda clip: clip, ["--fps", "1e99999999"], "expected a frame rate"),
    "beyond depth": (
        lambda clip: clip,
        ["--fps", "1e5"],
        "max_recursion 3 gives 8 times as many frames at most",
    ),
    "unknown device": (lambda clip: clip, ["--device", "abacus"], "device abacus cannot be used"),
    "unknown engine": (
        lambda clip: clip,
        ["--engine", "steam"],
        "expected an engine of eager, cudagraph, compile",
    ),
    "flow scale": (
        lambda clip: clip,
        ["--flow-scale", "0.3"],
        'expected a flow scale of "auto", 1, 0.5, 0.25; got 0.3',
    ),
    "no device": (lambda clip: clip, ["--device", "meta"], "device meta cannot be used"),
    "pair and fps": (lambda clip: _resized(clip) / "0.png", ["mixed/1.png", "--fps", "60"], "say --factor"),
    "pair of sizes": (lambda clip: _resized(clip) / "0.png", ["mixed/3.png", "x.png"], "52x32"),
    "pair, no folder": (lambda clip: _resized(clip) / "0.png", ["mixed/1.png", "no/x.png"], "does not exist"),
    "pair onto itself": (
        lambda clip: _resized(clip) / "0.png",
        ["mixed/1.png", "mixed/0.png", "--overwrite"],
        "is the input itself",
    ),
    "full disk": (lambda clip: clip, ["/dev/full/out.mp4"], "/dev/full"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_gets_one_line_and_leaves_nothing(
    case: str, clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make, arguments, message = BAD[case]
    source = make(clip)
    before = sorted((p, p.stat().st_size) for p in tmp_path.rglob("*"))
    assert run("interpolate", source, *arguments) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("tweenlet: ")
    assert printed.err.count("\n") == 1
    assert message in printed.err
    assert sorted((p, p.stat().st_size) for p in tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("budgets", "code", "message"),
    [
        ("--params 1M --macs 2G", 2, "Mutually exclusive arguments: {--params, --macs}"),
        ("--params 1M 2M", 1, "expected one budget, got 1M, 2M"),
        ("--ms 0", 1, "expected ms such as"),
    ],
)
def test_compact_takes_one_budget(
    budgets: str, code: int, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("compact", "default", "--out", tmp_path / "out.safetensors", *budgets.split()) == code
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["interpolate"],
        ["interpolate", "x", "--colour"],
        ["interpolate", "x", "--factor", "two"],
        ["interpolate", "x", "--factor", "2.5"],
        ["interpolate", "x", ""],
        ["interpolate", "x", "--factor", "2", "--fps", "60"],
        ["improve"],
    ],
)
def test_a_command_not_understood_is_code_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*arguments) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_ctrl_c_is_code_130_and_leaves_nothing(clip: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    calls = 0

    def interrupted(self: Blend, frames: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt
        return frames[:, 1]

    monkeypatch.setattr(Blend, "forward", interrupted)
    assert run("interpolate", clip) == 130
    assert capsys.readouterr().err == "tweenlet: stopped\n"
    assert list(clip.parent.iterdir()) == [clip]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGXCPU])
def test_a_signal_is_its_code_and_leaves_nothing(
    number: signal.Signals, clip: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    def ended(self: Blend, frames: torch.Tensor) -> torch.Tensor:
        try:
            signal.raise_signal(number)
        finally:
            signal.raise_signal(signal.SIGTERM)  # a second one at once does not disturb the end
        return frames[:, 1]

    monkeypatch.setattr(Blend, "forward", ended)
    before = signal.signal(number, signal.SIG_DFL)  # in the background a shell has some ignored
    try:
        assert run("interpolate", clip) == 128 + number
    finally:
        signal.signal(number, before)
    assert capsys.readouterr().err == "tweenlet: stopped\n"
    assert list(clip.parent.iterdir()) == [clip]


def test_a_signal_that_is_ignored_stays_so(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def hung_up(self: Blend, frames: torch.Tensor) -> torch.Tensor:
        signal.raise_signal(signal.SIGHUP)
        return frames[:, 1]

    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        monkeypatch.setattr(Blend, "forward", hung_up)
        assert run("interpolate", clip) == 0
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("factor", [2, 4])
def test_images_between_two_appear_all_or_none(
    factor: int, images: list[Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write, written = video.images.ImageEncoder.write, []

    def full(
        self: video.images.ImageEncoder, picture: np.ndarray, target: Path, like: list[video.Frame]
    ) -> None:
        write(self, picture, target, like)
        written.append(target)
        if len(written) == factor - 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(video.images.ImageEncoder, "write", full)
    before = sorted(Path().rglob("*"))
    assert run("interpolate", *images[:2], "m.png", "--factor", str(factor)) == 1
    assert "No space left on device" in capsys.readouterr().err
    assert len(written) == factor - 1
    assert sorted(Path().rglob("*")) == before


def test_help_does_not_wait_for_torch() -> None:
    script = "import sys, tweenlet.cli; assert not {'torch', 'av', 'cv2'} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


@pytest.mark.slow
def test_models_are_listed_with_what_is_known_of_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scores = {"psnr": 30.125, "seconds": 0.5, "benchmark": "nine clips", "machine": "a machine"}
    notes = {"license": "MIT", "teacher": "a larger one", "scores": json.dumps(scores)}
    path = tmp_path / "a.safetensors"
    tweenlet.save(path, tweenlet.STMFNet(tweenlet.MINI), notes)
    assert run("models", str(path)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("model  ")
    assert lines[1].endswith("30.12      0.500  MIT")
    assert lines[2:] == [f"{path}: teacher: a larger one", "measured: nine clips, a machine"]
    assert run("models", "nothing") == 1


@pytest.mark.slow
def test_convert_writes_what_load_reads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    model = tweenlet.STMFNet(tweenlet.MINI)
    torch.save({"state_dict": official.to_official(model)}, "published.pth")
    assert run("convert", "published.pth", "mini.safetensors") == 0
    assert "1,822,162 parameters" in capsys.readouterr().out
    assert weights.load(tmp_path / "mini.safetensors", "cpu").config == tweenlet.MINI
    assert run("convert", "published.pth", "mini.safetensors") == 1
    assert run("convert", "mini.safetensors", "other.safetensors") == 1
    assert not Path("other.safetensors").exists()
    assert capsys.readouterr().err.count("\n") == 2


@pytest.mark.slow
def test_cost_is_a_table_with_a_sum(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("cost", "mini", "--size", "256x256", "--official") == 0
    *_, last = capsys.readouterr().out.splitlines()
    assert last.split() == ["all", "1,822,162", "49.45", "G", "run", "at", "256x256"]
    assert run("cost", "mini", "--size", "big") == 1
    assert run("cost", "maxi") == 1
    assert capsys.readouterr().err.count("\n") == 2


def test_evaluate_prints_a_table_and_writes_a_report(
    clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ("evaluate", "blend", "dis", "--benchmark", f"clips:{clip}", "--out", "scores", "--published")
    assert run(*line) == 0
    text = capsys.readouterr().out
    assert "| blend" in text
    assert "| dis" in text
    assert "There are no published results for clips1." in text
    folder = tmp_path / "scores" / "clips1"
    assert {file.name for file in folder.iterdir()} == {
        ".tweenlet", "report.html", "report.json", "report.md", "scores.jsonl",
    }  # fmt: skip
    first = json.loads((folder / "report.json").read_text())
    assert first["means"]["dis"]["psnr"] > 10
    assert (folder / "report.md").read_text() in text
    assert run(*line) == 0  # nothing is scored again, so the times are the same
    assert json.loads((folder / "report.json").read_text()) == first
    capsys.readouterr()
    assert run("evaluate", "blend", "--benchmark", f"clips:{clip}", "--out", "scores") == 1
    assert "holds another run" in capsys.readouterr().err
    assert run("evaluate", "blend", "--benchmark", f"clips:{clip}", "--out", "scores", "--overwrite") == 0


def test_evaluate_says_what_is_wrong_before_it_runs(clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    on = ("--benchmark", f"clips:{clip}")
    for words, message in (
        (("blend", "--benchmark", "clips:nowhere"), "nowhere"),
        (("blend", *on, "--benchmark", "davis:nowhere"), "nowhere"),
        (("blend", "--benchmark", "somewhere"), "expected a benchmark"),
        (("giant", *on), "giant"),
        (("blend", *on, "--metrics", "psnr", "beauty"), "expected a metric of psnr, detail"),
        (("blend", *on, "--metrics", "lpips"), "lpips needs the weights"),
        (("blend", *on, "--baseline", "other=cp {1} out.png"), "needs the place of its output, {out}"),
    ):
        assert run("evaluate", *words) == 1
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1


def test_peers_and_several_benchmarks_in_one_run(clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = (
        "--benchmark",
        f"clips:{clip}",
        f"clips:{clip.parent}",
        "--baseline",
        "copy=cp {1} {out}",
        "--metrics",
        "ssim",
    )
    assert run("evaluate", "middle=blend", *words) == 0
    text = capsys.readouterr().out
    assert text.count("**clips1**: mean of 1 sample in 1 sequence") == 2
    assert text.count("| copy ") == 4
    assert "PSNR" not in text


def test_the_help_knows_every_kind_and_metric(capsys: pytest.CaptureFixture[str]) -> None:
    from tweenlet.evaluation.benchmarks import KINDS
    from tweenlet.evaluation.catalogue import ASKED

    run("evaluate", "--help")
    words = capsys.readouterr().out.replace("│", " ").split()
    said = {word.strip(",.;:") for word in words}
    assert {name.removeprefix("snufilm") for name in KINDS} - {"clips"} <= said | {"-easy"}
    assert set(ASKED) <= said


def test_judge_says_which_is_best_and_writes_a_page(
    clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("compare", clip, "--model", "default") == 0
    said = capsys.readouterr().out
    assert "| default " in said
    assert "frame 3 (0.12 s)" in said
    page = (tmp_path / "clip.compare.html").read_text()
    assert "Which is best on clip.mp4?" in page
    assert run("compare", clip) == 1
    assert "--overwrite" in capsys.readouterr().err
    assert run("compare", "nowhere.mp4") == 1
    assert "nowhere.mp4" in capsys.readouterr().err


def test_options_that_are_not_said_keep_the_defaults_of_their_stage():
    from tweenlet.cli import app
    from tweenlet.training.options import DistillOptions, SparsifyOptions

    _, bound, _ = app.parse_args("compress t a -o o --sparsify.warmup 3 --distill.loss.charbonnier 2")
    plan = bound.arguments["plan"]
    assert plan.sparsify == SparsifyOptions(warmup=3)
    assert plan.distill == DistillOptions(loss={"charbonnier": 2.0})
    _, bound, _ = app.parse_args("sparsify t a --warmup 3")
    assert bound.arguments["options"] == SparsifyOptions(warmup=3)


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["judge", "clip.mp4"], "judge is now compare"),
        (["pack", "clips", "--out", "x"], "pack is now transcode"),
        (["train", "mini", "clips", "--average", "0.9"], "--average is now --ema-decay"),
        (["distill", "mini", "--confident"], "--confident is now --filter-teacher"),
        (["compress", "a", "--on", "clips:x"], "--on is now --benchmark"),
        (["compress", "a", "--distill.hold=0.1"], "--distill.hold is now --distill.plateau"),
        (["evaluate", "blend", "--on", "clips:x"], "--on is now --benchmark"),
        (["evaluate", "blend", "--part=1/3"], "--part is now --subset"),
        (["evaluate", "blend", "--peer", "a=b.py:c"], "--peer is now --baseline"),
        (["interpolate", "clip.mp4", "--depth", "4"], "--depth is now --max-recursion"),
    ],
)
def test_an_old_flag_answers_with_the_new_one(
    words: list[str], answer: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main(words)
    assert end.value.code == 2
    assert answer in capsys.readouterr().err


def test_an_old_flag_after_two_dashes_is_a_name(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["interpolate", "--", "--depth"])
    assert "is now" not in capsys.readouterr().err
