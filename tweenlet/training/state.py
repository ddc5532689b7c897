"""Training state: everything the next step depends on, the step itself, and the file on disk."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import Optimizer

from tweenlet.network import checkpoint as weights
from tweenlet.network.stmfnet import STMFNet
from tweenlet.network.weight_files import rename_from_format_1
from tweenlet.runtime.atomic import atomic_write, write_bytes_atomically
from tweenlet.runtime.devices import resolve_device
from tweenlet.runtime.disk_space import preallocate
from tweenlet.runtime.json_file import parse_json
from tweenlet.training import distributed
from tweenlet.training.data.batches import Batch, predict
from tweenlet.training.identity import check_identity
from tweenlet.training.losses import Objective
from tweenlet.training.options import TrainOptions

OPTIMISERS: dict[str, Callable[..., Optimizer]] = {"adamw": torch.optim.AdamW, "adamax": torch.optim.Adamax}
BN_AVERAGING_STEPS = 100
"""Steps over which batch-norm statistics are averaged before they are frozen."""
GRACE_STEPS = 100
"""First steps, during which a jump of the loss does not count as divergence."""
RENAMED = {"usual_loss": "running_loss", "averaged": "ema"}
"""Entries of older states: old name -> current name."""


class DivergedError(ValueError):
    """Loss or gradient became infinite or NaN, or exploded, at the step that the message names."""


class TrainingState:
    """Weights, their moving average, optimiser, step and random generators; resumes from ``folder``.

    Of distributed processes, only the first one writes.

    Args:
        model: the network to train; moved to the device in the options.
        options: options of the training.
        folder: folder for the state, the averaged weights and the log; a saved state is resumed.
        optimiser: optimiser of the model's parameters; default: the one in the options.
        identity: identity of the run (:mod:`tweenlet.training.identity`).
        anyway: resume even if the identity differs.

    Raises:
        ValueError: ``folder`` holds the training of another network, another run, or a damaged state.

    """

    def __init__(
        self,
        model: nn.Module,
        options: TrainOptions,
        folder: Path,
        optimiser: Optimizer | None = None,
        identity: Mapping[str, Any] | None = None,
        anyway: bool = False,
    ) -> None:
        self.folder, self.options = folder, options
        self._identity, self._anyway = dict(identity or {}), anyway
        self.device = resolve_device(options.device)
        model = _channels_last(model.to(self.device)).train()
        self.ema: nn.Module = copy.deepcopy(model).eval().requires_grad_(False)
        self.model = distributed.convert_sync_batchnorm(model)
        self.optimiser = optimiser or build_optimiser(self.model, options)
        self.step, self.seconds = 0, 0.0
        self.running_loss: float | None = None
        self.psnr: float | None = None
        self.best_psnr, self.validations_since_best = -math.inf, 0
        self.epoch_steps = math.inf
        """Steps per epoch, if known."""
        self._last_values = dict[str, float]()
        half = options.precision == "float16"
        self._dtype = torch.float16 if half else torch.bfloat16
        self._scaler = torch.amp.GradScaler(self.device.type, enabled=half)
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / "state.pt").exists():
            self._load()
        self._learner = distributed.wrap_ddp(self.model)
        if distributed.rank() == 0:
            self._truncate_log()

    def train_step(self, batch: Batch, objective: Objective) -> dict[str, float]:
        """Take one step.

        Args:
            batch: a batch on the state's device.
            objective: the loss to minimise.

        Returns:
            "loss", its terms, "gradient" (the norm) and "rate", by name.

        Raises:
            DivergedError: loss or gradient are not finite, or the loss explodes. Nothing has changed then.

        """
        rate = self.options.rate_at(self.step, self.epoch_steps)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self._update_batchnorms()
        self.optimiser.zero_grad(set_to_none=True)
        terms = self._accumulate_gradients(batch, objective)
        reads = self._reads_numbers
        values = {n: distributed.all_reduce_mean(float(term)) for n, term in terms.items()} if reads else {}
        self._scaler.unscale_(self.optimiser)
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.options.max_grad_norm)
        if reads:
            values["gradient"] = float(norm)
            if not self._scaler.is_enabled():  # the scaler skips the step and lowers its scale
                self._check("gradient", values["gradient"], batch)
        self._scaler.step(self.optimiser)
        self._scaler.update()
        self.step += 1
        self._update_ema(min(self.options.ema_decay, (1 + self.step) / (10 + self.step)))
        if reads:
            loss, running = values["loss"], self.running_loss
            self.running_loss = loss if running is None else 0.99 * running + 0.01 * loss
            self._last_values = values
        return {**self._last_values, "rate": rate}

    @property
    def _reads_numbers(self) -> bool:
        """Whether to read and check this step's numbers; on a GPU, to avoid synchronising, only if logged."""
        logged = (self.step + 1) % self.options.log_every == 0 or not self._last_values
        return self.device.type != "cuda" or logged

    def _accumulate_gradients(self, batch: Batch, objective: Objective) -> dict[str, Tensor]:
        """Run a batch part by part; returns the means of the loss and its terms, by name."""
        parts = batch.split(self.options.accumulate)
        sums = dict[str, Tensor]()
        for number, part in enumerate(parts):
            last = number == len(parts) - 1
            with distributed.no_sync(self._learner) if not last else nullcontext():
                enabled = self.options.precision != "float32"
                with torch.autocast(self.device.type, self._dtype, enabled=enabled):
                    prediction = predict(self._learner, part)
                loss, terms = objective(prediction.float(), part)
                if self._reads_numbers:
                    self._check_loss(distributed.all_reduce_mean(float(loss.detach())), part)
                self._scaler.scale(loss / len(parts)).backward()  # type: ignore[no-untyped-call]
            for name, term in {"loss": loss, **terms}.items():
                share = term.detach() / len(parts)
                sums[name] = sums[name] + share if name in sums else share
        return sums

    def _check_loss(self, value: float, batch: Batch) -> None:
        just_frozen = 0 <= self.step - self._bn_frozen_from < BN_AVERAGING_STEPS  # the loss jumps
        limit = math.inf
        if self.running_loss is not None and self.step > GRACE_STEPS and not just_frozen:
            limit = self.options.divergence_factor * max(abs(self.running_loss), 0.1)
        self._check("loss", value, batch, limit)

    def _update_batchnorms(self) -> None:
        """Average the statistics of batch norms over BN_AVERAGING_STEPS, and freeze them after that."""
        frozen_from = self._bn_frozen_from
        start = max(0, frozen_from - BN_AVERAGING_STEPS)
        for module in self.model.modules():
            if isinstance(module, _BatchNorm):
                if self.step >= frozen_from:
                    module.eval()
                elif self.step >= start and frozen_from < self.options.steps:
                    module.momentum = 1 / (self.step - start + 1)

    @property
    def _bn_frozen_from(self) -> int:
        return round(self.options.freeze_bn_after * self.options.steps)

    def _check(self, quantity: str, value: float, batch: Batch, limit: float = math.inf) -> None:
        if not (math.isfinite(value) and abs(value) < limit):
            raise DivergedError(
                f"the {quantity} became {value:.4g} at step {self.step + 1}, on samples of "
                f"{', '.join(sorted(set(batch.sources))) or 'unknown source'}; "
                f"{self._last_save()}; a rate smaller than {self.options.learning_rate:g} may help"
            )

    def _last_save(self) -> str:
        saved = (self.folder / "state.pt").exists()
        return f"the last good state is in {self.folder}" if saved else "no state had been saved yet"

    @torch.no_grad()
    def _update_ema(self, decay: float) -> None:
        average, current = self.ema.state_dict(), self.model.state_dict()
        parameters = dict(self.model.named_parameters()).keys()
        averaged, copied = list[str](), list[str]()
        for name, tensor in average.items():  # batch-norm statistics too: they must fit the weights
            averages = name in parameters or (
                tensor.is_floating_point() and self.step <= self._bn_frozen_from
            )
            (averaged if averages else copied).append(name)
        torch._foreach_lerp_([average[n] for n in averaged], [current[n] for n in averaged], 1 - decay)
        if copied:
            torch._foreach_copy_([average[n] for n in copied], [current[n] for n in copied])

    @property
    def epoch(self) -> float:
        """Passes over the samples so far."""
        return self.step / self.epoch_steps

    def add_validation(self, psnr: float) -> None:
        """Record the PSNR (dB) of a validation; the best weights are written to best.safetensors."""
        self.psnr = psnr
        self.validations_since_best += 1
        if psnr > self.best_psnr:
            self.best_psnr, self.validations_since_best = psnr, 0
            self._export("best.safetensors")

    def log(self, values: Mapping[str, float | None]) -> None:
        """Append a line to the log; OSError if that fails."""
        entry = {"step": self.step, **values, "seconds": round(self.seconds, 1)}
        if distributed.rank():
            return
        path = self.folder / "log.jsonl"
        try:
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")
        except OSError as error:
            raise OSError(f"cannot write {path}: {error.strerror or error}") from error

    def _truncate_log(self) -> None:
        """Drop the lines of steps after the saved state."""
        path = self.folder / "log.jsonl"
        if path.exists():
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
            valid = "".join(line for line in lines if _step_of(line) <= self.step)
            write_bytes_atomically(path, valid.encode())

    def save(self) -> None:
        """Save the state and export the averaged weights, each file atomically; OSError if that fails."""
        if distributed.rank():
            return
        state = {
            "config": _config_of(self.model),
            "options": json.dumps(asdict(self.options)),
            "identity": json.dumps(self._identity),
            "step": self.step,
            "seconds": self.seconds,
            "running_loss": self.running_loss,
            "psnr": self.psnr,
            "best_psnr": self.best_psnr,
            "validations_since_best": self.validations_since_best,
            "scaler": self._scaler.state_dict(),
            "model": self.model.state_dict(),
            "ema": self.ema.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "random": torch.get_rng_state(),
            "random_cuda": torch.cuda.get_rng_state() if self.device.type == "cuda" else None,
        }
        _write(self.folder / "state.pt", state)
        self._export("model.safetensors")
        if self.options.keep:
            self._export(f"step-{self.step:07}.safetensors")
            for path in sorted(self.folder.glob("step-*.safetensors"))[: -self.options.keep]:
                path.unlink()

    def _export(self, name: str) -> None:
        """Write the averaged weights: a checkpoint of the family, or the tensors of any other module."""
        if distributed.rank():
            return
        extra = {"step": str(self.step)}
        if self.psnr is not None:
            extra["validation_psnr"] = f"{self.psnr:.3f}"
        if isinstance(self.ema, STMFNet):
            weights.save(self.folder / name, self.ema, extra)
        else:
            weights.save_tensors(self.folder / name, self.ema, extra)

    def _load(self) -> None:
        path = self.folder / "state.pt"
        try:
            state: dict[str, Any] = torch.load(path, map_location=self.device, weights_only=True)
            config = state["config"]
        except MemoryError:
            raise
        except Exception as error:
            raise ValueError(f"not a readable training state: {path}") from error
        if config != _config_of(self.model):
            raise ValueError(f"{self.folder} holds the training of another network: {config}")
        if isinstance(stored := state.get("identity"), str):
            check_identity(self.folder, parse_json(stored, path), self._identity, self._anyway)
        try:
            self._restore({RENAMED.get(name, name): value for name, value in state.items()})
        except MemoryError:
            raise
        except Exception as error:  # any damage: the message names the file
            raise ValueError(f"{path} is damaged: {' '.join(str(error).split())[:200]}") from error

    def _restore(self, state: Mapping[str, Any]) -> None:
        """Resume from a state; raises any error where it is damaged."""
        for model, tensors in ((self.model, state["model"]), (self.ema, state["ema"])):
            own = isinstance(model, STMFNet)
            model.load_state_dict(rename_from_format_1(tensors) if own else tensors)
        self.optimiser.load_state_dict(state["optimiser"])
        for parameter, entries in self.optimiser.state.items():
            shapes = {tuple(value.shape) for value in entries.values() if isinstance(value, Tensor)}
            if not shapes <= {(), tuple(parameter.shape)}:
                raise ValueError(f"expected {tuple(parameter.shape)} in the optimiser, got {shapes}")
        self.step, self.seconds = int(state["step"]), float(state["seconds"])
        self.running_loss, self.psnr = _float_or_none(state["running_loss"]), _float_or_none(state["psnr"])
        self.best_psnr = float(state.get("best_psnr", -math.inf))
        self.validations_since_best = int(state.get("validations_since_best", 0))
        self._scaler.load_state_dict(state.get("scaler", {}) if self._scaler.is_enabled() else {})
        if self.step < 0 or not math.isfinite(self.seconds):
            raise ValueError(f"expected a step and seconds, got {self.step} and {self.seconds}")
        torch.set_rng_state(state["random"].cpu())
        if state["random_cuda"] is not None and self.device.type == "cuda":
            torch.cuda.set_rng_state(state["random_cuda"].cpu())


def build_optimiser(model: nn.Module, options: TrainOptions) -> Optimizer:
    """Build the optimiser in the options, for all parameters of a model."""
    return OPTIMISERS[options.optimiser](
        model.parameters(), options.learning_rate, weight_decay=options.weight_decay
    )


def _write(path: Path, state: Mapping[str, Any]) -> None:
    """Write a state into preallocated space; OSError if that fails, and the old file stays."""
    try:
        with atomic_write(path) as partial:
            preallocate(partial, _tensor_bytes(state) + 2**20)  # names, shapes and gaps between tensors
            with partial.open("r+b") as file:
                torch.save(state, file)
                file.truncate()
    except RuntimeError as error:  # what torch raises for any failed write
        raise OSError(f"cannot write {path}: {str(error).splitlines()[0]}") from error


def _tensor_bytes(value: Any) -> int:
    """Bytes of all tensors in nested mappings and sequences."""
    if isinstance(value, Tensor):
        return value.nbytes
    if isinstance(value, Mapping | list | tuple):
        return sum(map(_tensor_bytes, value.values() if isinstance(value, Mapping) else value))
    return 0


def _float_or_none(value: Any) -> float | None:
    return None if value is None else float(value)


def _channels_last(model: nn.Module) -> nn.Module:
    """Convert convolution kernels to channels last, the fastest layout for most convolutions.

    3-D kernels on pictures stay as they are: for channels-last outputs PyTorch's batch norm computes the
    variance as a difference of large numbers, and gradients were off by 0.2 %.
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
    except (ValueError, TypeError, KeyError, RecursionError):  # truncated by a kill, or edited
        return math.inf
