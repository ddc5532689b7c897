"""Tiles: they cover each pixel once, give what the whole frame gives, show no seams, and bound memory."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tweenlet.cli import main
from tweenlet.interpolation import interpolator, tiling
from tweenlet.interpolation.interpolator import Interpolator
from tweenlet.interpolation.spans import BLEND, CONTEXT, SMALLEST, margins, spans
from tweenlet.interpolation.tiling import choose_tiling
from tweenlet.network import checkpoint as weights
from tweenlet.network.blocks import AlignedUpsample, ChannelGate, Tile
from tweenlet.network.config import DEFAULT, ModelConfig
from tweenlet.network.motion import Estimate
from tweenlet.network.stmfnet import STMFNet
from tweenlet.ops.reduce import channel_mean

CPU = torch.device("cpu")


SLIM = replace(
    DEFAULT,
    intermediate=replace(
        DEFAULT.intermediate,
        levels=tuple(replace(level, width=8) for level in DEFAULT.intermediate.levels),
        head=4,
    ),
)
"""As deep as the default network, so that it looks as far, and no wider than a test can wait for."""


def slim() -> STMFNet:
    torch.manual_seed(0)
    model = STMFNet(SLIM).eval()
    for parameter in model.parameters():
        if not parameter.any():  # a head that says nothing would hide what is wrong
            nn.init.normal_(parameter, std=0.02)
    return model


def moving(height: int, width: int, grain: int, step: int = 4) -> list[Tensor]:
    """Four frames of a random picture, smooth over ``grain`` pixels, that moves right by ``step``."""
    noise = torch.rand(1, 3, height // grain + 2, width // grain + 2, generator=torch.manual_seed(5))
    wide = F.interpolate(noise, (height, width + 4 * step), mode="bicubic").clamp(0, 1)[0]
    return [wide[:, :, step * k : step * k + width].contiguous() for k in (3, 2, 1, 0)]


@pytest.mark.parametrize("multiple", [8, 16, 64])
@pytest.mark.parametrize("margin", [0, 40, 64])
def test_tiles_cover_each_pixel_once_and_meet_outside_their_margins(margin: int, multiple: int) -> None:
    for length in range(256, 4000, 320):
        cut = spans(length, 256, margin, multiple)
        assert cut[0].start == 0
        assert cut[-1].stop == length
        total = np.zeros(length, np.float32)
        for span in cut:
            assert span.stop - span.start == len(span.weight) <= 256
            assert span.start % multiple == span.stop % multiple == 0
            total[span.start : span.stop] += span.weight
        np.testing.assert_allclose(total, 1, rtol=1e-6)
        for before, after in pairwise(cut):
            assert before.stop - after.start >= 2 * margin + BLEND
            assert np.abs(np.diff(before.weight)).max() < 2 / BLEND
            assert margin == 0 or before.weight[-margin:].max() == after.weight[:margin].max() == 0


@pytest.mark.long
@pytest.mark.parametrize("grain", [4, 80], ids=["textured", "smooth"])
def test_a_network_of_four_frames_gives_the_same_with_tiles_and_without(grain: int) -> None:
    frames = moving(363, 533, grain)  # more than the four strides that a tile has at the least
    model = slim()
    for pad_to in (None, 128):
        whole = Interpolator(model, pad_to=pad_to).middle(frames)
        tiled = Interpolator(model, tile=256, pad_to=pad_to).middle(frames)
        assert tiled.shape == whole.shape
        assert not torch.equal(tiled, whole)  # it was cut
        assert (tiled - whole).abs().max() < 1e-4


def test_tiles_agree_on_fast_motion_and_at_any_time() -> None:
    model = slim()
    frames = moving(256, 640, 12, step=40)
    whole = Interpolator(model).between(frames, Fraction(1, 3))
    made = Interpolator(model, tile=320).between(frames, Fraction(1, 3))
    assert not torch.equal(made, whole)
    assert (made - whole).abs().max() < 1e-4


def test_margins_reach_as_far_as_the_flow() -> None:
    finest = torch.zeros(1, 13, 4, 4)
    finest[:, 0, 1, 1], finest[:, 3, 2, 2], finest[:, 4] = -100.5, 8.0, 500.0
    motion = Estimate(finest, torch.zeros(1, 2) > 0)
    assert margins(motion, 1024) == (CONTEXT + 8, CONTEXT + 101)
    assert margins(motion, 256) == (64, 64)
    assert margins(None, 1024) == (CONTEXT, CONTEXT)


@pytest.mark.slow
def test_overlays_do_not_differ_between_tiles() -> None:
    """Some squares move and others do not, so that the surroundings of a pixel count."""
    model = slim()
    moves = torch.rand(8, 11, generator=torch.Generator().manual_seed(2)) < 0.15
    moves = moves.repeat_interleave(48, 0).repeat_interleave(48, 1)[:363, :501]
    letters = torch.zeros(363, 501, dtype=torch.bool)
    letters[::12] = letters[:, ::10] = True
    moved = moving(363, 501, 4, step=6)
    frames = [torch.where(letters, 1.0, torch.where(moves, frame, moved[0])) for frame in moved]
    whole = Interpolator(model).middle(frames)
    assert (Interpolator(model, tile=256).middle(frames) - whole).abs().max() < 1e-4

    same_but_for_a_corner = [frames[1].clone(), *frames[1:]]
    same_but_for_a_corner[0][:, :8, :8] = 0.5
    whole = Interpolator(model).middle(same_but_for_a_corner)
    made = Interpolator(model, tile=256).middle(same_but_for_a_corner)
    assert (made - whole).abs().max() < 1e-4


GATED = ModelConfig(
    scales=(1.0,), features=(32, 32), kernel_hidden=4, kernel_size=1, flow=None,
    grid=(4,), texture=(4, 4, 4, 4), texture_out=4,
)  # fmt: skip


def gated() -> STMFNet:
    torch.manual_seed(1)
    model = STMFNet(GATED).eval()
    for gate in model.modules():  # strong ones, so that it shows where they disagree
        if isinstance(gate, ChannelGate):
            for parameter in gate.parameters():
                parameter.data *= 3
    return model


def excess(output: Tensor, whole: Tensor) -> Tensor:
    """How much steeper columns are than they should be, (W - 1,): the mean of the absolute differences."""
    return (output.diff(dim=2) - whole.diff(dim=2)).abs().mean((0, 1))


@pytest.mark.slow
@pytest.mark.parametrize("grain", [4, 80], ids=["textured", "smooth"])
def test_gates_go_by_the_whole_frame_and_no_seam_shows(grain: int, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = moving(256, 408, grain)
    frames = [frame * torch.linspace(0.2, 1, 408) for frame in frames]  # so that tiles differ in their means
    model = gated()
    whole = Interpolator(model).middle(frames)
    network = Interpolator(model, tile=256)
    output = network.middle(frames)
    monkeypatch.setattr(tiling, "whole_frame_means", lambda *_: lambda _, x: channel_mean(x))
    alone = network.middle(frames)
    assert (output - whole).abs().max() < 0.01
    assert (output - whole).abs().mean() < (alone - whole).abs().mean() / 4
    cut = spans(408, 256, CONTEXT, 8)
    steeper = excess(output, whole)
    seams = torch.zeros(407, dtype=torch.bool)
    for before, after in pairwise(cut):
        middle = (before.stop + after.start) // 2
        seams[middle - BLEND // 2 : middle + BLEND // 2] = True
    assert steeper[seams].max() <= 2 * steeper[~seams].max()
    assert steeper.max() < 1 / 255 / 4


@pytest.mark.slow
@pytest.mark.parametrize("fast", [True, False])
def test_with_the_means_of_the_whole_frame_only_rounding_is_left(
    fast: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames, network = moving(256, 408, 10), Interpolator(gated(), tile=256)
    if not fast:
        network.model = network._for_tiles = gated()
    means: dict[ChannelGate, Tensor] = {}

    def note(gate: ChannelGate, x: Tensor) -> Tensor:
        means[gate] = channel_mean(x)
        return means[gate]

    with torch.no_grad():
        tile = Tile((0, 256, 256), (0, 408, 408), note)
        whole = network.model(torch.stack(frames)[None], tile=tile)[0]
    monkeypatch.setattr(tiling, "whole_frame_means", lambda *_: lambda gate, _: means[gate])
    assert (network.middle(frames) - whole[..., :256, :408]).abs().max() < 1e-4


@pytest.mark.parametrize("factor", [2, 4])
def test_a_piece_is_enlarged_as_it_lies_in_the_whole(factor: int) -> None:
    enlarge, whole = AlignedUpsample(factor), torch.rand(1, 5, 48, 40)
    full = enlarge(whole)
    tile = Tile((32, 80, 96), (0, 80, 80), lambda _, x: x)  # in pixels of a frame of twice the size
    part = enlarge(whole[:, :, 16:40], tile)
    inside = part[:, :, factor:-factor]
    torch.testing.assert_close(inside, full[:, :, 17 * factor : 39 * factor], atol=1e-4, rtol=0)


@pytest.mark.slow
def test_tiles_of_two_threads_do_not_meet() -> None:
    """What one thread's tiles agree on is no business of another's."""
    network = Interpolator(gated(), tile=256)
    windows = [moving(256, 408, 10), [frame * torch.linspace(0.1, 1, 408) for frame in moving(256, 408, 4)]]
    alone = [network.middle(window) for window in windows]
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(network.middle, windows))
    for one, other in zip(alone, together, strict=True):
        assert torch.equal(one, other)


def test_auto_cuts_what_would_take_much_memory_only(monkeypatch: pytest.MonkeyPatch) -> None:
    default = weights.load("default")

    def side(tile: int | str | None, height: int, width: int, model: nn.Module = default) -> int | None:
        return choose_tiling(tile, model, CPU).side_for(height, width)

    assert side("auto", 1080, 1920) is None
    assert 1000 < side("auto", 2160, 3840) < 3840
    assert side("none", 10**5, 10**5) is side(None, 10**5, 10**5) is None
    assert side("512", 513, 100) == side(512, 513, 100) == 512
    assert side(512, 512, 512) is None
    assert side("auto", 10**5, 10**5, nn.Identity()) is None  # nobody knows how far it looks
    before = side("auto", 2160, 3840)
    monkeypatch.setattr(tiling, "free_bytes", lambda _: 2**40)
    assert side("auto", 8640, 15360, gated()) is None  # a second pass costs more than memory
    assert side("auto", 2160, 3840) == before


@pytest.mark.parametrize("tile", ["some", SMALLEST - 1, "0", -512, "512.5", ""])
def test_other_tiles_are_refused_in_words(tile: int | str) -> None:
    with pytest.raises(ValueError, match=f'"auto", "none" or {SMALLEST} pixels or more, got'):
        Interpolator(gated(), tile=tile)


def test_free_memory_is_known() -> None:
    assert 2**24 < tiling.free_bytes(CPU) < 2**50


def test_what_tiles_make_is_a_plain_tensor_and_a_stream_of_them_runs() -> None:
    frames = moving(256, 264, 10)[:2]
    outputs = list(Interpolator(slim(), tile=256)(frames))
    assert len(outputs) == 3
    assert not outputs[1].is_inference()
    assert 0 <= outputs[1].min() <= outputs[1].max() <= 1


PROGRAM = """
import torch
torch.set_num_threads(2)
from tweenlet.runtime.malloc import peak_rss
from tweenlet.network import checkpoint as weights
from tweenlet.interpolation import interpolator, tiling
from tweenlet.interpolation.interpolator import Interpolator
wide = torch.nn.functional.interpolate(torch.rand(1, 3, 120, 220), (2160, 3960), mode="bilinear")[0]
frames = [wide[:, :, k : k + 3840].contiguous() for k in (0, 12, 24, 36)]
made = Interpolator(weights.load("default"), tile="auto").middle(frames)
assert made.shape == (3, 2160, 3840)
print(peak_rss())
"""


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the peak")
def test_a_4k_frame_takes_less_than_4_gigabytes() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 4e9


@pytest.mark.slow
def test_the_command_line_cuts_frames_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sides = []
    choose = interpolator.choose_tiling
    monkeypatch.setattr(
        interpolator, "choose_tiling", lambda tile, *rest: sides.append(tile) or choose(tile, *rest)
    )
    clip = Path(__file__).parents[1] / "assets" / "learning-area-frog.mp4"
    for options, code in (([], 0), (["--tile", "none"], 0), (["--tile", "512"], 0), (["--tile", "9"], 1)):
        with pytest.raises(SystemExit) as ended:
            main(["interpolate", str(clip), str(tmp_path / f"{len(sides)}.mp4"), *options])
        assert ended.value.code == code
    assert sides == ["auto", "none", "512", "9"]
    assert not (tmp_path / "3.mp4").exists()
