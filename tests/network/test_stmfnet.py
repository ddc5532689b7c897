"""STMFNet over its configs: what is built, what it takes, what learns."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from tweenlet.network.adacof_heads import KernelHead
from tweenlet.network.blocks import PerSliceConv3d
from tweenlet.network.config import MINI, STMFNET, TINY, FlowLevel, IntermediateFlowConfig, ModelConfig
from tweenlet.network.stmfnet import STMFNet

FOUR_FRAMES = ModelConfig(
    scales=(1.0,), features=None, flow=None, grid=None, texture=None,
    intermediate=IntermediateFlowConfig(
        (FlowLevel(4, 8, 2), FlowLevel(2, 8, 1)), encoder=(4, 2), context=3, four_frames=True, head=4
    ),
)  # fmt: skip
"""As the default network, in milliseconds."""
FLOW = replace(TINY, flow=(4, 6, 8))
FAMILY = {
    "tiny": TINY,
    "flow": FLOW,
    "flow only": replace(FLOW, features=None, scales=(1.0, 0.5), grid=(4, 6)),
    "flow only, one scale": replace(FLOW, features=None, scales=(1.0,), grid=(4,), texture=None),
    "one scale": replace(TINY, scales=(1.0,), grid=(4,)),
    "no double": replace(TINY, scales=(1.0, 0.5), grid=(4, 6)),
    "no half": replace(TINY, scales=(2.0, 1.0), grid=(4, 6)),
    "no texture": replace(TINY, texture=None),
    "one level": replace(TINY, features=(32,)),
    "other kernels": replace(TINY, kernel_size=4, dilation=2),
}


@pytest.fixture(params=FAMILY)
def config(request):
    return FAMILY[request.param]


def test_parameters():
    with torch.device("meta"):
        counts = {
            name: [sum(p.numel() for p in STMFNet(c).parameters() if p.requires_grad or not learning)
                   for learning in (False, True)]
            for name, c in (("teacher", STMFNET), ("mini", MINI))
        }  # fmt: skip
    # the rest: 99 constants, and the blocks of the grid that never reach the output (PAPER.md 2.5)
    assert counts == {
        "teacher": [21_028_799, 21_028_799 - 99 - 92_424],
        "mini": [1_822_162, 1_822_162 - 99 - 23_176],
    }


def test_every_config_runs_and_learns(config):
    torch.manual_seed(0)
    model = STMFNet(config)
    height, width = 2 * model.stride, 3 * model.stride
    out = model(torch.rand(2, 4, 3, height, width))
    assert out.shape == (2, 3, height, width)
    out.square().mean().backward()
    without = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert without == []


def test_weights_of_taps_sum_to_one_under_autocast():
    torch.manual_seed(0)
    head, features = KernelHead(8, 6, 25, 1.0), torch.randn(1, 8, 9, 7)
    with torch.autocast("cpu", torch.bfloat16):
        weight, rows, _ = head(20 * features)
    assert rows.dtype == torch.bfloat16
    torch.testing.assert_close(weight.sum(1), torch.ones(1, 18, 14))


def test_pictures_of_a_batch_do_not_mix(config):
    torch.manual_seed(1)
    model = STMFNet(config).eval()
    frames = torch.rand(2, 4, 3, model.stride, 2 * model.stride)
    with torch.no_grad():
        together, alone = model(frames), torch.cat([model(frame[None]) for frame in frames])
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_dtypes(dtype):
    torch.manual_seed(2)
    model = STMFNet(FLOW).eval()
    frames = torch.rand(1, 4, 3, 32, 64)
    with torch.no_grad():
        precise = model(frames)
        out = model.to(dtype)(frames.to(dtype))
    assert out.dtype == dtype
    torch.testing.assert_close(out.float(), precise, atol=1e-4 if dtype == torch.float64 else 0.1, rtol=0)


def test_mini_takes_frames_of_16x16():
    with torch.no_grad():
        assert STMFNet(MINI).eval()(torch.rand(1, 4, 3, 16, 16)).shape == (1, 3, 16, 16)


def test_stride():
    assert [STMFNet(c).stride for c in (MINI, TINY, replace(TINY, texture=None), FLOW)] == [16, 8, 4, 8]
    with torch.device("meta"):
        assert STMFNet(STMFNET).stride == 64


@pytest.mark.parametrize("shape", [(1, 4, 3, 20, 16), (1, 3, 3, 16, 16), (4, 3, 16, 16), (1, 4, 1, 16, 16)])
def test_refuses_other_shapes(shape):
    with pytest.raises(ValueError, match=r"multiples of 8|expected frames"):
        STMFNet(TINY)(torch.zeros(shape))


def test_unused_blocks_never_reach_the_output():
    torch.manual_seed(3)
    model = STMFNet(TINY).eval()
    frames = torch.rand(1, 4, 3, 16, 16)
    with torch.no_grad():
        before = model(frames)
        for block in model.fusion.unused_blocks(0):
            for parameter in block.parameters():
                parameter.fill_(torch.nan)
        assert torch.equal(model(frames), before)


@pytest.mark.parametrize(("kernel", "stride", "bias"), [(3, 1, True), (3, 2, False), (1, 2, False)])
def test_slice_conv_is_a_3d_convolution(kernel, stride, bias):
    torch.manual_seed(4)
    ours = PerSliceConv3d(3, 5, kernel, (1, stride, stride), bias=bias).double()
    plain = nn.Conv3d(3, 5, kernel, (1, stride, stride), kernel // 2, bias=bias).double()
    plain.load_state_dict(ours.state_dict())
    x = torch.rand(2, 3, 4, 6, 8, dtype=torch.float64)
    torch.testing.assert_close(ours(x), plain(x))
