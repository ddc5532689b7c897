"""Stage 2, distil: a student learns from teachers, and a little from the truth (Morris et al., 2023).

    L = alpha Lap(student, truth) + sum over teachers of w_k Lap(student, teacher_k) / sum of w_k

A teacher is a function from a Batch to pictures (B, 3, h, w) in [0, 1]: a network of ours, an ONNX file, or
what was kept beforehand (:mod:`tweenlet.training.data.teacher_outputs`) of either or of any other program.
None of them learns: networks run in eval mode without gradients. (The official code has its teacher in train
mode.)

The published L sums over all values; here Lap is their mean, which is the same up to the constant
B * 3 * h * w, and any other loss by name can take its place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tweenlet.evaluation.baselines.onnx import Onnx
from tweenlet.inference.fused import Fast
from tweenlet.network.intermediate_flow import Interpolation
from tweenlet.network.stmfnet import STMFNet
from tweenlet.training.data.batches import Batch, Batches
from tweenlet.training.data.store import Samples
from tweenlet.training.loop import Result, Tick, train
from tweenlet.training.losses import Terms, weighted
from tweenlet.training.options import TrainOptions
from tweenlet.training.state import predict

Teacher = Callable[[Batch], Tensor]
FAR = 20.0
"""Pixels beyond which a flow that is further off costs no more."""


def distill(
    student: nn.Module,
    teachers: Sequence[Teacher],
    batches: Batches,
    validation: Samples | None,
    options: TrainOptions,
    folder: Path,
    progress: Callable[[Tick], None] | None = None,
    *,
    alpha: float = 0.1,
    weights: Sequence[float] | None = None,
    confident: bool = False,
    inside: Sequence[Inside] = (),
) -> Result:
    """Train a student by :class:`Distillation`; all else as in :func:`~tweenlet.training.loop.train`."""
    objective = Distillation(options, teachers, alpha, weights, confident, inside)
    return train(student, batches, validation, options, folder, progress, objective=objective)


class Distillation:
    """The objective of stage 2.

    ``weights`` are those of the teachers' losses in their mean, equal if not given. ``confident``: where a
    teacher is further from the truth than blending the two middle frames is, it is not believed, and the
    truth stands in for it. ``inside`` adds what goes on inside student and teacher: :class:`Attention`,
    :class:`Flows`. ValueError for no teacher, an alpha below 0, or weights that do not fit.
    """

    def __init__(
        self,
        options: TrainOptions,
        teachers: Sequence[Teacher],
        alpha: float = 0.1,
        weights: Sequence[float] | None = None,
        confident: bool = False,
        inside: Sequence[Inside] = (),
    ) -> None:
        weights = [1.0] * len(teachers) if weights is None else list(weights)
        if not teachers or len(weights) != len(teachers) or min(weights) < 0 or not sum(weights):
            raise ValueError(
                "expected at least one teacher, and for each a weight of 0 or more, not all 0; "
                f"got {len(teachers)} teachers and the weights {weights}"
            )
        if alpha < 0:
            raise ValueError(f"expected an alpha of 0 or more, got {alpha}")
        self._teachers, self._weights = teachers, [weight / sum(weights) for weight in weights]
        self._alpha, self._confident, self._inside = alpha, confident, inside
        self._half = options.precision == "bfloat16"
        self._loss = weighted(options.loss, options.margin, options.border)

    def __call__(self, prediction: Tensor, batch: Batch) -> tuple[Tensor, Terms]:
        """A prediction (B, 3, h, w) -> what to minimise; and "truth" and "teacher", its two sides."""
        truth, _ = self._loss(prediction, batch.truth)
        taught = prediction.new_zeros(())
        for teacher, weight in zip(self._teachers, self._weights, strict=True):
            with torch.no_grad(), torch.autocast(prediction.device.type, torch.bfloat16, enabled=self._half):
                picture = teacher(batch).float()
            if picture.shape != prediction.shape:
                raise ValueError(
                    f"a teacher does not fit: expected pictures of shape {tuple(prediction.shape)}, "
                    f"got {tuple(picture.shape)}"
                )
            if self._confident:
                picture = believed(picture, batch)
            taught = taught + weight * self._loss(prediction, picture)[0]
        terms = {"truth": truth, "teacher": taught}
        terms |= {part.name: part() for part in self._inside}
        return self._alpha * truth + sum(list(terms.values())[2:], taught), terms


def believed(picture: Tensor, batch: Batch) -> Tensor:
    """A teacher's picture (B, 3, h, w), or the truth where blending comes nearer to it, over 5x5 pixels."""

    def distance(made: Tensor) -> Tensor:
        return F.avg_pool2d(
            (made - batch.truth).abs().mean(1, keepdim=True), 5, 1, 2, count_include_pad=False
        )

    better = distance(picture) <= distance(batch.frames[:, 1:3].mean(1))
    return torch.where(better, picture, batch.truth)


def network(model: nn.Module) -> Teacher:
    """A network of ours as a teacher: in eval mode, without gradients, so that nothing of it changes.

    On a CPU its copy for inference teaches, as it is when first asked: under autocast one whose convolutions
    run in that type. But where something watches its parts, as :class:`Attention` does, it teaches itself.
    """
    copies: dict[torch.dtype, Fast] = {}

    @torch.no_grad()
    def teacher(batch: Batch) -> Tensor:
        device = batch.frames.device.type
        asked: nn.Module = model.to(batch.frames.device).eval()
        watched = any(module._forward_hooks for module in asked.modules())
        if watched or device != "cpu" or not isinstance(asked, STMFNet):
            return predict(asked, batch)
        half = torch.is_autocast_enabled(device)
        dtype = torch.get_autocast_dtype(device) if half else torch.float32
        with torch.autocast(device, enabled=False):
            if dtype not in copies:
                copies[dtype] = Fast(asked, dtype)
            return predict(copies[dtype], batch)

    return teacher


def kept(number: int = 0) -> Teacher:
    """What was kept beforehand as the ``number``-th of the batches' ``taught`` pictures."""

    def teacher(batch: Batch) -> Tensor:
        if batch.taught is None or batch.taught.shape[1] <= number:
            raise ValueError(
                f"the batches hold no pictures of teacher {number}: give them to Batches as taught"
            )
        return batch.taught[:, number]

    return teacher


def onnx(path: str | Path) -> Teacher:
    """An ONNX file as a teacher; what fits, and errors: :class:`~tweenlet.evaluation.baselines.onnx.Onnx`."""
    file = Onnx(path)
    return lambda batch: file.batch(batch.frames)


class Inside(Protocol):
    """A distance between what goes on inside a student and inside its teacher, of the last batch."""

    name: str

    def __call__(self) -> Tensor:
        """The weighted distance, a scalar."""


class Flows:
    """Flow distillation: an intermediate-flow student should find the motion that its teacher finds.

    The truth does not say where a pixel came from, nor real footage exactly when it was halfway; a teacher's
    flows do. The distance is the mean L1 in pixels, each up to FAR. The teacher must run live on the
    student's batches. ValueError for a network without an intermediate-flow branch.
    """

    name = "flows"

    def __init__(self, student: STMFNet, teacher: STMFNet, weight: float = 0.02) -> None:
        self._weight, self._found = weight, [dict[str, Tensor](), dict[str, Tensor]()]
        for model, found in zip((student, teacher), self._found, strict=True):
            if model.intermediate is None:
                raise ValueError("flows are distilled between networks with an intermediate-flow branch only")
            model.intermediate.register_forward_hook(self._reader(found))

    @staticmethod
    def _reader(found: dict[str, Tensor]) -> Callable[[nn.Module, Any, Interpolation], None]:
        def read(_module: nn.Module, _inputs: Any, output: Interpolation) -> None:
            found["flows"] = output.flows[-1].float()

        return read

    def __call__(self) -> Tensor:
        """The weighted distance between the last batch's flows, a scalar."""
        student, teacher = (found["flows"] for found in self._found)
        return self._weight * (student - teacher).abs().clamp_max(FAR).mean()


class Attention:
    """Feature distillation: named parts of a student should look where the teacher's same parts look.

    What a part puts out (B, C, h, w) becomes a map (B, h w), the mean square over channels at unit length, so
    that widths need not agree (Zagoruyko and Komodakis, "Paying More Attention to Attention", 2017, eq. 2).
    The teacher must run on the same batches as the student, live: its maps are read while it is asked.
    ValueError for a part that one of them lacks.
    """

    name = "attention"

    def __init__(self, student: STMFNet, teacher: STMFNet, parts: Sequence[str], weight: float = 1.0) -> None:
        self._weight, self._maps = weight, [dict[str, Tensor](), dict[str, Tensor]()]
        for model, maps in zip((student, teacher), self._maps, strict=True):
            for part in parts:
                module = getattr(model, part, None)
                if not isinstance(module, nn.Module):
                    there = [name for name, _ in model.named_children()]
                    raise ValueError(f"expected parts that both networks have, among {there}; got {part!r}")
                module.register_forward_hook(self._reader(part, maps))

    @staticmethod
    def _reader(part: str, maps: dict[str, Tensor]) -> Callable[[nn.Module, Any, Any], None]:
        def read(_module: nn.Module, _inputs: Any, output: Any) -> None:
            by_scale = getattr(output, "candidates", output)
            for scale, tensor in by_scale.items() if isinstance(by_scale, dict) else [("", by_scale)]:
                maps[f"{part} {scale}"] = F.normalize(tensor.float().square().mean(1).flatten(1), dim=1)

        return read

    def __call__(self) -> Tensor:
        """The weighted sum over parts of the squared distance between the last batch's maps, a scalar."""
        student, teacher = self._maps
        both = student.keys() & teacher.keys()  # a student may have lost a scale
        distances = [(student[part] - teacher[part]).square().sum(1).mean() for part in sorted(both)]
        return self._weight * torch.stack(distances).sum()
