"""The files of examples/ are short, and do what they say."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image

import tweenlet
from tweenlet import video

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples"
CLIP = ROOT / "tests/assets/learning-area-elf.mp4"
SCRIPTS = sorted(path for path in EXAMPLES.iterdir() if path.suffix in (".py", ".sh"))


def run(*command: str | Path) -> str:
    """What a command prints; the test fails with its words if it does."""
    done = subprocess.run(
        [*map(str, command)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    (tmp_path / "clips").mkdir()
    shutil.copy(CLIP, tmp_path / "clips")
    return tmp_path / "clips"


@pytest.fixture
def frames() -> list[np.ndarray]:
    """The frames of the clip, (H, W, 3) of 8 bits."""
    with video.read(CLIP) as reader:
        return [np.rint(frame.rgb().transpose(1, 2, 0) * 255).astype(np.uint8) for frame in reader]


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_an_example_is_short_and_says_how_it_is_called(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) < 40
    assert f"examples/{path.name}" in text
    assert f"]({path.name})" in (EXAMPLES / "README.md").read_text()


@pytest.mark.long
def test_arrays(tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"
    assert "16 frames became 31" in run(sys.executable, EXAMPLES / "interpolate_arrays.py", out)
    with av.open(str(out)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 24


@pytest.mark.long
def test_compression(tmp_path: Path) -> None:
    said = run(sys.executable, EXAMPLES / "compress_network.py", CLIP.parent, tmp_path / "out", "2", "64")
    count = int(said.splitlines()[-1].split()[0].replace(",", ""))
    whole = tweenlet.load("default")
    assert count <= sum(parameter.numel() for parameter in whole.parameters()) / 2
    assert (tmp_path / "out/report.html").exists()


@pytest.mark.long
def test_distillation_from_frames(clips: Path, tmp_path: Path, frames: list[np.ndarray]) -> None:
    folder = tmp_path / "frames" / CLIP.stem
    folder.mkdir(parents=True)
    for n in range(3, len(frames) - 3):
        mean = (frames[n - 1].astype(int) + frames[n + 1]) // 2
        Image.fromarray(mean.astype(np.uint8)).save(folder / f"{n}.png")
    command = tmp_path / "bin" / "tweenlet"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m tweenlet "$@"\n')
    command.chmod(0o755)
    options = (
        "--steps 2 --warmup 1 --batch 2 --crop 64 --recipe.samples 8 --recipe.validation 2 --recipe.crop 64"
    )
    text = run(
        "env", f"PATH={command.parent}:{os.environ['PATH']}", EXAMPLES / "distil_from_frames.sh",
        clips, folder.parent, tmp_path / "out", *options.split(),
    )  # fmt: skip
    assert "GMAC at 480p" in text
    assert (tmp_path / "out/model.safetensors").exists()


@pytest.mark.long
def test_evaluation(clips: Path) -> None:
    said = run(sys.executable, EXAMPLES / "evaluate_clips.py", clips, "1/20")
    assert all(name in said for name in ("default", "dis", "blend", "PSNR"))


@pytest.mark.long
@pytest.mark.optional
def test_onnx_without_tweenlet(tmp_path: Path, frames: list[np.ndarray]) -> None:
    for package in ("onnxscript", "onnxruntime"):
        pytest.importorskip(package, reason="the extra onnx is not installed")
    crops = [frame[:64, :128] for frame in frames[::6][:4]]
    paths = [tmp_path / f"{k}.png" for k in range(4)]
    for path, crop in zip(paths, crops, strict=True):
        Image.fromarray(crop).save(path)
    network, out = tmp_path / "default.onnx", tmp_path / "out.png"
    run(sys.executable, "-m", "tweenlet", "export", "default", network, "--size", "128x64")
    run(sys.executable, EXAMPLES / "onnx_without_tweenlet.py", network, out, "0.5", *paths)
    window = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2)[None] / 255
    with torch.inference_mode():
        expected = tweenlet.load("default")(window)[0].clamp(0, 1).permute(1, 2, 0).numpy() * 255
    assert np.abs(np.asarray(Image.open(out)).astype(float) - expected).max() < 1


@pytest.mark.long
def test_the_notebook_runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    cells = json.loads((EXAMPLES / "tour.ipynb").read_text())["cells"]
    assert not any(cell.get("outputs") for cell in cells)
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    exec(compile(code, "tour.ipynb", "exec"), {})
    words = capsys.readouterr().out.split()
    assert float(words[1]) > float(words[4])
