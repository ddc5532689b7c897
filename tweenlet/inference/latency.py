"""Latency: wall milliseconds for one new frame, by part, of the copy for inference."""

from __future__ import annotations

import math
import time
from statistics import median

import torch

from tweenlet.inference.fused import Fast
from tweenlet.network.cost import flows_like, parts_of
from tweenlet.network.stmfnet import FRAMES, STMFNet


@torch.no_grad()
def latency(
    model: STMFNet, height: int, width: int, runs: int = 5, enough: float = math.inf
) -> dict[str, float]:
    """Wall milliseconds for one new frame of ``height`` x ``width`` where the model is, by part and of "all".

    By its copy for inference, as videos are made, in float32. Medians of ``runs`` after one that warms up; a
    first run of more than ``enough`` milliseconds is the only one. "all" holds what no part does too:
    classical flow, if the network uses it.
    """
    running, flows = Fast(model), None
    height, width = (-(-side // model.stride) * model.stride for side in (height, width))
    device = next(model.parameters()).device
    frames = torch.rand(1, FRAMES, 3, height, width, device=device)
    if model.intermediate is not None and (flows := flows_like(model, height, width)) is not None:
        flows = flows.zero_().to(device)
    begun: dict[str, float] = {}
    taken: dict[str, list[float]] = {name: [] for name in (*parts_of(running), "all")}

    def now() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return 1e3 * time.perf_counter()

    def begin(name: str) -> None:
        begun[name] = now()

    def end(name: str) -> None:
        taken[name].append(now() - begun[name])

    hooks = [
        hook
        for name, part in parts_of(running).items()
        for hook in (
            part.register_forward_pre_hook(lambda *_, name=name: begin(name)),
            part.register_forward_hook(lambda *_, name=name: end(name)),
        )
    ]
    try:
        for _ in range(runs + 1):
            begin("all")
            running(frames, flows)
            end("all")
            if taken["all"][0] > enough:
                break
    finally:
        for hook in hooks:
            hook.remove()
    return {name: median(times[1:] or times) for name, times in taken.items()}
