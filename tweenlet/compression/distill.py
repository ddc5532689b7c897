"""Stage 2, distillation: a student learns from teachers, and a little from the truth (Morris et al., 2023).

    L = alpha Lap(student, truth) + sum over teachers of w_k Lap(student, teacher_k) / sum of w_k

A teacher is a function from a Batch to frames (B, 3, h, w) in [0, 1]: a network of ours, an ONNX file, or
precomputed frames (:mod:`tweenlet.training.data.teacher_outputs`) of either or of any other program. No
teacher learns: networks run in eval mode without gradients. (The official code leaves its teacher in train
mode.)

The published L sums over all values. Here Lap is their mean, which differs by the constant B * 3 * h * w
only, and any other named loss can take its place.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from tweenlet.evaluation.baselines.onnx import Onnx
from tweenlet.inference.fused import FusedSTMFNet
from tweenlet.network.intermediate_flow import Interpolation
from tweenlet.network.stmfnet import STMFNet
from tweenlet.training.data.batches import Batch, BatchSampler, predict
from tweenlet.training.data.dataset import CropDataset
from tweenlet.training.loop import Result, StepInfo, train
from tweenlet.training.losses import Terms, combine_losses
from tweenlet.training.options import TrainOptions

Teacher = Callable[[Batch], Tensor]
"""Takes a Batch on some device; returns frames (B, 3, h, w) in [0, 1] there."""
MAX_FLOW_ERROR = 20.0
"""Largest flow error, in pixels, that counts in :class:`FlowLoss`: outliers must not dominate it."""
MASK_WEIGHT = 1.0
"""Flow error, in pixels, that a completely wrong mask counts as in :class:`FlowLoss`."""
CONFIDENCE_WINDOW = 5
"""Side of the window, in pixels, over which a teacher's error is compared with that of blending."""


def distill(
    student: nn.Module,
    teachers: Sequence[Teacher],
    batches: BatchSampler,
    validation: CropDataset | None,
    options: TrainOptions,
    folder: Path,
    progress: Callable[[StepInfo], None] | None = None,
    *,
    alpha: float = 0.1,
    weights: Sequence[float] | None = None,
    filter_teacher: bool = False,
    intermediate: Sequence[IntermediateLoss] = (),
    optimiser: Optimizer | None = None,
    identity: Mapping[str, Any] | None = None,
    anyway: bool = False,
) -> Result:
    """Train a student with a :class:`Distillation` objective.

    ``alpha``, ``weights``, ``filter_teacher`` and ``intermediate`` are arguments of the objective; the
    others, the result and errors are those of :func:`~tweenlet.training.loop.train`.
    """
    objective = Distillation(options, teachers, alpha, weights, filter_teacher, intermediate)
    run = {
        "stage": "distill", "alpha": alpha, "weights": list(weights) if weights else None,
        "filter_teacher": filter_teacher, "intermediate": [part.identity for part in intermediate],
        **(identity or {}),
    }  # fmt: skip
    return train(
        student, batches, validation, options, folder, progress,
        objective=objective, optimiser=optimiser, identity=run, anyway=anyway,
    )  # fmt: skip


class Distillation:
    """The objective of stage 2: a weighted mean of the teachers' losses, plus ``alpha`` times the truth's.

    Args:
        options: options with the losses, the margin and the precision of the teachers.
        teachers: one or more teachers.
        alpha: weight of the loss against the truth, 0 or more.
        weights: weight of each teacher's loss, 0 or more; default: equal. With ``intermediate``, all may be
            0: the student then learns frames from the truth, and flows or attention from the teacher.
        filter_teacher: replace a teacher by the truth wherever it is further from the truth than the blend
            of the two middle frames.
        intermediate: losses between internal values of student and teacher: :class:`AttentionLoss`,
            :class:`FlowLoss`.

    Raises:
        ValueError: no teacher, a negative alpha, or weights that do not fit.

    """

    def __init__(
        self,
        options: TrainOptions,
        teachers: Sequence[Teacher],
        alpha: float = 0.1,
        weights: Sequence[float] | None = None,
        filter_teacher: bool = False,
        intermediate: Sequence[IntermediateLoss] = (),
    ) -> None:
        weights = [1.0] * len(teachers) if weights is None else list(weights)
        taught = bool(intermediate) or sum(weights) > 0
        if not teachers or len(weights) != len(teachers) or min(weights) < 0 or not taught:
            raise ValueError(
                "expected at least one teacher, each with a weight of 0 or more, not all 0 without an "
                f"intermediate loss; got {len(teachers)} teachers and the weights {weights}"
            )
        if not (math.isfinite(alpha) and alpha >= 0):
            raise ValueError(f"expected an alpha of 0 or more, got {alpha}")
        self._teachers, self._weights = teachers, [weight / (sum(weights) or 1) for weight in weights]
        self._alpha, self._filter_teacher, self._intermediate = alpha, filter_teacher, intermediate
        self._autocast = options.precision == "bfloat16"
        self._loss = combine_losses(options.loss, options.margin, options.border_weight)

    def __call__(self, prediction: Tensor, batch: Batch) -> tuple[Tensor, Terms]:
        """Return the scalar to minimise for a prediction (B, 3, h, w), and its terms by name for the log.

        ValueError if a teacher's frames have another shape.
        """
        truth_loss, _ = self._loss(prediction, batch.truth)
        teacher_loss = prediction.new_zeros(())
        for teacher, weight in zip(self._teachers, self._weights, strict=True):
            target = self._target(teacher, prediction, batch)
            if weight:
                teacher_loss = teacher_loss + weight * self._loss(prediction, target)[0]
        intermediate = {part.name: part() for part in self._intermediate}
        total = self._alpha * truth_loss + sum(intermediate.values(), teacher_loss)
        return total, {"truth": truth_loss, "teacher": teacher_loss, **intermediate}

    def _target(self, teacher: Teacher, prediction: Tensor, batch: Batch) -> Tensor:
        device = prediction.device.type
        with torch.no_grad(), torch.autocast(device, torch.bfloat16, enabled=self._autocast):
            frames = teacher(batch).float()
        if frames.shape != prediction.shape:
            raise ValueError(
                f"a teacher does not fit: expected frames of shape {tuple(prediction.shape)}, "
                f"got {tuple(frames.shape)}"
            )
        return mask_by_confidence(frames, batch) if self._filter_teacher else frames


def mask_by_confidence(frames: Tensor, batch: Batch) -> Tensor:
    """A teacher's frames (B, 3, h, w), replaced by the truth wherever blending is nearer to it.

    Distances are mean absolute errors over CONFIDENCE_WINDOW x CONFIDENCE_WINDOW pixels.
    """

    def distance(candidate: Tensor) -> Tensor:
        error = (candidate - batch.truth).abs().mean(1, keepdim=True)
        size = CONFIDENCE_WINDOW
        return F.avg_pool2d(error, size, 1, size // 2, count_include_pad=False)

    better = distance(frames) <= distance(batch.frames[:, 1:3].mean(1))
    return torch.where(better, frames, batch.truth)


def network_teacher(model: nn.Module) -> Teacher:
    """Wrap a network of the family as a teacher, in eval mode and without gradients.

    On a CPU its fused copy runs, built at the first call for each precision (under autocast, with
    convolutions in that dtype). If hooks are registered on it, as by :class:`AttentionLoss`, the network
    itself runs.
    """
    fused: dict[torch.dtype, FusedSTMFNet] = {}

    @torch.no_grad()
    def teacher(batch: Batch) -> Tensor:
        device = batch.frames.device.type
        network: nn.Module = model.to(batch.frames.device).eval()
        hooked = any(module._forward_hooks for module in network.modules())
        if hooked or device != "cpu" or not isinstance(network, STMFNet):
            return predict(network, batch)
        autocast = torch.is_autocast_enabled(device)
        dtype = torch.get_autocast_dtype(device) if autocast else torch.float32
        with torch.autocast(device, enabled=False):
            if dtype not in fused:
                fused[dtype] = FusedSTMFNet(network, dtype)
            return predict(fused[dtype], batch)

    return teacher


def stored_teacher(number: int = 0) -> Teacher:
    """A teacher that returns the batch's precomputed ``teacher_frames`` of that number, counted from 0.

    It raises ValueError for batches that lack them.
    """

    def teacher(batch: Batch) -> Tensor:
        if batch.teacher_frames is None or batch.teacher_frames.shape[1] <= number:
            raise ValueError(
                f"the batches hold no frames of teacher {number}: pass teacher_frames to BatchSampler"
            )
        return batch.teacher_frames[:, number]

    return teacher


def onnx_teacher(path: str | Path) -> Teacher:
    """Wrap an ONNX file as a teacher; inputs and errors as in :mod:`tweenlet.evaluation.baselines.onnx`."""
    file = Onnx(path)
    return lambda batch: file.batch(batch.frames)


class IntermediateLoss(Protocol):
    """A distance between internal values of student and teacher on the last batch of both."""

    name: str
    identity: str
    """Description of the loss, for the run's identity."""

    def __call__(self) -> Tensor:
        """Return the weighted distance, a scalar."""


class FlowLoss:
    """Flow distillation: the mean L1 distance, in pixels, between the flows and masks of student and teacher.

    The truth does not tell where a pixel came from, nor does footage tell exactly when it was halfway; a
    teacher's flows tell both. Errors are clipped to MAX_FLOW_ERROR. The teacher must run on the student's
    batches.

    Args:
        student, teacher: networks with an intermediate-flow branch.
        weight: weight of the distance.

    Raises:
        ValueError: a network without an intermediate-flow branch.

    """

    name = "flows"

    def __init__(self, student: STMFNet, teacher: STMFNet, weight: float = 0.02) -> None:
        self.identity = f"flows by {weight:g}"
        self._weight, self._records = weight, [dict[str, Tensor](), dict[str, Tensor]()]
        for model, record in zip((student, teacher), self._records, strict=True):
            if model.intermediate is None:
                raise ValueError("flows are distilled between networks with an intermediate-flow branch only")
            model.intermediate.register_forward_hook(self._recorder(record))

    @staticmethod
    def _recorder(record: dict[str, Tensor]) -> Callable[[nn.Module, Any, Interpolation], None]:
        def hook(_module: nn.Module, _inputs: Any, output: Interpolation) -> None:
            record["flows"] = output.flows[-1].float()
            record["mask"] = output.mask.float().sigmoid()

        return hook

    def __call__(self) -> Tensor:
        """Return the weighted distance between the last batch's flows and masks, a scalar."""
        student, teacher = self._records
        flows = (student["flows"] - teacher["flows"]).abs().clamp_max(MAX_FLOW_ERROR).mean()
        return self._weight * (flows + MASK_WEIGHT * (student["mask"] - teacher["mask"]).abs().mean())


class AttentionLoss:
    """Attention transfer: named parts of the student learn to attend where the teacher's do.

    The output of a part (B, C, h, w) becomes a map (B, h w), the mean square over channels scaled to unit
    length, so widths may differ (Zagoruyko and Komodakis, "Paying More Attention to Attention", 2017, eq. 2).
    The teacher must run on the student's batches: hooks record its maps.

    Args:
        student, teacher: networks that have all ``parts``.
        parts: attribute names, such as ``"features"``.

    Raises:
        ValueError: a part that one of the two lacks.

    """

    name = "attention"

    def __init__(self, student: STMFNet, teacher: STMFNet, parts: Sequence[str]) -> None:
        self.identity = f"attention of {', '.join(parts)} by 1"
        self._maps = [dict[str, Tensor](), dict[str, Tensor]()]
        for model, maps in zip((student, teacher), self._maps, strict=True):
            for part in parts:
                module = getattr(model, part, None)
                if not isinstance(module, nn.Module):
                    names = [name for name, _ in model.named_children()]
                    raise ValueError(f"expected parts that both networks have, among {names}; got {part!r}")
                module.register_forward_hook(self._recorder(part, maps))

    @staticmethod
    def _recorder(part: str, maps: dict[str, Tensor]) -> Callable[[nn.Module, Any, Any], None]:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            by_scale = getattr(output, "candidates", output)
            for scale, tensor in by_scale.items() if isinstance(by_scale, dict) else [("", by_scale)]:
                maps[f"{part} {scale}"] = F.normalize(tensor.float().square().mean(1).flatten(1), dim=1)

        return hook

    def __call__(self) -> Tensor:
        """Return the sum over parts of squared distances between the last batch's maps, a scalar."""
        student, teacher = self._maps
        shared = student.keys() & teacher.keys()  # a student may have lost a scale
        distances = [(student[part] - teacher[part]).square().sum(1).mean() for part in sorted(shared)]
        return torch.stack(distances).sum()
