"""Latency: wall milliseconds for one new frame, by part, and the hooks that time the parts of a network."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from tweenlet.inference.fused import FusedSTMFNet
from tweenlet.network.cost import parts_of
from tweenlet.network.four_frames import FourFrameFlow
from tweenlet.network.motion import PAIR_TIME
from tweenlet.network.stmfnet import FRAMES, STMFNet


@contextmanager
def hook_parts(
    model: nn.Module, before: Callable[[str], None], after: Callable[[str], None]
) -> Iterator[None]:
    """Call ``before`` and ``after`` with the name of each part of a network around its forward pass.

    Args:
        model: a network, or its copy for inference; its parts are those of
            :func:`~tweenlet.network.cost.parts_of`.
        before: called with the part's name before its forward pass.
        after: called with the part's name after it.

    """
    hooks = []
    for name, part in parts_of(model).items():
        hooks.append(part.register_forward_pre_hook(lambda *_, name=name: before(name)))
        hooks.append(part.register_forward_hook(lambda *_, name=name: after(name)))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@torch.no_grad()
def latency_runs(
    model: STMFNet,
    height: int,
    width: int,
    runs: int = 5,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Time the inference copy of a network in float32, on the network's device.

    For a network of four frames, this covers the features of one frame and the motion of one pair, as in a
    stream.

    Args:
        model: the network.
        height: height of the frame, in pixels.
        width: width of the frame, in pixels.
        runs: number of timed runs, after one warm-up run.
        clock: returns seconds; default: wall time.

    Returns:
        Milliseconds of each run, by part and for "all", which includes the work outside the parts.

    """
    running = FusedSTMFNet(model)
    height, width = (-(-side // model.stride) * model.stride for side in (height, width))
    device = next(model.parameters()).device
    frames = torch.rand(1, FRAMES, 3, height, width, device=device)
    starts: dict[str, float] = {}
    times: dict[str, list[float]] = {name: [] for name in (*parts_of(running), "all")}

    def now() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return 1e3 * clock()

    def begin(name: str) -> None:
        starts[name] = now()

    def end(name: str) -> None:
        times[name].append(now() - starts[name])

    with hook_parts(running, begin, end):
        for _ in range(runs + 1):
            begin("all")
            if isinstance(running.intermediate, FourFrameFlow):
                _run_in_stream(running.intermediate, frames)
            else:
                running(frames)
            end("all")
    return {name: taken[1:] for name, taken in times.items()}


def _run_in_stream(branch: FourFrameFlow, frames: Tensor) -> Tensor:
    """The frame in the middle of four (1, 4, 3, H, W), with stand-ins for what a stream has cached."""
    times = torch.full((1, 1, 1, 1), PAIR_TIME, device=frames.device)
    features = branch.features(frames[:, 2])
    estimate = branch.estimate(features, features, times)
    repeats = torch.zeros(1, 2, dtype=torch.bool, device=frames.device)
    return branch.frame(frames, PAIR_TIME, branch.join((features, features), [estimate] * 3, repeats, times))
