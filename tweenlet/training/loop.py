"""The one training loop: any network of the family, resumable to the bit.

    folder/state.pt            all that the next step depends on
    folder/model.safetensors   the averaged weights, a checkpoint that loads like any other
    folder/log.jsonl           one line every `log_every` steps and one per validation

It takes objects and returns a Result; :mod:`tweenlet.compression.teachers` makes the objects from paths.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from tweenlet.runtime.json_file import parse_json
from tweenlet.training import distributed
from tweenlet.training.data.batches import BatchSampler, prefetch, sequential
from tweenlet.training.data.store import CropDataset
from tweenlet.training.losses import Objective, build_objective, crop_border
from tweenlet.training.options import TrainOptions
from tweenlet.training.state import TrainingState, predict

WRITTEN = ("model.safetensors", "state.pt", "log.jsonl")
INTERRUPTING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGXCPU)


@dataclass(frozen=True)
class StepInfo:
    """What a progress callback hears after every step."""

    step: int
    steps: int
    loss: float
    samples_per_second: float
    psnr: float | None


@dataclass(frozen=True)
class Result:
    """How a training ended."""

    model: nn.Module
    """With the averaged weights, in eval mode."""
    step: int
    seconds: float
    psnr: float | None
    """Of the last validation, dB."""
    blend_psnr: float | None
    """What blending the two middle frames gets on the same samples."""
    stopped: str
    """"finished", "minutes" or "interrupted"."""


def train(
    model: nn.Module,
    batches: BatchSampler,
    validation: CropDataset | None,
    options: TrainOptions,
    folder: Path,
    progress: Callable[[StepInfo], None] | None = None,
    *,
    objective: Objective | None = None,
    optimiser: Optimizer | None = None,
) -> Result:
    """Train a model until its steps or minutes end or it is interrupted; goes on where `folder` left off.

    It learns the truth by the loss that the options name, or whatever the ``objective`` says, with the
    optimiser that the options name or one of the caller's, made for the parameters of this very model.
    SIGTERM, SIGHUP and Ctrl-C end it after the step under way, saved. DivergedError when the loss becomes
    NaN or explodes: the last saved state stays. ValueError when `folder` holds the training of another
    network, FileExistsError when it holds such files of another program, BlockingIOError when another run
    writes into it.
    """
    written = () if (folder / "state.pt").exists() else WRITTEN  # whose state it is shows when it is read
    with distributed.claim_folder_for_all(folder, written):
        state = TrainingState(model, options, folder, optimiser)
        return _run(state, batches, validation, progress, objective or build_objective(options))


def _run(
    state: TrainingState,
    batches: BatchSampler,
    validation: CropDataset | None,
    progress: Callable[[StepInfo], None] | None,
    objective: Objective,
) -> Result:
    """The steps that are left."""
    options, margin = state.options, state.options.margin
    blend_psnr = None if validation is None else validate(_Blend(), validation, state.device, margin)
    first, before, begun = state.step, state.seconds, time.monotonic()
    stopped = "finished"
    with _Interruption() as interruption:
        for batch in prefetch(batches, state.step, options.steps):
            values = state.train_step(batch.to(state.device), objective)
            elapsed = time.monotonic() - begun
            state.seconds = before + elapsed
            speed = (state.step - first) * batches.size / elapsed
            last = state.step == options.steps
            if state.step % options.log_every == 0 or last:
                state.log({**values, "samples_per_second": round(speed, 1)})
            if validation is not None and (state.step % options.validate_every == 0 or last):
                state.psnr = validate(state.averaged, validation, state.device, margin)
                state.log({"psnr": state.psnr, "blend_psnr": blend_psnr})
            if progress:
                progress(StepInfo(state.step, options.steps, values["loss"], speed, state.psnr))
            late = options.minutes is not None and state.seconds >= 60 * options.minutes
            if distributed.any_process(interruption.asked) and not last:
                stopped = "interrupted"
                break
            if distributed.any_process(late) and not last:
                stopped = "minutes"
                break
            if state.step % options.save_every == 0:
                state.save()
    state.save()
    return Result(state.averaged, state.step, state.seconds, state.psnr, blend_psnr, stopped)


def read_log(folder: Path) -> list[dict[str, Any]]:
    """The lines of the log of a training in ``folder``, but for those that are no sound lines of one."""
    path = folder / "log.jsonl"
    lines = path.read_bytes().splitlines() if path.exists() else []
    entries = (_entry(line) for line in lines)
    return [entry for entry in entries if entry is not None]


def _entry(line: bytes) -> dict[str, Any] | None:
    try:
        entry = parse_json(line, "a line")
    except ValueError:
        return None
    sound = isinstance(entry, dict) and isinstance(entry.get("step"), int)
    return entry if sound and all(isinstance(v, int | float | None) for v in entry.values()) else None


@torch.no_grad()
def validate(
    model: nn.Module, samples: CropDataset, device: torch.device | str = "cpu", margin: int = 0
) -> float:
    """Mean PSNR (dB) of a model over samples as they are, without their outer `margin` pixels."""
    errors: list[Tensor] = []
    for batch in sequential(samples):
        there = batch.to(device)
        error = (predict(model, there).clamp(0, 1) - there.truth).square()
        errors.append(crop_border(error, margin).mean(dim=(1, 2, 3)))
    return float(-10 * (torch.cat(errors) + 1e-8).log10().mean())


class _Blend(nn.Module):
    """The mean of the two middle frames."""

    def forward(self, frames: Tensor) -> Tensor:
        return frames[:, 1:3].mean(dim=1)


class _Interruption(AbstractContextManager["_Interruption"]):
    """Within it, the first of INTERRUPTING only sets `asked`; a second one acts as it always did."""

    def __init__(self) -> None:
        self.asked = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            heard = (s for s in INTERRUPTING if signal.getsignal(s) != signal.SIG_IGN)
            self._before = {s: signal.signal(s, self._hear) for s in heard}
        return self

    def _hear(self, _number: int, _frame: FrameType | None) -> None:
        self.asked = True
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def __exit__(self, *_: object) -> None:
        self._restore()
