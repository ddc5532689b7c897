"""TrainingState: all that the next training step depends on, one step of it, and how it is kept on disk."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from tweenlet.inference.fused import Fast
from tweenlet.network import checkpoint as weights
from tweenlet.network.stmfnet import STMFNet
from tweenlet.runtime.atomic import atomic_write, preallocate, write_bytes_atomically
from tweenlet.runtime.devices import resolve_device
from tweenlet.training import distributed
from tweenlet.training.data.batches import Batch
from tweenlet.training.losses import Objective
from tweenlet.training.options import TrainOptions

OPTIMISERS = {"adamw": torch.optim.AdamW, "adamax": torch.optim.Adamax}


BN_AVERAGING_STEPS = 100
"""Steps over which the statistics of batch norms are averaged before they are kept."""


class DivergedError(ValueError):
    """The loss or its gradient left the finite, or all it had been, at the step that the message names."""


class TrainingState:
    """Weights, their average, optimiser, step and generators. Goes on from `folder` where one is kept there.

    Without an ``optimiser``, the one that the options name is made. Of processes that train together, the
    first one alone writes. ValueError where `folder` holds the training of another network.
    """

    def __init__(
        self, model: nn.Module, options: TrainOptions, folder: Path, optimiser: Optimizer | None = None
    ) -> None:
        self.folder, self.options = folder, options
        self.device = resolve_device(options.device)
        model = _channels_last(model.to(self.device)).train()
        self.averaged: nn.Module = copy.deepcopy(model).eval().requires_grad_(False)
        self.model = distributed.convert_sync_batchnorm(model)
        self.optimiser = optimiser or OPTIMISERS[options.optimiser](
            self.model.parameters(), options.learning_rate, weight_decay=options.weight_decay
        )
        self.step, self.seconds = 0, 0.0
        self.usual_loss: float | None = None
        self.psnr: float | None = None
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / "state.pt").exists():
            self._load()
        self._learner = distributed.wrap_ddp(self.model)
        if distributed.rank() == 0:
            self._shorten_log()

    def train_step(self, batch: Batch, objective: Objective) -> dict[str, float]:
        """Take one step; returns the loss, its terms, the norm of the gradient and the rate, by name.

        DivergedError, before anything is changed, where loss or gradient are not finite or explode.
        """
        rate = self.options.rate_at(self.step)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self._update_batchnorms()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.options.precision == "bfloat16"):
            prediction = predict(self._learner, batch)
        loss, terms = objective(prediction.float(), batch)
        value = distributed.all_reduce_mean(float(loss.detach()))
        calm = (
            self.step > 100 and not 0 <= self.step - self._bn_frozen_from < BN_AVERAGING_STEPS
        )  # it jumps when norms settle
        if self.usual_loss is not None and calm:
            self._check(
                "loss", value, batch, limit=self.options.divergence_factor * max(abs(self.usual_loss), 0.1)
            )
        self._check("loss", value, batch)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = float(nn.utils.clip_grad_norm_(self.model.parameters(), self.options.max_grad_norm))
        self._check("gradient", norm, batch)
        self.optimiser.step()
        self.step += 1
        self._update_ema(min(self.options.ema_decay, (1 + self.step) / (10 + self.step)))
        self.usual_loss = value if self.usual_loss is None else 0.99 * self.usual_loss + 0.01 * value
        by_name = {name: distributed.all_reduce_mean(float(term.detach())) for name, term in terms.items()}
        return {"loss": value, **by_name, "gradient": norm, "rate": rate}

    def _update_batchnorms(self) -> None:
        """Let batch norms first take the mean of their statistics over some steps, and then keep it."""
        since = self._bn_frozen_from
        start = max(0, since - BN_AVERAGING_STEPS)
        for module in self.model.modules():
            if isinstance(module, _BatchNorm):
                if self.step >= since:
                    module.eval()
                elif self.step >= start and since < self.options.steps:
                    module.momentum = 1 / (self.step - start + 1)

    @property
    def _bn_frozen_from(self) -> int:
        return round(self.options.freeze_bn_after * self.options.steps)

    def _check(self, what: str, value: float, batch: Batch, limit: float = math.inf) -> None:
        if not (math.isfinite(value) and abs(value) < limit):
            raise DivergedError(
                f"the {what} became {value:.4g} at step {self.step + 1}, on samples of "
                f"{', '.join(sorted(set(batch.sources))) or 'unknown source'}; "
                f"{self._last_save()}; a rate smaller than {self.options.learning_rate:g} may help"
            )

    def _last_save(self) -> str:
        kept = (self.folder / "state.pt").exists()
        return f"the last good state is in {self.folder}" if kept else "no state had been saved yet"

    @torch.no_grad()
    def _update_ema(self, decay: float) -> None:
        mean, now = self.averaged.state_dict(), self.model.state_dict()
        learnt = dict(self.model.named_parameters()).keys()
        for name, tensor in mean.items():
            if name in learnt or (tensor.is_floating_point() and self.step <= self._bn_frozen_from):
                tensor.lerp_(now[name], 1 - decay)  # norms' statistics too: they must fit the mean weights
            else:
                tensor.copy_(now[name])

    def log(self, values: Mapping[str, float | None]) -> None:
        """Add a line to the log."""
        entry = {"step": self.step, **values, "seconds": round(self.seconds, 1)}
        if distributed.rank():
            return
        path = self.folder / "log.jsonl"
        try:
            with path.open("a") as file:
                file.write(json.dumps(entry) + "\n")
        except OSError as error:
            raise OSError(f"cannot write {path}: {error.strerror or error}") from error

    def _shorten_log(self) -> None:
        """Forget the lines of steps that a killed session took and did not save."""
        path = self.folder / "log.jsonl"
        if path.exists():
            lines = path.read_text(errors="replace").splitlines(keepends=True)
            lasting = "".join(line for line in lines if _step_of(line) <= self.step)
            write_bytes_atomically(path, lasting.encode())

    def save(self) -> None:
        """Keep the state, and export the averaged weights; each file appears whole."""
        if distributed.rank():
            return
        state = {
            "config": _config_of(self.model),
            "options": json.dumps(asdict(self.options)),
            "step": self.step,
            "seconds": self.seconds,
            "usual_loss": self.usual_loss,
            "psnr": self.psnr,
            "model": self.model.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "random": torch.get_rng_state(),
            "random_cuda": torch.cuda.get_rng_state() if self.device.type == "cuda" else None,
        }
        _write(self.folder / "state.pt", state)
        if isinstance(self.averaged, STMFNet):
            extra = {"step": str(self.step)}
            if self.psnr is not None:
                extra["validation_psnr"] = f"{self.psnr:.3f}"
            weights.save(self.folder / "model.safetensors", self.averaged, extra)

    def _load(self) -> None:
        path = self.folder / "state.pt"
        try:
            state: dict[str, Any] = torch.load(path, map_location=self.device, weights_only=True)
            held = state["config"]
        except MemoryError:
            raise
        except Exception as error:
            raise ValueError(f"not a readable training state: {path}") from error
        if held != _config_of(self.model):
            raise ValueError(f"{self.folder} holds the training of another network: {held}")
        try:
            self._take(state)
        except MemoryError:
            raise
        except Exception as error:  # whatever was done to it: the message names the file
            raise ValueError(f"{path} is damaged: {' '.join(str(error).split())[:200]}") from error

    def _take(self, state: Mapping[str, Any]) -> None:
        """Go on from a state. Any error where that is no such state."""
        self.model.load_state_dict(state["model"])
        self.averaged.load_state_dict(state["averaged"])
        self.optimiser.load_state_dict(state["optimiser"])
        for parameter, held in self.optimiser.state.items():
            shapes = {tuple(value.shape) for value in held.values() if isinstance(value, Tensor)}
            if not shapes <= {(), tuple(parameter.shape)}:
                raise ValueError(f"expected {tuple(parameter.shape)} in the optimiser, got {shapes}")
        self.step, self.seconds = int(state["step"]), float(state["seconds"])
        self.usual_loss, self.psnr = _number(state["usual_loss"]), _number(state["psnr"])
        if self.step < 0 or not math.isfinite(self.seconds):
            raise ValueError(f"expected a step and seconds, got {self.step} and {self.seconds}")
        torch.set_rng_state(state["random"].cpu())
        if state["random_cuda"] is not None and self.device.type == "cuda":
            torch.cuda.set_rng_state(state["random_cuda"].cpu())


def _write(path: Path, state: Mapping[str, Any]) -> None:
    """Write a state, with room taken first; OSError, and the old one is as it was, where that fails."""
    try:
        with atomic_write(path) as partial:
            preallocate(partial, _bytes_in(state) + 2**20)  # names, shapes and gaps between tensors
            with partial.open("r+b") as file:
                torch.save(state, file)
                file.truncate()
    except RuntimeError as error:  # of torch, whatever it was that went wrong
        raise OSError(f"cannot write {path}: {str(error).splitlines()[0]}") from error


def _bytes_in(value: Any) -> int:
    """What the tensors in a nest of mappings and sequences take."""
    if isinstance(value, Tensor):
        return value.nbytes
    if isinstance(value, Mapping | list | tuple):
        return sum(map(_bytes_in, value.values() if isinstance(value, Mapping) else value))
    return 0


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


def predict(model: nn.Module, batch: Batch) -> Tensor:
    """The model's (B, 3, h, w) for a batch, with the batch's flows where its config asks for them."""
    network = model.module if isinstance(model, DistributedDataParallel) else model
    if isinstance(network, STMFNet | Fast) and network.config.flow == "dis":
        if batch.flows is None:
            raise ValueError("this network needs optical flow, and the samples were stored without")
        return model(batch.frames, batch.flows)  # type: ignore[no-any-return]
    return model(batch.frames)  # type: ignore[no-any-return]


def _channels_last(model: nn.Module) -> nn.Module:
    """The model with its kernels laid out channels last, which most convolutions like best.

    But for 3-D kernels on pictures: PyTorch's batch norms take the variance of what comes out, channels last,
    as a difference of large numbers, and gradients were off by 0.2 %.
    """
    for parameter in model.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
        if parameter.dim() == 5 and parameter.shape[1] > 3:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last_3d)
    return model


def _config_of(model: nn.Module) -> str:
    return json.dumps(model.config.to_json()) if isinstance(model, STMFNet) else type(model).__name__


def _step_of(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except (ValueError, TypeError, KeyError, RecursionError):  # a line cut off by a kill, or edited
        return math.inf
