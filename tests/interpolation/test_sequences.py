"""tweenlet.interpolate: frames in every form that people have them in, and what comes back."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import CancelledError, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from tweenlet import Interpolator, interpolate, interpolate_video
from tweenlet.network.checkpoint import save
from tweenlet.network.config import RIFE, FlowLevel, IntermediateFlowConfig
from tweenlet.network.stmfnet import STMFNet

T, H, W = 5, 24, 32


class AnyTime(nn.Module):
    """Makes the frame at any time, the mean of both by their nearness."""

    takes_time = True

    def forward(self, frames: torch.Tensor, *, time: float | torch.Tensor) -> torch.Tensor:
        return frames[:, 1].lerp(frames[:, 2], float(time))


def ramp(channels: int = 3) -> np.ndarray:
    """Frames (T, H, W, C) in [0, 1] that get lighter by a tenth, with some texture."""
    steps = 0.1 * np.arange(T)[:, None, None, None] + 0.05 * np.arange(channels) + 0.1
    return (steps + 0.2 * np.random.default_rng(1).random((1, H, W, channels))).astype(np.float32)


def run(frames: Any, **options: Any) -> Any:
    return interpolate(frames, model=AnyTime(), cuts=False, **options)


KINDS: dict[str, Callable[[], Any]] = {
    "uint8 (T, H, W, 3)": lambda: (ramp() * 255).round().astype(np.uint8),
    "uint16 (T, H, W, 3)": lambda: (ramp() * 65535).round().astype(np.uint16),
    "float32 (T, H, W, 3)": ramp,
    "float64 (T, 3, H, W)": lambda: ramp().transpose(0, 3, 1, 2).astype(np.float64),
    "float16 tensor (T, 3, H, W)": lambda: torch.from_numpy(ramp()).permute(0, 3, 1, 2).half(),
    "bfloat16 tensor (T, 3, H, W)": lambda: torch.from_numpy(ramp()).permute(0, 3, 1, 2).bfloat16(),
    "uint8 tensor (T, 3, H, W)": lambda: (torch.from_numpy(ramp()).permute(0, 3, 1, 2) * 255).round().byte(),
    "uint8 tensor (T, H, W, 3)": lambda: (torch.from_numpy(ramp()) * 255).round().byte(),
    "gray (T, H, W)": lambda: ramp(1)[..., 0],
    "one channel (T, 1, H, W)": lambda: ramp(1).transpose(0, 3, 1, 2),
    "RGBA": lambda: (ramp(4) * 255).round().astype(np.uint8),
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_comes_out_is_of_the_kind_that_went_in(kind: str) -> None:
    frames = KINDS[kind]()
    out = run(frames, fps=10, to=25)
    assert (type(out), out.dtype, out.shape[1:]) == (type(frames), frames.dtype, frames.shape[1:])
    assert len(out) == 11
    same = torch.equal if isinstance(out, torch.Tensor) else np.array_equal
    assert all(same(out[5 * k], frames[2 * k]) for k in range(3))
    top = {"uint8": 255, "uint16": 65535}.get(str(frames.dtype).removeprefix("torch."), 1)
    means = np.array([float(frame.float().mean() if top == 1 and isinstance(frame, torch.Tensor)
                            else np.asarray(frame, np.float64).mean()) / top for frame in out])  # fmt: skip
    assert np.diff(means) == pytest.approx(0.04, abs=0.005)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
def test_images_of_pil(mode: str) -> None:
    images = [Image.fromarray((frame * 255).astype(np.uint8)).convert(mode) for frame in ramp()]
    out = run(images, factor=2)
    assert isinstance(out, list)
    assert [image.size for image in out] == [(W, H)] * 9
    assert all(out[2 * k] is images[k] for k in range(T))
    assert out[1].mode == mode
    a, b, c = (np.asarray(image.convert("RGB"), float).mean() for image in out[:3])
    assert b == pytest.approx((a + c) / 2, abs=1)


@pytest.mark.parametrize("mode", ["P", "1", "I;16", "F", "CMYK"])
def test_images_of_pil_that_cannot_be_given_back_alike_are_refused(mode: str) -> None:
    with pytest.raises(ValueError, match=f"expected PIL images of mode L, RGB, RGBA, got {mode}: image.conv"):
        run([Image.new(mode, (W, H))] * 2, factor=2)


def test_lists_tuples_and_iterators() -> None:
    frames = list(ramp()) * 8
    assert isinstance(run(tuple(frames[:3])), tuple)
    buffer = np.empty_like(frames[0])
    taken = []

    def reused():
        for number, frame in enumerate(frames):
            taken.append(number)
            buffer[:] = frame
            yield buffer

    stream = run(reused(), factor=2)
    assert next(stream).shape == (H, W, 3)
    assert len(taken) <= 6
    out = [frames[0], *stream]
    assert len(out) == 79
    for k in range(40):
        np.testing.assert_array_equal(out[2 * k], frames[k])


def test_clips_and_the_outputs_of_pipelines() -> None:
    clips = np.stack([ramp(), ramp()[::-1]])
    out = run(clips, fps=16, to=24)
    assert out.shape == (2, 7, H, W, 3)
    np.testing.assert_allclose(out[0], out[1][::-1], atol=1e-5)
    images = [[Image.fromarray((f * 255).astype(np.uint8)) for f in clip] for clip in clips]
    nested = run(SimpleNamespace(frames=images), factor=2)
    assert [len(clip) for clip in nested] == [9, 9]
    tensors = torch.from_numpy(clips).permute(0, 1, 4, 2, 3)
    assert run(SimpleNamespace(frames=tensors), factor=3).shape == (2, 13, 3, H, W)


def test_a_lower_rate_keeps_the_frames_that_it_meets() -> None:
    frames = ramp()
    out = run(frames, fps=24, to=16)
    assert len(out) == 4  # at 0, 1.5, 3 and 4.5 frames; the last one still stands then
    np.testing.assert_array_equal(out[[0, 2, 3]], frames[[0, 3, 4]])


def test_many_channels_are_made_each_as_they_would_be_alone() -> None:
    frames = ramp(7)
    out = run(frames, channels="last", factor=2)
    assert out.shape == (9, H, W, 7)
    for channel in range(7):
        np.testing.assert_allclose(out[..., channel], run(frames[..., channel], factor=2), atol=1e-6)


def test_the_default_network_takes_gray_and_opacity() -> None:
    x = np.arange(64)
    frames = np.stack([0.5 + 0.3 * np.sin((x[None] + 3 * k + x[:48, None]) / 4) for k in range(3)])
    frames = frames.astype(np.float32)
    gray = interpolate(frames, factor=2)
    rgba = np.repeat(frames[..., None], 4, -1)
    color = interpolate(rgba, factor=2)
    np.testing.assert_allclose(color[..., 0], gray, atol=2e-3)
    np.testing.assert_allclose(color[..., 3], gray, atol=2e-2)
    between = 0.5 + 0.3 * np.sin((x[None] + 1.5 + x[:48, None]) / 4)
    assert abs(gray[1] - between).mean() < abs((frames[0] + frames[1]) / 2 - between).mean()


def test_values_of_any_range_with_some_missing() -> None:
    """Radar reflectivity in dBZ, say, with NaN where there is none."""
    frames = ramp(1)[..., 0] * 80 - 32
    frames[:, :6] = np.nan
    out = run(frames, value_range=(-32, 80), missing=True, factor=2)
    assert np.isnan(out[:, :6]).all()
    assert np.isfinite(out[:, 6:]).all()
    np.testing.assert_allclose(out[1, 6:], (frames[0, 6:] + frames[1, 6:]) / 2, rtol=1e-4)
    np.testing.assert_array_equal(out[2], frames[1])
    counts = (ramp(1)[..., 0] * 4000).astype(np.int16)
    assert run(counts, value_range=(0, 4095)).dtype == np.int16


def replaced(frames: np.ndarray, value: float) -> np.ndarray:
    frames[2, 3, 3] = value
    return frames


@pytest.mark.parametrize(
    ("frames", "options", "message"),
    [
        (lambda: replaced(ramp(), np.nan), {}, "frame 2 holds NaN or infinite values"),
        (lambda: ramp() * 255, {}, r"expected frames in \[0, 1\], got values from .* scale them"),
        (lambda: [*ramp()[:2], ramp()[2, :20]], {}, r"frame 2 is \(20, 32, 3\), the frames before it are"),
        (lambda: [*ramp()[:2], Image.new("RGB", (W, H + 2))], {}, r"frame 2 is \(26, 32, 3\)"),
        (lambda: [*ramp()[:2], torch.zeros(H, W, 3)], {}, "frame 2 is a Tensor, the first is a ndarray"),
        (lambda: [(ramp()[0] * 255).astype(np.uint8), ramp()[1]], {}, "frame 1 has values of float32, the"),
        (lambda: np.ma.masked_array(ramp(), ramp() > 0.5), {}, "got a masked array"),
        (lambda: np.zeros((4, 0, 64, 3), np.uint8), {}, r"expected frames with pixels, got \(0, 64, 3\)"),
        (lambda: ramp(7), {}, "say where the channels are"),
        (lambda: ramp()[0], {}, "got one array"),
        (lambda: ramp().astype(np.int32), {}, r"got int32: say value_range=\(lowest, highest\)"),
        (lambda: ["a.png", "b.png"], {}, "got str"),
        (lambda: "in.mp4", {}, "interpolate_video"),
        (list, {}, "expected frames, got none"),
        (ramp, {"to": 24}, "expected fps and to"),
        (ramp, {"channels": "middle"}, "'first' or 'last'"),
        (ramp, {"value_range": (1, 0)}, "lowest, highest"),
    ],
)
def test_what_cannot_be_says_what_to_do(
    frames: Callable[[], Any], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        run(frames(), **options)


@pytest.mark.parametrize("factor", [np.int64(2), np.int32(2), 2.0])
def test_a_factor_is_any_whole_number(factor: Any) -> None:
    np.testing.assert_array_equal(run(ramp(), factor=factor), run(ramp(), factor=2))


@pytest.mark.parametrize("count", [2, 4])
@pytest.mark.parametrize("factor", [2, 3, 5, 8])
def test_a_cut_before_the_last_frame_costs_no_frame(count: int, factor: int) -> None:
    slides = [np.full((48, 64, 3), 60 * number, np.uint8) for number in range(count)]
    output = interpolate(slides, factor=factor, model=AnyTime())
    assert len(output) == factor * (count - 1) + 1
    assert {int(frame.mean()) for frame in output} == {60 * number for number in range(count)}
    assert len(interpolate(slides, fps=10, to=60, model=AnyTime())) == 6 * (count - 1) + 1


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("fps", [48, 60, 25, 29])
@pytest.mark.parametrize("count", [2, 3, 5])
def test_cuts_do_not_change_the_number_of_frames(tmp_path: Path, count: int, fps: int, keep: bool) -> None:
    """Of a file whose times are rounded to milliseconds, too."""
    written = []
    for name in ("slides", "waves"):
        with av.open(str(tmp_path / f"{name}.mkv"), "w") as output:
            stream = output.add_stream("ffv1", 24)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
            for number in range(count):
                wave = 128 + 100 * np.sin((np.arange(64) - 2 * number) / 5)
                row = wave if name == "waves" else np.full(64, 40 * number)
                picture = np.tile(row.astype(np.uint8)[None, :, None], (48, 1, 3))
                output.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
            output.mux(stream.encode(None))
        summary = interpolate_video(
            tmp_path / f"{name}.mkv", tmp_path / f"{name}.mp4", fps=fps, keep_frames=keep, model=AnyTime()
        )
        written.append(summary.frames_out)
    assert written[0] == written[1]


def test_progress_and_cancellation() -> None:
    calls: list[tuple[int, int | None]] = []
    run(ramp(), fps=16, to=24, progress=lambda *call: calls.append(call))
    assert calls == [(k, 7) for k in range(1, 8)]
    odd = run(ramp()[:4], fps=16, to=24, progress=lambda *call: calls.append(call))
    assert calls[-1] == (len(odd), 6) == (6, 6)
    cancel = Event()
    with pytest.raises(CancelledError, match="cancelled after 3 frames"):
        run(ramp(), cancel=cancel, progress=lambda done, _: cancel.set() if done == 3 else None)


def test_threads_share_a_network_and_get_what_one_gets() -> None:
    network = Interpolator(AnyTime())
    clips = [ramp() * (0.5 + 0.1 * k) for k in range(4)]
    alone = [interpolate(clip, model=network, factor=3) for clip in clips]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda clip: interpolate(clip, model=network, factor=3), clips))
    for a, b in zip(alone, together, strict=True):
        np.testing.assert_array_equal(a, b)


def test_new_weights_under_an_old_name_are_loaded(tmp_path: Path) -> None:
    """As when training goes on while a notebook is open."""
    clip, outputs = ramp()[:3], []
    for seed in (0, 1):
        torch.manual_seed(seed)
        levels = (FlowLevel(4, 8, 1), FlowLevel(2, 8, 1))
        branch = IntermediateFlowConfig(levels, encoder=(8, 2), context=3)
        save(tmp_path / "model.safetensors", STMFNet(replace(RIFE, intermediate=branch)))
        outputs.append(interpolate(clip, model=tmp_path / "model.safetensors", factor=2))
    assert np.abs(outputs[0] - outputs[1]).max() > 1e-4
