"""The Triton kernels pass the plain ops' tests: on a CUDA device, else in Triton's interpreter, on the CPU.

TRITON_INTERPRET=1 has the interpreter on a machine with a device too.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

pytest.importorskip("triton", reason="the extra gpu is not installed")

from tests.ops import test_adacof as plain_adacof
from tests.ops import test_splat as plain_splat
from tweenlet.ops import dispatch
from tweenlet.ops.adacof import adacof
from tweenlet.ops.correlation import correlation
from tweenlet.ops.cuda import adacof as triton_adacof
from tweenlet.ops.cuda import correlation as triton_correlation
from tweenlet.ops.cuda import resample as triton_pyramid
from tweenlet.ops.cuda import splat as triton_splat
from tweenlet.ops.cuda import warp as triton_warp
from tweenlet.ops.resample import EIGHT_TAPS, upsample_8tap
from tweenlet.ops.splat import splat, splat_sum
from tweenlet.ops.warp import backwarp

pytestmark = [pytest.mark.long, pytest.mark.optional, pytest.mark.gpu]
DEVICE = "cpu" if os.environ.get("TRITON_INTERPRET") == "1" else "cuda"


@pytest.fixture(autouse=True)
def plain():
    """The plain ops are PyTorch's."""
    with dispatch.override("reference"):
        yield


def on_device(op):
    """A kernel for tests that have their tensors on the CPU."""

    def run(*inputs, **options):
        there = [x.to(DEVICE) if isinstance(x, torch.Tensor) else x for x in inputs]
        return op(*there, **options).to(inputs[0].device)

    return run


by_kernel = on_device(triton_adacof.adacof)
splat_by_kernel, sum_by_kernel = on_device(triton_splat.splat), on_device(triton_splat.splat_sum)
EXACT = {"atol": 3e-5, "rtol": 1e-5}  # offsets of 60 weigh neighbours in float32: errors of an ulp of 60


def channels_last(taps):
    return [x.contiguous(memory_format=torch.channels_last) for x in taps]


@pytest.fixture(params=["planes", "pixels"])
def order(request):
    """How the taps lie in memory: each in a plane, or all of a pixel together."""
    return channels_last if request.param == "pixels" else list


# the plain ops' own tests


@pytest.mark.parametrize(
    ("side", "dilation", "height", "width"),
    [(3, 1, 5, 7), (5, 1, 4, 6), (3, 2, 6, 5), (1, 1, 3, 4), (2, 1, 4, 5)],
)
def test_is_what_the_definition_says(side, dilation, height, width, order, monkeypatch):
    monkeypatch.setattr(
        plain_adacof, "adacof", lambda frame, *taps: by_kernel(frame, *order(taps[:3]), taps[3])
    )
    plain_adacof.test_is_what_the_definition_says(side, dilation, height, width)


@pytest.mark.parametrize("dilation", [1, 2])
def test_meets_the_official_kernel(expected, dilation, order):
    golden = expected(f"adacof_k5_d{dilation}")
    reach = 2 * dilation
    taps = [
        torch.nn.functional.pad(golden[name].float(), (reach,) * 4)
        for name in ("weight", "offset_i", "offset_j")
    ]
    out = by_kernel(golden["input_padded"].float(), *order(taps), dilation)
    torch.testing.assert_close(
        out[..., reach:-reach, reach:-reach], golden["out"], atol=2e-6, rtol=1e-5, check_dtype=False
    )


def test_splat_meets_the_official_kernel(expected):
    golden = expected("softsplat_softmax")
    out = splat_by_kernel(*(golden[name].float() for name in ("input", "flow", "metric")))
    torch.testing.assert_close(out.double(), golden["out_f64"], atol=5e-5, rtol=0)


@pytest.mark.parametrize(
    "test",
    [
        plain_splat.test_no_flow_changes_nothing,
        plain_splat.test_moves_right_and_down_and_leaves_holes_empty,
        plain_splat.test_the_more_important_pixel_lies_in_front,
        plain_splat.test_far_targets_are_dropped,
    ],
    ids=lambda test: test.__name__.removeprefix("test_"),
)
def test_splat_passes(test, monkeypatch):
    monkeypatch.setattr(plain_splat, "splat", splat_by_kernel)
    test()


# against the plain ops


@pytest.mark.parametrize(
    ("size", "channels", "batch"),
    [((1, 1), 3, 1), ((13, 37), 3, 2), ((9, 70), 1, 1), ((3, 129), 6, 1)],
    ids=str,
)
@pytest.mark.parametrize("softmax", [False, True], ids=["weights as given", "softmax"])
def test_is_the_plain_op_on_awkward_sizes(size, channels, batch, softmax, order):
    frame, *taps = (x.float() for x in plain_adacof.example(5, 30, 130, batch, 20.0, channels))
    frame, *taps = (x[..., : size[0], : size[1]] for x in (frame, *taps))  # not in one piece either
    out = by_kernel(frame, *order(taps), softmax=softmax)
    torch.testing.assert_close(out, adacof(frame, *taps, softmax=softmax), **EXACT)


def test_takes_taps_that_lie_differently():
    frame, weight, rows, columns = (x.float() for x in plain_adacof.example(3, 6, 11))
    out = by_kernel(frame.expand(2, 3, 6, 11), *channels_last([weight]), rows, columns.flip(3).flip(3), 2)
    torch.testing.assert_close(out, adacof(frame, weight, rows, columns, 2), **EXACT)


@pytest.mark.parametrize("far", [1e3, 1e9, 1e30])
def test_far_taps_stay_at_the_border(far, order):
    frame, weight, *_ = (x.float() for x in plain_adacof.example(3, 6, 11))
    rows, columns = torch.full_like(weight, -far), torch.full_like(weight, far)
    out = by_kernel(frame, *order([weight, rows, columns]))
    corner = frame[..., :1, -1:] * weight.sum(1, keepdim=True)
    torch.testing.assert_close(out, corner, **EXACT)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_summed_in_float32(dtype, order):
    frame, *taps = (x.to(dtype) for x in plain_adacof.example(5, 2, 300, batch=1))
    as_taps = {"atol": 1e-3, "rtol": torch.finfo(dtype).eps}
    for picture, softmax, exact in ((frame, False, as_taps), (frame.float(), True, EXACT)):
        out = by_kernel(picture, *order(taps), softmax=softmax)
        wanted = adacof(*(x.double() for x in (picture, *taps)), softmax=softmax)
        assert out.dtype == picture.dtype
        torch.testing.assert_close(out.double(), wanted, **exact)


def test_a_softmax_of_large_weights_stays_finite(order):
    frame, weight, *offsets = (x.float() for x in plain_adacof.example(5, 6, 9))
    taps = order([300 * weight, *offsets])
    out = by_kernel(frame, *taps, softmax=True)
    assert out.isfinite().all()
    torch.testing.assert_close(out, adacof(frame, *taps, softmax=True), **EXACT)


def scene(channels, height, width, spread, dtype=torch.float32):
    generator = torch.Generator().manual_seed(channels)
    frame = torch.rand(2, channels, height, width, generator=generator)
    flow = spread * torch.randn(2, 2, height, width, generator=generator)
    return [x.to(dtype) for x in (frame, flow, torch.randn(2, 1, height, width, generator=generator))]


@pytest.mark.parametrize(
    ("channels", "size", "spread"),
    [(3, (1, 1), 1.0), (3, (17, 43), 4.0), (5, (9, 130), 100.0), (1, (2, 300), 0.3)],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_splats_as_the_plain_op(channels, size, spread, dtype):
    frame, flow, metric = scene(channels, *size, spread, dtype)
    flow[0, :, 0, 0] = torch.tensor([-1e12, 1e30])
    torch.testing.assert_close(splat_by_kernel(frame, flow, metric), splat(frame, flow, metric))
    torch.testing.assert_close(sum_by_kernel(frame, flow), splat_sum(frame, flow))
    last = [x.contiguous(memory_format=torch.channels_last) for x in (frame, flow)]
    torch.testing.assert_close(splat_by_kernel(*last, metric), splat(frame, flow, metric))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_splatted_in_float32(dtype):
    inputs = scene(3, 6, 90, 4.0, dtype)
    out = splat_by_kernel(*inputs)
    assert out.dtype == dtype
    wanted = splat(*(x.double() for x in inputs))
    torch.testing.assert_close(out.double(), wanted, atol=1e-3, rtol=torch.finfo(dtype).eps)


@pytest.mark.parametrize("size", [(1, 1), (4, 5), (5, 4), (13, 41)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_doubles_as_the_plain_op(size, dtype):
    frame, taps = torch.rand(2, 3, *size).to(dtype), torch.tensor(EIGHT_TAPS).expand(3, 8).clone()
    taps[1] = torch.rand(8)
    output = on_device(triton_pyramid.upsample_8tap)(frame.mT.contiguous().mT, taps.to(dtype))
    assert output.dtype == dtype
    wanted = upsample_8tap(frame.double(), taps.to(dtype).double().view(3, 1, 1, 8))
    exact = {"atol": 2e-2 if dtype == torch.float16 else 1e-5, "rtol": 0}
    torch.testing.assert_close(output.double(), wanted, **exact)


@pytest.mark.parametrize("size", [(1, 1), (3, 4), (13, 41)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_samples_as_the_plain_op(size, dtype):
    source, flow, _ = scene(5, *size, 4.0, dtype)
    flow[0, :, 0, 0] = torch.tensor([-6e4, 6e4])
    exact = {"atol": 1e-3 if dtype == torch.float16 else 2e-5, "rtol": 0}
    last = [x.contiguous(memory_format=torch.channels_last) for x in (source, flow)]
    for inputs in ((source, flow), last, (source[:1].expand(2, -1, -1, -1), flow)):
        made = on_device(triton_warp.backwarp)(*inputs)
        assert made.dtype == dtype
        torch.testing.assert_close(made, backwarp(*inputs), **exact)
    assert on_device(triton_warp.backwarp)(*last).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("size", [(1, 1), (3, 4), (13, 21)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_matches_as_the_plain_op(size, dtype):
    first, second = torch.randn(2, 2, 7, *size).to(dtype)
    expected = correlation(first.double(), second.double())
    exact = {"atol": 3e-3 if dtype == torch.float16 else 1e-6, "rtol": 0}
    last = second.contiguous(memory_format=torch.channels_last)
    for inputs in ((first, second), (first, last), (first.expand(2, -1, -1, -1), second)):
        output = on_device(triton_correlation.correlation)(*inputs)
        assert output.dtype == dtype
        assert output.stride(1) == 1
        torch.testing.assert_close(output.double(), expected, **exact)


# when they are chosen


def test_a_machine_without_a_device_never_imports_the_kernels():
    code = (
        "import sys, torch; from tweenlet.ops.adacof import adacof; from tweenlet.ops.splat import splat\n"
        "x = torch.rand(1, 3, 4, 4); adacof(x, *torch.rand(3, 1, 9, 4, 4)); splat(x, x[:, :2], x[:, :1])\n"
        "assert not [name for name in sys.modules if name.partition('.')[0] == 'triton']"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_kernel_is_chosen_on_a_device_without_a_gradient(monkeypatch):
    monkeypatch.setattr(dispatch, "_forced", None)
    x, learnt = torch.zeros(1), torch.zeros(1, requires_grad=True)
    assert dispatch.kernel_for(adacof, x) is None
    monkeypatch.setattr(torch.Tensor, "is_cuda", True)
    assert dispatch.kernel_for(adacof, x) is triton_adacof.adacof
    assert dispatch.kernel_for(adacof, x, learnt) is None
    with torch.no_grad():
        assert dispatch.kernel_for(adacof, x, learnt) is triton_adacof.adacof
    with monkeypatch.context() as tracing:
        tracing.setattr(torch.compiler, "is_compiling", lambda: True)
        assert dispatch.kernel_for(adacof, x) is None
    monkeypatch.setattr(dispatch, "_triton_is_installed", lambda: False)
    assert dispatch.kernel_for(adacof, x) is None


def test_the_plain_op_hands_over():
    frame, *taps = (x.float().to(DEVICE) for x in plain_adacof.example())
    with torch.no_grad(), dispatch.override("cuda"):
        assert torch.equal(adacof(frame, *taps, 2), triton_adacof.adacof(frame, *taps, 2))


# what the compiler makes of them, which needs no device

COMPILED = """
import re
import triton, triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from tweenlet.ops.cuda import adacof as triton_adacof
from tweenlet.ops.cuda import splat as triton_splat


def ptx(kernel, pointers, ones, constants):
    signature, values, attributes = {}, {}, {}
    for place, name in enumerate(kernel.arg_names):
        if name in constants or name in ones:
            signature[name], values[(place,)] = "constexpr", constants.get(name, 1)
        else:
            signature[name] = pointers.get(name, "i32")
            attributes[(place,)] = [["tt.divisibility", 16]]
    source = ASTSource(kernel, signature, values, attributes)
    return triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": 4}).asm["ptx"]


pointers = {"table": "*fp32", "out": "*fp32", "weight": "*fp16", "rows": "*fp16", "columns": "*fp16"}
constants = dict(
    CHANNELS=3, WIDE=4, SIDE=5, DILATION=1, PIXELS=16, TOGETHER=32, SOFTMAX=True, PRECISE=tl.float32
)
for layout, ones in (("pixels", "_t"), ("planes", "_x")):
    if layout == "planes":
        constants |= {"PIXELS": 256, "TOGETHER": 1}
    one = {name for name in triton_adacof._kernel.arg_names if name.endswith(ones)}
    code = ptx(triton_adacof._kernel, pointers, one, constants)
    print(layout, len(re.findall(r"ld\\.global\\.v4\\.b32", code)))
one = {name for name in triton_splat._kernel.arg_names if name.endswith("_x")}
pointers = dict.fromkeys(("values", "flow", "metric", "total"), "*fp32")
constants = dict(PIXELS=128, CHANNELS=3, WIDE=4, WEIGHTED=True, PRECISE=tl.float32)
code = ptx(triton_splat._kernel, pointers, one, constants)
print("splat", len(re.findall(r"add\\.v4\\.f32", code)))
"""


def test_a_hopper_reads_pixels_and_adds_to_them_sixteen_bytes_at_once(tmp_path):
    """Compiled for one, here: one wide read for each neighbour and tap of a thread, four wide additions."""
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-c", COMPILED], capture_output=True, text=True, check=False,
        env=environment | {"TRITON_CACHE_DIR": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = dict(line.split() for line in done.stdout.splitlines())
    # (pixels x taps) / (4 warps of 32) x 4 neighbours
    assert found == {"pixels": "16", "planes": "8", "splat": "4"}
