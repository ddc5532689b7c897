"""Verbs about speed: bench, export."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from tweenlet.cli.app import app
from tweenlet.runtime.atomic import check_free

if TYPE_CHECKING:
    from tweenlet.bench.report import Race, Report

Several = Annotated[tuple[str, ...], Parameter(consume_multiple=True, negative="")]


@app.command
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
    """Time a network here, part by part, beside the most that this machine can do.

    Seconds are medians, for one new frame of a running video. Memory is the peak of a process of its own,
    less what it had with the network loaded.

    Parameters
    ----------
    model
        A name of shipped weights, a checkpoint, a JSON file of a ModelConfig, an ONNX file; or stmfnet, mini
        or small.
    size
        Width x height of the frames, or 480p, 720p, 1080p, 4k.
    engines
        Of eager, cudagraph, compile, onnxruntime, openvino and auto, with commas between them.
    dtype
        float32, bfloat16 or float16.
    device
        cpu, cuda, cuda:1, ...; a CUDA device has the frames already, as in a running video.
    vs
        Others to take turns with MODEL and its engines, as MODEL, MODEL:ENGINE, MODEL:ENGINE:DTYPE or an ONNX
        file; FILE.py:FUNCTION, a Python function of four frames (4, 3, H, W); or "CMD {1} {2} {out}". What
        is told then is how many times longer they take, pair by pair.
    runs
        Frames that are timed.
    memory
        Measure the peak too.
    json
        A file for the result as JSON.
    overwrite
        Replace that file if it exists.

    """
    from tweenlet.bench.run import bench as measure
    from tweenlet.bench.run import race
    from tweenlet.bench.subjects import subject_of, subjects_of
    from tweenlet.network.cost import size_of

    if json:
        check_free(json, overwrite)
    subjects, frame = subjects_of(model, engines.split(","), dtype), size_of(size)
    if vs:
        done: Race | Report = race(
            [*subjects, *(subject_of(text, dtype) for text in vs)], frame, runs, device
        )
    else:
        done = measure(subjects, frame, runs, memory, device)
    print(done.table(), end="")
    if json:
        json.write_text(done.dumps())


@app.command
def export(model: str, target: Path, /, *, size: str = "854x480", overwrite: bool = False) -> None:
    """Write a network as an ONNX file, run it, and say how far its frames are from the network's.

    It takes frames (1, 4, 3, H, W), RGB in [0, 1]; one with classical flow, as the default, also takes flows
    (1, 4, 2, H, W), found between the frames 1 and 0, 1 and 2, 2 and 1, 2 and 3.

    Parameters
    ----------
    model
        A name of shipped weights, a checkpoint, a JSON file of a ModelConfig; or stmfnet, mini or small.
    target
        The file to write, FILE.onnx.
    size
        Width x height of the frames, or 480p, 720p, 1080p, 4k; padded up to what the network wants. Or
        dynamic, for frames of any size, which takes minutes to export.
    overwrite
        Replace the target if it exists.

    """
    from tweenlet.inference.onnx import export as write
    from tweenlet.inference.onnx import padded_size
    from tweenlet.network.checkpoint import network_of
    from tweenlet.network.cost import size_of

    if target.suffix != ".onnx":
        raise ValueError(f"expected the name of an .onnx file to write, got {target}")
    check_free(target, overwrite)
    network = network_of(model).eval()
    wanted = None if size == "dynamic" else size_of(size)
    off = write(network, target, wanted)
    height, width = padded_size(network, wanted) if wanted else (0, 0)
    takes = f"frames of {width}x{height}" if wanted else f"frames of any multiple of {network.stride}"
    print(f"{target}: {target.stat().st_size / 1e6:.1f} MB, takes {takes}; off by {off:.1g} at most")
