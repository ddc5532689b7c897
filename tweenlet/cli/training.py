"""Commands for training: transcode, train."""

from __future__ import annotations

from pathlib import Path

from tweenlet.cli.app import LEARNING, app
from tweenlet.cli.learning import (
    COURSE,
    OPTIONS,
    Anyway,
    Data,
    Learning,
    RecipeName,
    Sampling,
    follow,
    print_result,
    set_up,
    ticking,
)
from tweenlet.cli.progress import bar, say


@app.command(group=LEARNING, sort_key=14)
def transcode(
    *data: Path, out: Path, megabytes: float = 40, short_side: int = 360, max_frames: int = 240
) -> None:
    """Transcode clips to a size that is quick to copy to a training machine.

    Parameters
    ----------
    data
        Videos, and folders of videos or of frames.
    out
        New folder for H.264 videos, one per usable clip.
    megabytes
        Maximum total size.
    short_side
        Clips are scaled down so that their short side has this many pixels.
    max_frames
        Maximum number of frames per clip, taken from its middle.

    """
    from tweenlet.training.data.transcode import transcode as run

    with bar("transcoding", "clips") as progress:
        paths = run(
            data, out, megabytes, short_side, max_frames,
            notify=say, progress=lambda _, done, total: progress(done, total),
        )  # fmt: skip
    print(f"{out}: {len(paths)} clips, {sum(path.stat().st_size for path in paths) / 1e6:.1f} MB")


@app.command(group=LEARNING, sort_key=8)
def train(
    config: str,
    /,
    *data: Data,
    out: Path = Path("trained"),
    recipe: RecipeName = "store",
    anyway: Anyway = False,
    data_options: Sampling = COURSE,
    options: Learning = OPTIONS,
) -> None:
    """Train a network on videos. The same command resumes a run that was stopped.

    Several processes: torchrun --nproc-per-node 2 -m tweenlet train ...

    Parameters
    ----------
    config
        stmfnet, mini, rife, default; a JSON file of a ModelConfig; or a checkpoint to continue from.
    out
        Folder for the weights (model.safetensors), the training state and the log (log.jsonl).

    """
    import torch

    from tweenlet.network.checkpoint import network_of
    from tweenlet.runtime.devices import resolve_device
    from tweenlet.training.data.build import make_sampler
    from tweenlet.training.loop import train as learn

    data_options, options = follow(recipe, data_options), follow(recipe, options)
    with set_up("training", data_options, data, out) as (samples, held_out, progress):
        resolve_device(options.device)
        torch.manual_seed(data_options.seed)
        result = learn(
            network_of(config), make_sampler(data_options, samples), held_out, options, out,
            ticking(progress), anyway=anyway,
        )  # fmt: skip
        print_result(result, out)
