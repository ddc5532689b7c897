"""Commands for speed: bench, export."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from tweenlet.cli.app import NETWORKS, QUALITY, Several, app
from tweenlet.runtime.folders import check_free

if TYPE_CHECKING:
    from tweenlet.bench.report import Race, Report


@app.command(group=QUALITY, sort_key=2)
def bench(
    model: str = "default",
    /,
    *,
    size: str = "854x480",
    engines: str = "eager",
    dtype: str = "float32",
    device: str = "cpu",
    vs: Several = (),
    runs: int = 5,
    memory: bool = True,
    json: Path | None = None,
    overwrite: bool = False,
) -> None:
    """Time a network on this machine, part by part, and compare it with the machine's limits.

    Times are medians per new frame in a stream. Memory is the peak of a separate process, less its memory
    with the network loaded.

    Parameters
    ----------
    model
        Name of bundled weights, checkpoint, JSON file of a ModelConfig, or ONNX file; or stmfnet, mini, rife
        or default.
    size
        Frame size as WIDTHxHEIGHT, or 480p, 720p, 1080p, 4k.
    engines
        Comma-separated list of eager, cudagraph, compile, onnxruntime, openvino, lite and auto.
    dtype
        float32, bfloat16 or float16.
    device
        cpu, cuda, cuda:1, ...; frames are on the device before the clock starts.
    vs
        Alternatives to time in turn with MODEL and its engines: MODEL, MODEL:ENGINE, MODEL:ENGINE:DTYPE or an
        ONNX file; FILE.py:FUNCTION, a Python function of four frames (4, 3, H, W); or "CMD {1} {2} {out}".
        The result is then the ratio of their times to MODEL's, pair by pair.
    runs
        Number of frames to time.
    memory
        Measure peak memory too.
    json
        JSON file for the result.
    overwrite
        Replace the JSON file if it exists.

    """
    from tweenlet.bench.run import bench as measure
    from tweenlet.bench.run import race
    from tweenlet.bench.targets import parse_target, parse_targets
    from tweenlet.network.cost import size_of

    if json:
        check_free(json, overwrite)
    targets, frame = parse_targets(model, engines.split(","), dtype), size_of(size)
    if vs:
        result: Race | Report = race(
            [*targets, *(parse_target(text, dtype) for text in vs)], frame, runs, device
        )
    else:
        result = measure(targets, frame, runs, memory, device)
    print(result.table(), end="")
    if json:
        json.write_text(result.dumps(), encoding="utf-8")


@app.command(group=NETWORKS, sort_key=4)
def export(
    model: str,
    target: Path,
    /,
    *,
    size: str = "854x480",
    one_input: Annotated[bool, Parameter(negative=())] = False,
    overwrite: bool = False,
) -> None:
    """Export a network to ONNX, run the file, and print its largest difference from the network's own output.

    The input is frames (1, 4, 3, H, W), RGB in [0, 1] and, for networks that take a time such as the default,
    the time (1,), between 0 and 1.

    Parameters
    ----------
    model
        Name of bundled weights, checkpoint, JSON file of a ModelConfig; or stmfnet, mini, rife or default.
    target
        The file to write, FILE.onnx.
    size
        Frame size as WIDTHxHEIGHT, or 480p, 720p, 1080p, 4k, rounded up to the network's stride; or
        "dynamic" for frames of any size, which takes minutes to export.
    one_input
        Take one input (1, 13, H, W) instead, as vs-mlrt and other programs expect: four frames, and the time
        as a plane (12 channels without a time).
    overwrite
        Replace FILE.onnx if it exists.

    """
    from tweenlet.inference.onnx import OneInput, padded_size
    from tweenlet.inference.onnx import export as write
    from tweenlet.network.checkpoint import trained_network_of
    from tweenlet.network.cost import size_of

    if target.suffix != ".onnx":
        raise ValueError(f"expected the name of an .onnx file to write, got {target}")
    check_free(target, overwrite)
    network = trained_network_of(model).eval()
    frame_size = None if size == "dynamic" else size_of(size)
    error = write(OneInput(network) if one_input else network, target, frame_size)
    height, width = padded_size(network, frame_size) if frame_size else (0, 0)
    takes = f"frames of {width}x{height}" if frame_size else f"frames of any multiple of {network.stride}"
    print(f"{target}: {target.stat().st_size / 1e6:.1f} MB, takes {takes}; off by {error:.1g} at most")
