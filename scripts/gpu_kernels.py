"""How fast the Triton kernels are on this CUDA device, by their settings, beside the plain ops and a copy.

    python scripts/gpu_kernels.py [--size 1920x1080]

AdaCoF with 5x5 taps in float16 of a picture in float32, softmax included, as the network calls it; splatting
of three channels by a metric, and of five without. For each: median milliseconds of 20 runs, bytes counted
(tweenlet/ops/cuda/*.py), and their rate as a share of a copy's. On a machine without a device it rehearses in
Triton's interpreter: TRITON_INTERPRET=1, --size 32x24.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from itertools import product
from statistics import median

import torch
from torch import Tensor

from tweenlet.network.cost import size_of
from tweenlet.ops.adacof import adacof
from tweenlet.ops.cuda import adacof as triton_adacof
from tweenlet.ops.cuda import splat as triton_splat
from tweenlet.ops.dispatch import override
from tweenlet.ops.splat import splat, splat_sum

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
RUNS = 20 if DEVICE == "cuda" else 1
TAPS = 25


def milliseconds(run: Callable[[], object]) -> float:
    """Of one run, by events on the device; the first three warm up."""
    times = []
    for _ in range(RUNS + 3 if DEVICE == "cuda" else RUNS):
        if DEVICE == "cuda":
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record()
            run()
            end.record()
            end.synchronize()
            times.append(begin.elapsed_time(end))
        else:
            began = time.perf_counter()
            run()
            times.append(1e3 * (time.perf_counter() - began))
    return median(times[-RUNS:])


def off(output: Tensor, expected: Tensor) -> float:
    """The error relative to the size of what is wanted."""
    return float((output.double() - expected.double()).norm() / expected.double().norm())


def copy_rate() -> float:
    """GB a second, read and written."""
    source = torch.rand(2**28 if DEVICE == "cuda" else 2**16, device=DEVICE)
    target = torch.empty_like(source)
    return 2 * source.nbytes / milliseconds(lambda: target.copy_(source)) / 1e6


def tell(name: str, ms: float, moved: float, copy: float, error: float) -> None:
    """A line of the table."""
    rate = moved / ms / 1e6
    print(f"{name:58}{ms:9.3f} ms{moved / 1e9:7.2f} GB{rate:9.0f} GB/s{rate / copy:7.0%}   off {error:.1e}")


def main() -> None:
    """Time everything and print a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", default="1920x1080")
    width, height = size_of(parser.parse_args().size)
    torch.manual_seed(0)
    pixels = width * height
    copy = copy_rate()
    print(f"{torch.cuda.get_device_name() if DEVICE == 'cuda' else 'interpreter'}: copy {copy:.0f} GB/s")

    # neighbouring pixels move nearly alike, as in a video
    def smooth(channels: int, spread: float) -> Tensor:
        coarse = torch.randn(1, channels, height // 8 + 1, width // 8 + 1, device=DEVICE)
        return spread * torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")

    frame = torch.rand(1, 3, height, width, device=DEVICE)
    planes = [smooth(TAPS, spread).half() for spread in (1.0, 3.0, 3.0)]
    with (
        torch.inference_mode(),
        override("reference"),
    ):  # kernels are called by themselves, beside the plain ops
        plain = adacof(frame, *planes, softmax=True)
        moved = pixels * (6 * TAPS + 28 + 16 + 12)
        tell("adacof, plain", milliseconds(lambda: adacof(frame, *planes, softmax=True)), moved, copy, 0)
        pixel_by_pixel = [x.contiguous(memory_format=torch.channels_last) for x in planes]
        choose = triton_adacof._together
        for name, taps, together in (
            ("planes, tap by tap", planes, 1),
            ("pixels, all taps", pixel_by_pixel, 32),
            ("pixels, tap by tap", pixel_by_pixel, 1),
            ("pixels, eight taps", pixel_by_pixel, 8),
        ):
            triton_adacof._together = lambda _, together=together: together
            for samples, warps in product((1024, 2048, 4096), (2, 4, 8)):
                triton_adacof.SAMPLES, triton_adacof.WARPS = samples, warps
                triton_adacof.MOST_PIXELS = 64 * warps

                def run(taps: list[Tensor] = taps) -> Tensor:
                    return triton_adacof.adacof(frame, *taps, softmax=True)

                setting = f"adacof, {name}, {samples} samples, {warps} warps"
                tell(setting, milliseconds(run), moved, copy, off(run(), plain))
                if DEVICE == "cpu":
                    break
        triton_adacof._together = choose

        flow, metric = smooth(2, 6.0), torch.randn(1, 1, height, width, device=DEVICE)
        five = torch.rand(1, 5, height, width, device=DEVICE)
        for name, ours, theirs, inputs, moved in (
            ("splat of 3", triton_splat.splat, splat, (frame, flow, metric), pixels * (12 + 12 + 48 + 28)),
            ("sum of 5", triton_splat.splat_sum, splat_sum, (five, flow), pixels * (20 + 8 + 96)),
        ):
            expected = theirs(*inputs)
            tell(f"{name}, plain", milliseconds(lambda t=theirs, i=inputs: t(*i)), moved, copy, 0)
            for size, warps in ((64, 2), (128, 4), (256, 4), (256, 8), (512, 8)):
                triton_splat.PIXELS, triton_splat.WARPS = size, warps
                ms = milliseconds(lambda o=ours, i=inputs: o(*i))
                tell(f"{name}, {size} pixels, {warps} warps", ms, moved, copy, off(ours(*inputs), expected))


if __name__ == "__main__":
    main()
