"""Shared by the training commands: options, set-up of a run, progress and result."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Group, Parameter

from tweenlet.cli.progress import bar, console, say
from tweenlet.training.options import DataOptions, TrainOptions

if TYPE_CHECKING:
    from tweenlet.training.data.dataset import CropDataset, Dataset
    from tweenlet.training.loop import Result, StepInfo

Data = Annotated[
    Path,
    Parameter(help="Videos, and folders of videos or of frames; Vimeo-90K and BVI-DVC as published."),
]
Sampling = Annotated[DataOptions, Parameter(name="*", group=Group("Samples", sort_key=1))]
OPTIONS_OF_LEARNING = Parameter(name="*", group=Group("Learning", sort_key=2))
Learning = Annotated[TrainOptions, OPTIONS_OF_LEARNING]
RecipeName = Annotated[
    Literal["store", "paper"],
    Parameter(
        group=Group("Samples", sort_key=1),
        help="paper: as ST-MFNet Mini was trained. Every septuplet and quintuplet of DATA once an epoch, "
        "a new crop of 256 each time, flips and reversal only, Adamax at 1e-3, halved every 20 epochs, "
        "without decay or clipping. Options given on the command line win.",
    ),
]
Anyway = Annotated[bool, Parameter(negative="", help="Continue in OUT even though the run there differs.")]
LINE_SECONDS = 60.0
"""Seconds between lines of progress without a terminal."""
COURSE, OPTIONS = DataOptions(), TrainOptions()


def follow(recipe: str, options: Any) -> Any:
    """Apply a recipe to options."""
    from tweenlet.training.options import follow_paper

    return follow_paper(options) if recipe == "paper" else options


@contextmanager
def set_up(
    task: str, data_options: DataOptions, data: Sequence[Path], out: Path
) -> Iterator[tuple[Dataset, CropDataset | None, Any]]:
    """Join the processes of a run; yields training samples, held-out samples and a progress bar."""
    from tweenlet.training import distributed
    from tweenlet.training.data.build import open_datasets

    with distributed.init_distributed(), bar(task, "steps", shown=not distributed.rank()) as progress:
        yield *open_datasets(data_options, data, out, say, preparing(progress)), progress


def preparing(progress: Any) -> Any:
    """A callback that reports preparation on the bar or, without a terminal, once a minute."""
    speak = _speaker()

    def update(task: str, done: int, total: int) -> None:
        progress(done, total, task)
        speak(f"{task}: {done} of {total}")

    return update


def ticking(progress: Any) -> Any:
    """A callback that reports loss and epoch on the bar or, without a terminal, once a minute."""
    speak = _speaker()

    def update(info: StepInfo) -> None:
        state = f"loss {info.loss:.4g}, epoch {info.epoch:.2f}"
        scored = "" if info.psnr is None else f", {info.psnr:.2f} dB"
        progress(info.step, info.steps, state + scored)
        speak(f"step {info.step} of {info.steps}, {state}{scored}, {info.samples_per_second:.1f} samples/s")

    return update


def _speaker() -> Callable[[str], None]:
    """A function that prints a line per LINE_SECONDS at most, in the first process and without a terminal."""
    from tweenlet.training import distributed

    last = time.monotonic()

    def speak(line: str) -> None:
        nonlocal last
        if not console.is_terminal and not distributed.rank() and time.monotonic() - last > LINE_SECONDS:
            last = time.monotonic()
            say(line)

    return speak


def print_result(result: Result, out: Path) -> None:
    """Print the result of a training; KeyboardInterrupt if it was interrupted."""
    from tweenlet.training import distributed

    scored = "" if result.psnr is None else f", {result.psnr:.2f} dB (blending: {result.blend_psnr:.2f} dB)"
    if not distributed.rank():
        end = f"{result.stopped} at step {result.step} after {result.seconds:.0f} s{scored}"
        print(f"{out / 'model.safetensors'}: {end}")
    result.check_finished()
