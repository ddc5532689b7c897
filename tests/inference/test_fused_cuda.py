"""The network for CUDA devices: on the CPU the same frames, and nothing that a CUDA graph could not hold."""

from __future__ import annotations

import traceback
from contextlib import nullcontext

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tests.network.test_stmfnet import FAMILY, FOUR_FRAMES
from tweenlet.inference import cuda, cuda_graphs
from tweenlet.inference.cuda import CudaGraphed, CudaSTMFNet
from tweenlet.network.config import DEFAULT, MINI, STMFNET, TINY
from tweenlet.network.stmfnet import STMFNet

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
CONFIGS = FAMILY | {
    "default": DEFAULT,
}


def window(model, height=3, width=5, device="cpu"):
    """Frames of so many strides."""
    made = torch.Generator().manual_seed(0)
    frames = torch.rand(1, 4, 3, height * model.stride, width * model.stride, generator=made)
    return [frames.to(device)]


TOLERANCE = {"default": 5e-5}
"""With weights by the golden rule its flows reach across the frame, and rounding with them."""


@pytest.mark.parametrize("name", CONFIGS)
def test_gives_the_same_frames(name, lively):
    model = lively(CONFIGS[name])
    inputs = window(model)
    with torch.no_grad():
        expected = model(*inputs)
        torch.testing.assert_close(
            CudaSTMFNet(model)(*inputs), expected, atol=TOLERANCE.get(name, 1e-5), rtol=0
        )


@pytest.mark.parametrize("name", ["tiny", "flow", "default"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_near(name, dtype, lively):
    model = lively(CONFIGS[name])
    inputs = window(model)
    with torch.no_grad():
        expected = model(*inputs)
    made = CudaSTMFNet(model, dtype)(*inputs)
    assert made.dtype == torch.float32
    assert (made - expected).square().mean().sqrt() < 0.03 * expected.std()


def test_is_a_copy_and_sets_nothing_for_good(lively, monkeypatch):
    model = lively(TINY)
    inputs = window(model)
    network = CudaSTMFNet(model)
    before = network(*inputs)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert torch.equal(network(*inputs), before)
    assert all(p.requires_grad for p in model.features.parameters())
    for usual in (False, True):
        monkeypatch.setattr(torch.backends.cudnn, "benchmark", usual)
        network(*inputs)
        assert torch.backends.cudnn.benchmark is usual


def test_convolutions_lie_channels_last_and_leave_what_they_make_so():
    network = CudaSTMFNet(STMFNet(TINY).eval(), torch.float16)
    half = [p for p in network.parameters() if p.dtype == torch.float16 and p.dim() > 3]
    assert len(half) > 50
    assert all(p.is_contiguous(memory_format=cuda.MEMORY_FORMATS[p.dim()]) for p in half)
    left = []
    head = network.multi_flow.plain.heads["fine_before"]
    head.rows.register_forward_hook(lambda _, __, out: left.append(out.stride(1)))
    network(*window(network))
    assert left == [1]


class Elsewhere(TorchDispatchMode):
    """Notes whatever touches a tensor that is not on the device, or asks it for a number."""

    def __init__(self):
        super().__init__()
        self.met = set()

    def __torch_dispatch__(self, op, types, args=(), kwargs=None):
        out = op(*args, **(kwargs or {}))
        places = {x.device.type for x in tree_leaves((args, kwargs, out)) if isinstance(x, torch.Tensor)}
        if places - {"meta"}:
            ours = [step for step in traceback.extract_stack() if "/tweenlet/" in step.filename]
            self.met.add((str(op), f"{ours[-1].filename}:{ours[-1].lineno}" if ours else ""))
        return out


@pytest.mark.slow
@pytest.mark.parametrize("config", [DEFAULT, MINI, STMFNET, TINY], ids=["default", "mini", "stmfnet", "tiny"])
def test_nothing_goes_to_and_fro_while_a_frame_is_made(config, monkeypatch):
    """A graph cannot hold a copy from the CPU's memory, nor a number sent back (which fails on meta)."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # there is none for meta
    network = CudaSTMFNet(STMFNet(config).eval()).to("meta")
    inputs = window(network, 1, 1, "meta")
    with Elsewhere() as elsewhere:
        out = network(*inputs)
    assert out.device.type == "meta"
    assert elsewhere.met == set()


class Replays:
    """Stands for a recording on a machine without a device: runs the network on the first inputs' memory."""

    made = 0

    def __init__(self, network, inputs):
        Replays.made += 1
        self.network, self.inputs = network, [x.clone() for x in inputs]
        assert not any(x.is_inference() for x in self.inputs)

    def __call__(self, *inputs):
        for mine, given in zip(self.inputs, inputs, strict=True):
            mine.copy_(given)
        return self.network(*self.inputs)


def test_records_once_for_each_shape_and_keeps_a_few(lively, monkeypatch):
    monkeypatch.setattr(cuda_graphs, "CapturedGraph", Replays)
    monkeypatch.setattr(Replays, "made", 0)
    model = lively(TINY)
    recorded = CudaGraphed(CudaSTMFNet(model))
    sizes = [(1, width) for width in range(1, cuda_graphs.CACHED + 2)]
    with torch.inference_mode():
        for size in (sizes[0], sizes[0], *sizes):
            inputs = window(model, *size)
            torch.testing.assert_close(recorded(*inputs), model(*inputs), atol=1e-5, rtol=0)
    assert Replays.made == len(sizes)
    recorded(*window(model, *sizes[0]))  # outside of the mode that it was first made in, and made again
    assert Replays.made == len(sizes) + 1
    assert len(recorded._graphs._graphs) == cuda_graphs.CACHED
    with pytest.raises(ValueError, match="multiples of 8"):
        recorded(torch.zeros(1, 4, 3, 20, 16))


def test_motion_that_was_found_before_goes_into_a_recording(lively, monkeypatch):
    monkeypatch.setattr(cuda_graphs, "CapturedGraph", Replays)
    model = lively(FOUR_FRAMES)
    (frames,) = window(model)
    motion = model.intermediate.motion(frames, torch.full((1, 1, 1, 1), 0.4))
    expected = CudaSTMFNet(model)(frames, time=0.4)
    for given in ((frames,), (frames, motion)):
        made = CudaGraphed(CudaSTMFNet(model))(*given, time=0.4)
        torch.testing.assert_close(made, expected, atol=1e-4, rtol=0)


@pytest.mark.gpu
@needs_cuda
@pytest.mark.parametrize("name", CONFIGS)
def test_on_a_device_it_gives_the_frames_of_the_plain_network(name, lively, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    model = lively(CONFIGS[name])
    inputs = window(model)
    with torch.no_grad():
        wanted = model(*inputs)
    made = CudaSTMFNet(model.cuda())(*(x.cuda() for x in inputs)).cpu()
    apart = (made - wanted).abs()
    assert (apart < 1e-4).float().mean() > 0.999  # AdaCoF jumps where an offset is a negative integer
    assert apart.max() < 2e-2


@pytest.mark.gpu
@needs_cuda
@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_a_replay_gives_what_the_network_gives(name, dtype, lively):
    network = CudaSTMFNet(lively(CONFIGS[name]).cuda(), dtype)
    recorded = CudaGraphed(network)
    exact = {"atol": 1e-4, "rtol": 0} if dtype == torch.float32 else {"atol": 0.02, "rtol": 0}
    first = window(network, device="cuda")
    stored = recorded(*first)
    for seed in (1, 2, 3):
        torch.manual_seed(seed)
        inputs = [torch.rand_like(first[0]), *(x + torch.randn_like(x) for x in first[1:])]
        torch.testing.assert_close(recorded(*inputs), network(*inputs), **exact)
    torch.testing.assert_close(stored, recorded(*first), **exact)  # not overwritten by what came later
