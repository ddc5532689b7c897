"""The fused network against the plain network and the reference: the same frames."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from tests.network.test_stmfnet import FAMILY
from tests.reference.official import Reference, clear_of_jumps
from tweenlet.inference.fused import FusedSTMFNet, bands
from tweenlet.inference.fused.adacof_heads import UpsampleConv
from tweenlet.inference.fused.fuse import fuse_for_inference
from tweenlet.inference.latency import latency_runs
from tweenlet.interpolation.interpolator import Interpolator
from tweenlet.network.adacof_heads import SCALE_NAMES
from tweenlet.network.config import DEFAULT, MINI, RIFE, TINY, FlowLevel, IntermediateFlowConfig
from tweenlet.network.features import Block
from tweenlet.network.stmfnet import STMFNet


def intermediate(encoder=(8, 2), **options):
    levels = (FlowLevel(4, 12, 2), FlowLevel(2, 8, 1))
    branch = IntermediateFlowConfig(levels, encoder=encoder, context=3, **options)
    return replace(RIFE, intermediate=branch)


EXACT = {"atol": 1e-4, "rtol": 0}
TOLERANCE = {"default": 5e-5}
"""With weights by the golden rule its flows reach across the frame, and rounding with them."""
CONFIGS = FAMILY | {
    "default": DEFAULT,
    "mini": MINI,
    "two frames": intermediate(),
    "two frames, too narrow for Winograd's method": intermediate((2, 2)),
    "four frames": intermediate(four_frames=True),
    "four frames and a head": intermediate(four_frames=True, head=8),
}


@pytest.mark.slow
@pytest.mark.parametrize("net", ["mini", "teacher"])
def test_gives_the_golden_outputs(net, golden_weights, film, official_output):
    interpolator = Interpolator(golden_weights(net), pad_to=128)
    out = interpolator.middle(film(range(4), 128, 160)[0])
    torch.testing.assert_close(out[None, :, ::4, ::4], official_output[net], **EXACT)


@pytest.mark.slow
@pytest.mark.parametrize("name", CONFIGS)
def test_gives_the_same_frames(name, lively):
    model = lively(CONFIGS[name])
    more = -(-32 // model.stride)  # strides that make 32 pixels or more
    frames = torch.rand(2, 4, 3, (2 + more) * model.stride, (3 + more) * model.stride)
    with torch.no_grad():
        torch.testing.assert_close(
            FusedSTMFNet(model)(frames), model(frames), atol=TOLERANCE.get(name, 1e-5), rtol=0
        )


@pytest.mark.parametrize("size", [(17, 23), (40, 53), (1, 1)], ids=str)
def test_gives_the_same_frames_of_odd_sizes(size, lively):
    model = lively(TINY)
    frames = torch.rand(4, 3, *size)
    wanted = Interpolator(Plain(model)).middle(frames)
    torch.testing.assert_close(Interpolator(model).middle(frames), wanted, atol=1e-5, rtol=0)


@pytest.mark.parametrize("width", [4, 6, 12])  # 6: as many as there are candidates, which are kept and added
@pytest.mark.parametrize("batch", [1, 2])  # native code takes the slices of one sample, PyTorch those of two
def test_bands_meet(batch, width, compiled, lively, monkeypatch):
    monkeypatch.setattr(bands, "ROWS_PER_BAND", 12)
    model = lively(replace(TINY, grid=(width, width, 8)))
    frames = torch.rand(batch, 4, 3, 40, 48)
    with torch.no_grad():
        torch.testing.assert_close(FusedSTMFNet(model)(frames), model(frames), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("kernels", "stride", "up"), [((3, 5), 1, False), ((3, 7), 2, False), ((4, 8), 1, True)]
)
def test_a_block_of_features_of_any_size(kernels, stride, up, compiled):
    block = torch.nn.Sequential(Block(6, 32, kernels, stride, up)).eval()
    x = torch.randn(2, 6, 9, 13)
    with torch.no_grad():
        torch.testing.assert_close(fuse_for_inference(block)(x), block(x), atol=1e-5, rtol=0)


class Plain(torch.nn.Module):
    """Hides from the Interpolator what it could run faster."""

    def __init__(self, model: STMFNet):
        super().__init__()
        self.model, self.stride = model, model.stride

    def forward(self, frames):
        return self.model(frames)


@torch.no_grad()
def test_large_offsets_and_uneven_kernels(lively):
    """What the heads make. The frame would not do: what comes after them spreads one pixel's jump over it."""
    model = lively(TINY)
    for name, parameter in model.multi_flow.named_parameters():  # offsets of several pixels, uneven kernels
        if name.endswith(("7.weight", "coarse_before.rows.4.weight")):
            parameter.mul_(64 if "rows" in name or "columns" in name else 32)
    before, after = torch.rand(2, 1, 3, 32, 48)
    reference, taps = Reference(model), {}
    stack = reference.stack
    reference.stack = lambda name, *args: taps.setdefault(name, stack(name, *args))
    expected = reference.multi_flow(before, after)
    fast = FusedSTMFNet(model)
    output = fast.multi_flow(fast.features(before, after), before, after)
    for scale, size in SCALE_NAMES.items():
        offsets = torch.cat([x[0] for name, x in taps.items() if size in name and "weight" not in name])
        clear = clear_of_jumps(offsets, dim=0)
        assert clear.float().mean() > 0.98
        torch.testing.assert_close(output[scale][..., clear], expected[scale][..., clear], atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["mini", "two frames", "four frames and a head"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_near(dtype, name, lively):
    model = lively(CONFIGS[name])
    frames = torch.rand(1, 4, 3, 48, 64)
    with torch.no_grad():
        expected = model(frames)
    made = FusedSTMFNet(model, dtype)(frames)
    assert made.dtype == torch.float32
    assert (made - expected).square().mean().sqrt() < 0.02 * expected.std()


@pytest.mark.parametrize(("height", "width", "times"), [(8, 12, 4), (33, 5, 2), (1, 7, 2), (40, 9, 4)])
def test_enlarges_and_convolves_by_strips(height, width, times):
    layer = torch.nn.Conv2d(5, 4, 3, padding=1)
    x = torch.rand(1, 5, height, width)
    large = torch.nn.Upsample(scale_factor=times, mode="bilinear", align_corners=True)(x)
    size = large.shape[-2:]
    with torch.no_grad():
        expected = layer(large)[0].permute(1, 2, 0)
        enlarge = UpsampleConv(layer, torch.float32)
        for top in range(0, size[0], 24):
            bottom = min(top + 24, size[0])
            torch.testing.assert_close(
                enlarge(x, (top, bottom), size), expected[top:bottom], atol=1e-5, rtol=0
            )


PEAK = """
import re, sys, torch, tweenlet
from tweenlet.network.config import MINI
from tweenlet.inference.fused import FusedSTMFNet
from tweenlet.network.stmfnet import STMFNet
torch.set_num_threads(1)
model = STMFNet(MINI).eval()
model = FusedSTMFNet(model) if sys.argv[1] == "fused" else model
frames = torch.rand(1, 4, 3, 192, 320)
peak = lambda: int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
before = peak()
with torch.inference_mode():
    model(frames)
print(peak() - before)
"""


@pytest.mark.long
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_takes_half_of_the_memory():
    fast, plain = (
        int(subprocess.run([sys.executable, "-c", PEAK, which], check=True, capture_output=True).stdout)
        for which in ("fused", "plain")
    )
    assert fast < 0.55 * plain


@pytest.mark.parametrize("config", [RIFE, DEFAULT, MINI], ids=["RIFE", "DEFAULT", "MINI"])
def test_every_part_is_timed(config):
    times = latency_runs(STMFNet(config), 128, 128, runs=1)
    assert {name for name, runs in times.items() if not runs} == set()
    assert len(times) > 4


def test_is_a_copy(lively):
    model = lively(TINY)
    frames = torch.rand(1, 4, 3, 16, 16)
    fused = FusedSTMFNet(model)
    before = fused(frames)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert torch.equal(fused(frames), before)
    assert all(p.requires_grad for p in model.features.parameters())


def test_refuses_what_the_network_refuses():
    with pytest.raises(ValueError, match="multiples of 8"):
        FusedSTMFNet(STMFNet(TINY))(torch.zeros(1, 4, 3, 20, 16))
