"""Latency: wall milliseconds for one new frame, by part, and the hooks that time the parts of a network."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median

import torch
from torch import nn

from tweenlet.inference.fused import Fast
from tweenlet.network.cost import flows_like, parts_of
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
def latency(
    model: STMFNet, height: int, width: int, runs: int = 5, enough: float = math.inf
) -> dict[str, float]:
    """Time the inference copy of a network in float32, on the network's device.

    Args:
        model: the network.
        height: of the frame, in pixels.
        width: of the frame, in pixels.
        runs: timed runs, after one warm-up run.
        enough: milliseconds; a first run that takes longer is the only one.

    Returns:
        Median wall milliseconds for one new frame, by part and for "all", which includes what is in no part.

    """
    running, flows = Fast(model), None
    height, width = (-(-side // model.stride) * model.stride for side in (height, width))
    device = next(model.parameters()).device
    frames = torch.rand(1, FRAMES, 3, height, width, device=device)
    if model.intermediate is not None and (flows := flows_like(model, height, width)) is not None:
        flows = flows.zero_().to(device)
    starts: dict[str, float] = {}
    times: dict[str, list[float]] = {name: [] for name in (*parts_of(running), "all")}

    def now() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return 1e3 * time.perf_counter()

    def begin(name: str) -> None:
        starts[name] = now()

    def end(name: str) -> None:
        times[name].append(now() - starts[name])

    with hook_parts(running, begin, end):
        for _ in range(runs + 1):
            begin("all")
            running(frames, flows)
            end("all")
            if times["all"][0] > enough:
                break
    return {name: median(taken[1:] or taken) for name, taken in times.items()}
