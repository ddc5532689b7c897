"""The command line: each verb parses, loads, calls one function and says what came of it.

Results go to stdout, progress and errors to stderr. An error is one line, `tweenlet: ...`, and exit code 1;
2 for a command that cannot be understood, 130 after Ctrl-C, 143 after SIGTERM.
torch is imported by the verbs that need it only.
"""

from __future__ import annotations

import re
import signal
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import App, CycloptsError, Group, Parameter, Token, validators

import tweenlet
from tweenlet.progress import bar, console

TERMINATED = 143
MORE_FRAMES = Group(
    "How many frames (one of these; --factor 2 if none)", validator=validators.mutually_exclusive
)


def _place(_: object, values: Any) -> None:
    for value in [values] if isinstance(values, str) else values:
        if value.startswith("-") and value != "-":
            raise ValueError(f"Unknown option: {value}.")
        if not value:
            raise ValueError("Empty path.")


Place = Annotated[str, Parameter(allow_leading_hyphen=True, validator=_place)]
"""A path, or "-" for a pipe."""


def _whole(_: object, tokens: Sequence[Token]) -> int:
    if not re.fullmatch(r"[-+]?\d+", tokens[0].value):  # cyclopts by itself takes 2.5 for 2
        raise ValueError(f"expected a whole number, got {tokens[0].value}")
    return int(tokens[0].value)


app = App(
    name="tweenlet",
    help="In-between frames for video, and the tools that make the networks behind them small.",
    version=tweenlet.__version__,
    suppress_keyboard_interrupt=False,
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit."""
    warnings.showwarning = lambda message, *_, **__: print(f"tweenlet: warning: {message}", file=sys.stderr)
    signal.signal(signal.SIGTERM, _leave)
    code, said = 1, ""
    try:
        app(arguments, exit_on_error=False, print_error=False)
        return
    except CycloptsError as error:
        code, said = 2, f"{error} (tweenlet --help tells more)"
    except KeyboardInterrupt:
        code, said = 130, "stopped"
    except SystemExit as end:
        if end.code != TERMINATED:
            raise
        code, said = TERMINATED, "stopped"
    except (ValueError, OSError, MemoryError) as error:
        said = _told(error)
    except RuntimeError as error:  # what torch raises when memory runs out, on the CPU and on CUDA
        if "memory" not in str(error):
            raise
        said = f"not enough memory: {str(error).splitlines()[0]}"
    print("tweenlet: " + " ".join(said.split()), file=sys.stderr)
    sys.exit(code)


def _leave(*_: object) -> None:
    sys.exit(TERMINATED)  # by way of every `with`, so that nothing half written stays


@app.command(usage="Usage: tweenlet interpolate [OPTIONS] IN [OUT]")
def interpolate(
    source: Place,
    /,
    *more: Place,
    factor: Annotated[int | None, Parameter(group=MORE_FRAMES, converter=_whole)] = None,
    fps: Annotated[str | None, Parameter(group=MORE_FRAMES)] = None,
    slow: Annotated[int | None, Parameter(group=MORE_FRAMES, converter=_whole)] = None,
    depth: int = 3,
    model: str = "default",
    device: str | None = None,
    rate: str | None = None,
    cuts: bool = True,
    overwrite: bool = False,
) -> None:
    """Make a video smoother or slower.

    Sound and subtitles are kept, and so is every frame of IN. Without OUT the result lies beside IN:
    holiday.mp4 gives holiday.2x.mp4, old.avi gives old.2x.mkv. Two images give the image between them.

    Parameters
    ----------
    source
        IN: a video, a folder, a glob in quotes, an image, or "-" for y4m on stdin.
    more
        OUT: a video, a folder or numbered pattern (out/%05d.png) of images, or "-". Before it, more images.
    factor
        2, 4, 8, ... times as many frames.
    fps
        Frames per second to reach, as 60, 59.94 or 60000/1001; at or above those of IN.
    slow
        So many times slower, at the same rate, without sound.
    depth
        How often the gap between two frames may be halved for --fps, and for a --slow that is no power of 2.
    model
        A name of shipped weights, or a checkpoint's path.
    device
        cpu, cuda, cuda:1, ...; CUDA if there is any, else the CPU.
    rate
        Frames per second of IN where that is images; 24 if not given.
    cuts
        Look for cuts between scenes, and make nothing across them.
    overwrite
        Replace OUT if it exists.

    """
    origin, target = _source_and_target(
        [source, *more], f"{fps}fps" if fps else f"slow{slow}" if slow else f"{factor}x" if factor else "2x"
    )
    chosen: dict[str, Any] = {"model": model, "device": device, "overwrite": overwrite}
    if isinstance(origin, list) and len(origin) == 2:
        if fps or slow:
            raise ValueError("--fps and --slow are for videos: between two images say --factor")
        before, after = origin
        for path in tweenlet.interpolate_pair(
            before, after, target, factor=2 if factor is None else factor, **chosen
        ):
            print(path)
        return
    chosen |= {"factor": factor, "fps": fps, "slow": slow, "depth": depth, "rate": rate, "cuts": cuts}
    with bar(Path(target).name if target != "-" else "stdout", "frames") as progress:
        done = tweenlet.interpolate_video(origin, target, progress=progress, **chosen)
    if target != "-":
        print(f"{target}: {_sentence(done)}")


@app.command
def convert(source: Path, target: Path, *, overwrite: bool = False) -> None:
    """Turn a checkpoint that the authors of ST-MFNet published (.pth) into one of tweenlet's (.safetensors).

    Parameters
    ----------
    source
        stmfnet.pth or stmfnet_mini.pth. Nothing in it is executed.
    target
        The file to write.
    overwrite
        Replace the target if it exists.

    """
    from tweenlet import weights

    _check_free(target, overwrite)
    model = weights.convert(source)
    weights.save(target, model, {"source": source.name})
    print(f"{target}: {sum(p.numel() for p in model.parameters()):,} parameters")


@app.command
def cost(model: str, /, *, size: str = "854x480", official: bool = False) -> None:
    """Count the parameters and the multiply-adds of a network, part by part, for one new frame.

    Parameters
    ----------
    model
        A name of shipped weights, a checkpoint, a JSON file of a ModelConfig; or stmfnet, mini or small.
    size
        Width x height of the frames.
    official
        As the official code runs it: frames padded to multiples of 128, unused blocks computed.

    """
    from tweenlet.cost import OFFICIAL_STRIDE
    from tweenlet.cost import cost as count
    from tweenlet.weights import network_of

    numbers = re.fullmatch(r"(\d+)x(\d+)", size)
    if numbers is None:
        raise ValueError(f"expected a size such as 854x480, got {size}")
    width, height = map(int, numbers.groups())
    found = count(network_of(model).config, height, width, OFFICIAL_STRIDE if official else None)
    print(f"{'part':10}{'parameters':>14}{'multiply-adds':>18}")
    for name, part in found.parts.items():
        print(f"{name:10}{part.parameters:>14,}{part.multiply_adds / 1e9:>16.2f} G")
    if official:
        print(f"{'unused':10}{'':>14}{found.unused.multiply_adds / 1e9:>16.2f} G")
    total = found.multiply_adds_official if official else found.multiply_adds
    print(f"{'all':10}{found.parameters:>14,}{total / 1e9:>16.2f} G   run at {found.width}x{found.height}")


@app.command
def demo(
    folder: Path = Path(), *, model: str = "default", device: str | None = None, overwrite: bool = False
) -> None:
    """Make an embedded clip smoother, and a picture of it: tweenlet-demo.mp4 and tweenlet-demo.png.

    Parameters
    ----------
    folder
        Where to write them; the current folder if not given.
    model
        A name of shipped weights, or a checkpoint's path.
    device
        cpu, cuda, ...; CUDA if there is any, else the CPU.
    overwrite
        Replace them if they exist.

    """
    from tweenlet.demo import demo as make

    with bar("tweenlet-demo.mp4", "frames") as progress:
        done = make(folder, model=model, device=device, overwrite=overwrite, progress=progress)
    print(f"{done.video}: {_sentence(done.summary)}")
    print(
        f"{done.picture}: a frame before, the frame made, the frame after; below, what moves most, enlarged"
    )


@app.command
def evaluate(
    model: str,
    /,
    *against: str,
    on: str,
    part: str = "1/1",
    device: str | None = None,
    json: Path | None = None,
    overwrite: bool = False,
) -> None:
    """Score a model on frames hidden from it, beside blend, dis and minterpolate or other models.

    Parameters
    ----------
    model
        A name of shipped weights, a checkpoint's path, or one of blend, dis, minterpolate.
    against
        More of them, run on the same frames.
    on
        The benchmark: clips:FOLDER.
    part
        1/3 takes every third sample, beginning with the first.
    device
        cpu, cuda, ...; the CPU if not given.
    json
        A file for every single score.
    overwrite
        Replace that file if it exists.

    """
    from json import dumps

    from tweenlet.evaluation import compare

    if json is not None:
        _check_free(json, overwrite)
    with bar(on, "samples") as progress:
        report = compare([model, *against], on, part, device, progress)
    print(report.markdown(), end="")
    if json is not None:
        json.write_text(dumps(report.to_json(), indent=1))


@app.command
def pack(*data: Path, out: Path, megabytes: float = 40, short_side: int = 360, longest: int = 240) -> None:
    """Make footage small enough to travel to a machine that trains.

    Parameters
    ----------
    data
        Videos, and folders of videos or of frames.
    out
        A new folder for H.264 videos, one for each usable clip.
    megabytes
        Of all together.
    short_side
        Clips are scaled down to this many pixels.
    longest
        Frames of a clip, from its middle.

    """
    from tweenlet.training.pack import pack as make

    with bar("packing", "clips") as progress:
        made = make(
            data, out, megabytes, short_side, longest,
            notify=console.print, progress=lambda _, done, total: progress(done, total),
        )  # fmt: skip
    print(f"{out}: {len(made)} clips, {sum(path.stat().st_size for path in made) / 1e6:.1f} MB")


@app.command
def train(
    config: str,
    /,
    *data: Path,
    out: Path = Path("run"),
    steps: int = 100_000,
    minutes: float | None = None,
    batch: int = 8,
    crop: int = 128,
    learning_rate: float = 4e-4,
    loss: dict[str, float] | None = None,
    margin: int = 0,
    precision: Literal["float32", "bfloat16"] = "float32",
    seed: int = 0,
    device: str | None = None,
    store: Path | None = None,
    validate: list[Path] | None = None,
) -> None:
    """Train a network on footage; the same command goes on where it was stopped.

    Parameters
    ----------
    config
        stmfnet, mini, small; a JSON file of a ModelConfig; or a checkpoint to go on from.
    data
        Videos, and folders of videos or of frames.
    out
        A folder for the weights (model.safetensors), the state and the log (log.jsonl).
    steps
        Steps to train in all.
    minutes
        Stop, saved, after so many minutes.
    batch
        Samples in a step.
    crop
        Height and width of the samples, pixels.
    learning_rate
        The highest of the schedule.
    loss
        Weights of its terms, as --loss.psnr 1 --loss.laplacian 1; laplacian alone if not given. There are
        laplacian, charbonnier and psnr.
    margin
        Pixels along the borders of the samples that count little, as for motion that leads out of them.
    precision
        float32, or bfloat16 by autocast.
    seed
        Of the first weights, the order of the samples and their augmentation.
    device
        cpu, cuda, ...; CUDA if there is any, else the CPU.
    store
        Where samples decoded once are kept; OUT/store if not given.
    validate
        Footage to validate on; without it some clips of DATA are held out.

    """
    import torch

    from tweenlet.training.loop import train_from
    from tweenlet.training.options import TrainOptions

    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    options = TrainOptions(
        steps=steps, minutes=minutes, rate=learning_rate, loss=loss or {"laplacian": 1.0}, margin=margin,
        precision=precision, device=device,
    )  # fmt: skip
    with bar("training", "steps") as progress:
        done = train_from(
            config, data, out, options, batch=batch, crop=crop, seed=seed, store=store, validate=validate,
            notify=console.print, preparing=lambda what, done, total: progress(done, total, what),
            progress=lambda tick: progress(tick.step, tick.steps),
        )  # fmt: skip
    scored = "" if done.psnr is None else f", {done.psnr:.2f} dB (blending: {done.blend_psnr:.2f} dB)"
    print(
        f"{out / 'model.safetensors'}: {done.stopped} at step {done.step} after {done.seconds:.0f} s{scored}"
    )


def _source_and_target(paths: list[str], suffix: str) -> tuple[Any, str]:
    """What the paths of `interpolate` mean: (one source or a list of images, the target).

    Without a target that is the source's name with the suffix: clip.2x.mp4, frames-2x; clip.2x.mkv for a kind
    of file that is not written.
    """
    from tweenlet.video.codecs import KINDS
    from tweenlet.video.images import is_image

    images = [is_image(Path(p)) and "%" not in p for p in paths]
    if len(paths) in (2, 3) and all(images):
        first = Path(paths[0])
        return paths[:2], paths[2] if len(paths) == 3 else str(first.with_stem(f"{first.stem}.between"))
    if len(paths) > 2:
        if not all(images[:-1]) or images[-1]:
            raise ValueError(
                f"expected IN [OUT], or images and a folder or video to write; got {len(paths)} paths"
            )
        return paths[:-1], paths[-1]
    if len(paths) == 2:
        return paths[0], paths[1]
    if paths[0] == "-":
        return "-", "-"
    place = Path(paths[0])
    if any(c in place.name for c in "*?["):
        raise ValueError("say where the frames of a glob go: tweenlet interpolate 'frames/*.png' OUT")
    suffix = suffix.replace(".", "_").replace("/", "_")
    if place.is_dir():
        return paths[0], str(place.resolve().with_name(f"{place.resolve().name}-{suffix}"))
    kind = place.suffix if place.suffix.lower() in KINDS else ".mkv"
    return paths[0], str(place.with_name(f"{place.stem}.{suffix}{kind}"))


def _sentence(done: tweenlet.Summary) -> str:
    speed = done.frames_out / done.seconds if done.seconds else 0.0
    cuts = f", {done.cuts} cut{'s' * (done.cuts != 1)}" if done.cuts else ""
    return (
        f"{done.frames_in} frames at {float(done.rate_in):g}/s became "
        f"{done.frames_out} at {float(done.rate_out):g}/s{cuts}; "
        f"{done.width}x{done.height}, {done.seconds:.1f} s, {speed:.1f} frames/s"
    )


def _check_free(target: Path, overwrite: bool) -> None:
    if target.exists() and not overwrite:
        raise FileExistsError(f"{target} exists already: pass --overwrite to replace it")
    if not target.parent.is_dir():
        raise FileNotFoundError(f"the folder to write into does not exist: {target.parent}")


def _told(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror if error.filename is None else f"{error.strerror}: {error.filename}"
    return str(error) or type(error).__name__


if __name__ == "__main__":
    main()
