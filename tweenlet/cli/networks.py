"""Verbs that look at networks: convert, cost."""

from __future__ import annotations

from pathlib import Path

from tweenlet.cli.app import app
from tweenlet.runtime.atomic import check_free


@app.command
def convert(source: Path, target: Path, *, overwrite: bool = False) -> None:
    """Turn a published checkpoint of ST-MFNet or RIFE 4.25 into one of tweenlet's (.safetensors).

    Parameters
    ----------
    source
        stmfnet.pth, stmfnet_mini.pth or flownet.pkl. Nothing in it is executed.
    target
        The file to write.
    overwrite
        Replace the target if it exists.

    """
    from tweenlet.network import checkpoint as weights
    from tweenlet.network.cost import parameters_of

    check_free(target, overwrite)
    model = weights.convert(source, notify=print)
    weights.save(target, model, {"source": source.name})
    print(f"{target}: {parameters_of(model):,} parameters")


@app.command
def cost(model: str, /, *, size: str = "854x480", official: bool = False) -> None:
    """Count the parameters and the multiply-adds of a network, part by part, for one new frame.

    Parameters
    ----------
    model
        A name of shipped weights, a checkpoint, a JSON file of a ModelConfig; or stmfnet, mini or small.
    size
        Width x height of the frames, or 480p, 720p, 1080p, 4k.
    official
        As the official code runs it: frames padded to multiples of 128, unused blocks computed.

    """
    from tweenlet.network.checkpoint import network_of
    from tweenlet.network.cost import OFFICIAL_STRIDE, size_of
    from tweenlet.network.cost import cost as count

    width, height = size_of(size)
    found = count(network_of(model).config, height, width, OFFICIAL_STRIDE if official else None)
    print(f"{'part':12}{'parameters':>14}{'multiply-adds':>18}")
    for name, part in found.parts.items():
        print(f"{name:12}{part.parameters:>14,}{part.multiply_adds / 1e9:>16.2f} G")
    if official:
        print(f"{'unused':12}{'':>14}{found.unused.multiply_adds / 1e9:>16.2f} G")
    total = found.multiply_adds_official if official else found.multiply_adds
    print(f"{'all':12}{found.parameters:>14,}{total / 1e9:>16.2f} G   run at {found.width}x{found.height}")
