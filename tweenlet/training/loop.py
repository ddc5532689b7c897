"""The training loop: any network of the family, resumable bit for bit.

    folder/state.pt            everything that the next step depends on
    folder/model.safetensors   the averaged weights, a checkpoint like any other
    folder/best.safetensors    the weights that validated best
    folder/step-N.safetensors  with `keep`, the weights of the last saves
    folder/tensorboard/        with `tensorboard`, scalars and pictures
    folder/log.jsonl           one line every `log_every` steps, and one per validation

It takes objects and returns a Result; :mod:`tweenlet.training.data.build` builds the objects from paths.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from types import FrameType
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from tweenlet.evaluation.catalogue import Metric, resolve_metrics
from tweenlet.runtime.json_file import parse_json
from tweenlet.runtime.programs import existing_signals
from tweenlet.training import distributed
from tweenlet.training.data.batches import BatchSampler, predict, prefetch, sequential
from tweenlet.training.data.dataset import CropDataset
from tweenlet.training.identity import identity_of
from tweenlet.training.losses import Objective, build_objective, crop_border
from tweenlet.training.options import TrainOptions
from tweenlet.training.state import TrainingState
from tweenlet.training.tensorboard import Board

OUTPUT_FILES = ("model.safetensors", "best.safetensors", "state.pt", "log.jsonl")
STOP_SIGNALS = existing_signals("SIGINT", "SIGTERM", "SIGHUP", "SIGXCPU", "SIGBREAK")
"""Signals that stop a training after the current step, with its state saved."""


@dataclass(frozen=True)
class StepInfo:
    """Argument of the progress callback, after every step."""

    step: int
    """Steps taken, from 1."""
    steps: int
    """Steps in all."""
    loss: float
    samples_per_second: float
    psnr: float | None
    """Of the last validation, dB."""
    epoch: float = 0.0
    """Passes over the samples so far."""


@dataclass(frozen=True)
class Result:
    """Result of a training."""

    model: nn.Module
    """The averaged weights, in eval mode."""
    step: int
    seconds: float
    psnr: float | None
    """Of the last validation, dB."""
    blend_psnr: float | None
    """PSNR of blending the two middle frames of the same samples, dB."""
    stopped: str
    """"finished", "patience", "minutes" or "interrupted"."""

    def check_finished(self) -> None:
        """Raise KeyboardInterrupt if the training was interrupted, so that scripts stop too."""
        if self.stopped == "interrupted":
            raise KeyboardInterrupt


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
    identity: Mapping[str, Any] | None = None,
    anyway: bool = False,
) -> Result:
    """Train a model until its steps or minutes are over or it is interrupted; resumes from ``folder``.

    SIGTERM, SIGHUP and Ctrl-C stop it after the current step, with its state saved.

    Args:
        model: the network to train, in place.
        batches: batches of the training dataset.
        validation: dataset to validate on, if any.
        options: length and rates of the training, its loss, device and saves.
        folder: folder for the state, the averaged weights and the log.
        progress: called after every step.
        objective: loss to minimise; default: the losses in ``options``, against the truth.
        optimiser: optimiser of this model's parameters; default: the one in ``options``.
        identity: whatever else the run depends on, such as a teacher's digest: plain JSON types by name.
        anyway: resume in ``folder`` even if the run there differs in its options, start or data.

    Raises:
        DivergedError: the loss became NaN or exploded; the last saved state stays.
        ValueError: ``folder`` holds a run of another network, a different run, whose first difference is
            named, or a damaged state.
        FileExistsError: ``folder`` holds another program's files of these names.
        BlockingIOError: another run writes into ``folder``.
        OSError: a file cannot be written.

    """
    claimed = () if (folder / "state.pt").exists() else OUTPUT_FILES  # a state is checked when it is loaded
    with distributed.claim_folder_for_all(folder, claimed):
        options = options.over(len(batches.dataset), batches.batch_size)
        run = identity_of(model, options, batches, validation, {"stage": "train", **(identity or {})})
        state = TrainingState(model, options, folder, optimiser, run, anyway)
        state.epoch_steps = len(batches.dataset) / batches.batch_size
        return _run(state, batches, validation, progress, objective or build_objective(options))


def _run(
    state: TrainingState,
    batches: BatchSampler,
    validation: CropDataset | None,
    progress: Callable[[StepInfo], None] | None,
    objective: Objective,
) -> Result:
    """Take the remaining steps."""
    options = state.options
    blend_psnr = None
    if validation is not None:
        blend_psnr = validate(_Blend(_stride_of(state.ema)), validation, state.device, options.margin)
    first_step, earlier_seconds, start = state.step, state.seconds, time.monotonic()
    stopped = "finished"
    metrics = resolve_metrics(name for name in options.metrics if name != "psnr")
    pin = state.device.type == "cuda"
    with _Interruption() as interruption, Board(state, options.tensorboard) as board:
        for batch in prefetch(batches, state.step, options.steps, pin=pin):
            values = state.train_step(batch.to(state.device), objective)
            elapsed = time.monotonic() - start
            state.seconds = earlier_seconds + elapsed
            speed = (state.step - first_step) * batches.batch_size / elapsed
            last = state.step == options.steps
            if state.step % options.log_every == 0 or last:
                entry = {**values, "epoch": round(state.epoch, 3), "samples_per_second": round(speed, 1)}
                state.log(entry)
                board.add_scalars(entry)
            if validation is not None and (state.step % options.validate_every == 0 or last):
                scores = measure(state.ema, validation, metrics, state.device, options.margin)
                state.add_validation(scores["psnr"])
                state.log({**scores, "blend_psnr": blend_psnr})
                board.add_scalars(scores)
                board.add_pictures(state.ema, validation)
            if progress:
                info = StepInfo(state.step, options.steps, values["loss"], speed, state.psnr, state.epoch)
                progress(info)
            reason = _reason_to_stop(state, interruption.requested)
            if reason == "interrupted" or (reason and not last):  # even in the last step
                stopped = reason
                break
            if state.step % options.save_every == 0:
                state.save()
        state.save()
        if _reason_to_stop(state, interruption.requested) == "interrupted":
            stopped = "interrupted"
    return Result(state.ema, state.step, state.seconds, state.psnr, blend_psnr, stopped)


def _reason_to_stop(state: TrainingState, requested: bool) -> str:
    """Reason to stop early, or ""; agreed among all processes by one reduction."""
    minutes, patience = state.options.minutes, state.options.patience
    reasons = {
        "interrupted": requested,
        "minutes": minutes is not None and state.seconds >= 60 * minutes,
        "patience": patience is not None and state.validations_since_best >= patience,
    }
    urgent = next((rank for rank, wanted in enumerate(reasons.values()) if wanted), len(reasons))
    return [*reasons, ""][distributed.all_reduce_min(urgent)]


def read_log(folder: Path) -> list[dict[str, Any]]:
    """Read the log of the training in ``folder``, skipping damaged lines."""
    path = folder / "log.jsonl"
    lines = path.read_bytes().splitlines() if path.exists() else []
    entries = (_parse_entry(line) for line in lines)
    return [entry for entry in entries if entry is not None]


def _parse_entry(line: bytes) -> dict[str, Any] | None:
    try:
        entry = parse_json(line, "a line")
    except ValueError:
        return None
    valid = isinstance(entry, dict) and isinstance(entry.get("step"), int)
    return entry if valid and all(isinstance(v, int | float | None) for v in entry.values()) else None


@torch.no_grad()
def validate(
    model: nn.Module, dataset: CropDataset, device: torch.device | str = "cpu", margin: int = 0
) -> float:
    """Return the mean PSNR (dB) of a model over samples, ignoring their outer ``margin`` pixels.

    Samples are centre-cropped to multiples of the model's ``stride``.
    """
    errors: list[Tensor] = []
    for batch in sequential(dataset, multiple=_stride_of(model)):
        batch = batch.to(device)
        error = (predict(model, batch).clamp(0, 1) - batch.truth).square()
        errors.append(crop_border(error, margin).mean(dim=(1, 2, 3)))
    return float(-10 * (torch.cat(errors) + 1e-8).log10().mean())


@torch.no_grad()
def measure(
    model: nn.Module,
    dataset: CropDataset,
    metrics: Mapping[str, Metric],
    device: torch.device,
    margin: int = 0,
) -> dict[str, float]:
    """PSNR as by :func:`validate`, and the means of other metrics over whole samples, by name."""
    scores = {"psnr": validate(model, dataset, device, margin)}
    values: dict[str, list[float]] = {name: [] for name in metrics}
    for batch in sequential(dataset, 1, _stride_of(model)) if metrics else ():
        output = predict(model, batch.to(device))[0].float().clamp(0, 1).cpu()
        for name, metric in metrics.items():
            values[name].append(metric.measure(output, batch.truth[0], batch.frames[0, 1:3]))
    return scores | {name: mean(numbers) for name, numbers in values.items()}


def _stride_of(model: nn.Module) -> int:
    """Number that the height and width of a model's frames must be multiples of."""
    return int(getattr(model, "stride", 1))


class _Blend(nn.Module):
    """The mean of the two middle frames."""

    def __init__(self, stride: int):
        super().__init__()
        self.stride = stride

    def forward(self, frames: Tensor) -> Tensor:
        return frames[:, 1:3].mean(dim=1)


class _Interruption(AbstractContextManager["_Interruption"]):
    """While active, the first of STOP_SIGNALS only sets `requested`; the second acts as usual."""

    def __init__(self) -> None:
        self.requested = False
        self._handlers: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            numbers = (s for s in STOP_SIGNALS if signal.getsignal(s) != signal.SIG_IGN)
            self._handlers = {s: signal.signal(s, self._request_stop) for s in numbers}
        return self

    def _request_stop(self, _number: int, _frame: FrameType | None) -> None:
        self.requested = True
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def __exit__(self, *_: object) -> None:
        self._restore()
