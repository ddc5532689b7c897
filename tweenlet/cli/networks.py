"""Commands for network files: convert, models, push, cost."""

from __future__ import annotations

from pathlib import Path

from tweenlet.cli.app import NETWORKS, app
from tweenlet.runtime.folders import check_free


@app.command(group=NETWORKS, sort_key=6)
def convert(source: Path, target: Path, *, overwrite: bool = False) -> None:
    """Convert a published checkpoint of ST-MFNet or RIFE 4.25 to tweenlet's format (.safetensors).

    Parameters
    ----------
    source
        stmfnet.pth, stmfnet_mini.pth or flownet.pkl. No code in it is executed.
    target
        The file to write.
    overwrite
        Replace the target if it exists.

    """
    from tweenlet.network import checkpoint as weights
    from tweenlet.network import official
    from tweenlet.network.cost import parameters_of

    check_free(target, overwrite)
    model = official.convert(source, notify=print)
    weights.save(target, model, {"source": source.name})
    print(f"{target}: {parameters_of(model):,} parameters")


@app.command(group=NETWORKS, sort_key=3)
def models(*paths: Path) -> None:
    """List bundled weights or checkpoints with size, cost, quality, speed and licence.

    Quality and speed come from the file's metadata; the benchmark and the machine are listed below the table.

    Parameters
    ----------
    paths
        Checkpoints to list instead.

    """
    from tweenlet.network.catalogue import TITLES, describe
    from tweenlet.network.weight_files import names

    entries = [describe(name) for name in (map(str, paths) if paths else names())]
    rows = [TITLES, *(entry.row() for entry in entries)]
    name_width, *widths = (max(map(len, column)) for column in zip(*rows, strict=True))
    for name, *numbers, licence in rows:
        cells = (cell.rjust(width) for cell, width in zip(numbers, widths, strict=False))
        print("  ".join((name.ljust(name_width), *cells, licence)))
    for line in dict.fromkeys(line for entry in entries for line in entry.lines()):
        print(line)


@app.command(group=NETWORKS, sort_key=7)
def push(model: str, repo: str, /, *, private: bool = False) -> None:
    """Upload a checkpoint to the Hugging Face Hub, with a model card from its metadata, and print its URL.

    Log in first: hf auth login. Afterwards --model USER/REPO loads it on any machine.

    Parameters
    ----------
    model
        Name of bundled weights, or path to a checkpoint.
    repo
        USER/REPO, created if it does not exist.
    private
        Create the repository as private.

    """
    from tweenlet.network.hub import push as upload

    print(upload(model, repo, private=private))


@app.command(group=NETWORKS, sort_key=5)
def cost(model: str, /, *, size: str = "854x480", official: bool = False) -> None:
    """Count the parameters of a network and its multiply-adds per new frame, part by part.

    Parameters
    ----------
    model
        Name of bundled weights, checkpoint, JSON file of a ModelConfig; or stmfnet, mini, rife or default.
    size
        Frame size as WIDTHxHEIGHT, or 480p, 720p, 1080p, 4k.
    official
        Count as the official code runs: frames padded to multiples of 128, unused blocks included.

    """
    from tweenlet.network.checkpoint import network_of
    from tweenlet.network.cost import OFFICIAL_STRIDE, size_of
    from tweenlet.network.cost import cost as count

    width, height = size_of(size)
    costs = count(network_of(model).config, height, width, OFFICIAL_STRIDE if official else None)
    print(f"{'part':12}{'parameters':>14}{'multiply-adds':>18}")
    for name, part in costs.parts.items():
        print(f"{name:12}{part.parameters:>14,}{part.multiply_adds / 1e9:>16.2f} G")
    if official:
        print(f"{'unused':12}{'':>14}{costs.unused.multiply_adds / 1e9:>16.2f} G")
    total = costs.multiply_adds_official if official else costs.multiply_adds
    print(f"{'all':12}{costs.parameters:>14,}{total / 1e9:>16.2f} G   run at {costs.width}x{costs.height}")
