"""Compression of modules: prune to a budget, distil from the original, score.

folder/plan.json             everything that the compression depends on
folder/start.safetensors     the pruned module before distillation
folder/unpruned.json         layers that keep all their channels, and why
folder/distill/              stage 2: the student, its state and log
folder/student.safetensors, report.md
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from tweenlet.compression.budget import Budget
from tweenlet.compression.distill import distill, network_teacher
from tweenlet.compression.modules.adapter import FrameAdapter, guess_inputs
from tweenlet.compression.modules.pruning import prune_module
from tweenlet.compression.modules.weights import load_pruned
from tweenlet.compression.plan_file import after_pruning, before_pruning, write_plan
from tweenlet.network import checkpoint
from tweenlet.network.checkpoint import digest_of_tensors
from tweenlet.network.cost import parameters_of
from tweenlet.runtime.atomic import write_bytes_atomically
from tweenlet.training import distributed
from tweenlet.training.data.build import make_sampler
from tweenlet.training.data.dataset import CropDataset, Dataset, Progress
from tweenlet.training.loop import validate
from tweenlet.training.losses import build_objective
from tweenlet.training.options import DataOptions, Plan

OUTPUTS = ("plan.json", "start.safetensors", "unpruned.json", "distill", "student.safetensors", "report.md")
"""Files and folders of a compression."""


@dataclass(frozen=True)
class CompressedModule:
    """A compressed module from outside the family."""

    module: nn.Module
    """The module's own class with narrower layers, distilled, in eval mode."""
    parameters: tuple[int, int]
    """Before and after."""
    unpruned: Mapping[str, str]
    """Layers that keep all their channels, and why."""
    psnr: Mapping[str, float]
    """PSNR on held-out samples of "teacher" and "student", dB."""

    def markdown(self) -> str:
        """The report, in Markdown."""
        before, after = self.parameters
        scores = ", ".join(f"{name} {value:.2f} dB" for name, value in self.psnr.items())
        lines = [f"{before:,} -> {after:,} parameters; {scores} on held-out samples.", ""]
        lines += [f"- {name} keeps its channels: {reason}" for name, reason in self.unpruned.items()]
        return "# A compressed network\n\n" + "\n".join(lines) + "\n"


def compress_module(
    module: nn.Module,
    samples: Dataset,
    validation: CropDataset,
    folder: Path,
    budget: Budget,
    plan: Plan,
    data_options: DataOptions,
    example_inputs: Sequence[Any] | None = None,
    notify: Callable[[str], None] | None = None,
    progress: Progress | None = None,
    anyway: bool = False,
) -> CompressedModule | None:
    """Prune a module on Torch-Pruning's graph, distil and score it.

    Arguments, results and errors are those of :func:`tweenlet.compress`.
    """
    module = module.eval()
    teacher = FrameAdapter(module, guess_inputs(module) if example_inputs is None else example_inputs).eval()
    with distributed.claim_folder_for_all(folder, OUTPUTS):
        start, reasons = folder / "start.safetensors", folder / "unpruned.json"
        sampler = make_sampler(data_options, samples)
        with distributed.main_process_first():
            pruned_by = before_pruning(plan, data_options, digest_of_tensors(teacher), samples, validation)
            write_plan(folder, pruned_by, after_pruning(plan, budget, None), None, start.exists(), anyway)
            if not start.exists():
                measured = [sampler.batch_at(step) for step in range(plan.passes)]
                pruned = prune_module(teacher, budget, measured, build_objective(plan.distill), notify)
                write_bytes_atomically(reasons, json.dumps(dict(pruned.unpruned), indent=1).encode())
                checkpoint.save_tensors(start, pruned.adapter.module)
        student = copy.deepcopy(teacher)
        student.module = load_pruned(student.module, start)
        student.requires_grad_(True)
        steps = None if progress is None else lambda info: progress("distilling", info.step, info.steps)
        result = distill(
            student, [network_teacher(teacher)], sampler, validation, plan.distill, folder / "distill", steps,
            alpha=plan.alpha, filter_teacher=plan.filter_teacher, anyway=anyway,
            identity={"teachers": [digest_of_tensors(teacher)], "budget": str(budget)},
        )  # fmt: skip
        result.check_finished()
        if distributed.rank():
            return None
        distilled = result.model
        assert isinstance(distilled, FrameAdapter)
        scores = {"teacher": validate(teacher, validation), "student": validate(distilled, validation)}
        counts = parameters_of(teacher), parameters_of(distilled)
        unpruned = {
            name.removeprefix("module."): why
            for name, why in json.loads(reasons.read_text(encoding="utf-8")).items()
        }
        report = CompressedModule(distilled.module.cpu(), counts, unpruned, scores)
        checkpoint.save_tensors(folder / "student.safetensors", report.module)
        write_bytes_atomically(folder / "report.md", report.markdown().encode())
        return report
