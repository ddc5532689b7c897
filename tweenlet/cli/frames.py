"""Verbs that make frames: interpolate, demo."""

from __future__ import annotations

import json
import re
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Group, Parameter, Token, validators

import tweenlet
from tweenlet.cli.app import app
from tweenlet.cli.progress import bar

DAMAGED = 3
"""How `interpolate` ends where it wrote OUT, but IN is damaged or cut short."""

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


@app.command(usage="Usage: tweenlet interpolate [OPTIONS] IN [OUT]")
def interpolate(
    source: Place,
    /,
    *more: Place,
    factor: Annotated[int | None, Parameter(group=MORE_FRAMES, converter=_whole)] = None,
    fps: Annotated[str | None, Parameter(group=MORE_FRAMES)] = None,
    slow: Annotated[str | None, Parameter(group=MORE_FRAMES)] = None,
    depth: int = 3,
    model: str = "default",
    device: str | None = None,
    engine: str = "eager",
    precision: Literal["float32", "bfloat16", "float16"] = "float32",
    rate: str | None = None,
    cuts: bool = True,
    repeats: Literal["keep", "smooth"] = "keep",
    tile: str = "auto",
    stream: Annotated[int | None, Parameter(converter=_whole)] = None,
    strict: bool = False,
    overwrite: bool = False,
    as_json: Annotated[bool, Parameter(name="--json", negative=())] = False,
) -> None:
    """Make a video smoother or slower.

    Sound and subtitles are kept. --factor keeps every frame of IN, --fps those whose time it meets exactly
    (at 24 to 60 every second one), and says how many. Without OUT the result lies beside IN:
    holiday.mp4 gives holiday.2x.mp4, old.avi gives old.2x.mkv. Two images give the image between them.

    What is damaged or missing in IN is bridged and told, and the exit code is 3; 1 where OUT could not be
    written, 2 for a command that is not understood.

    Parameters
    ----------
    source
        IN: a video, a folder, a glob in quotes, an image, a URL (scheme://...), or "-" for a pipe, as of y4m.
        Put -- before names that begin with a dash.
    more
        OUT: a video, a folder or numbered pattern (out/%05d.png) of images, or "-". Before it, more images.
    factor
        Times as many frames, 2 or more; 2, 4, 8, ... are exact with every network.
    fps
        Frames per second to reach, as 60, 59.94 or 60000/1001; at or above those of IN.
    slow
        So many times slower, as 4 or 2.5, at the same rate, without sound.
    depth
        Of a network that only makes the middle, as the default: how often the gap between two frames may be
        halved for --fps, and for a --factor or --slow that is no power of 2.
    model
        A name of shipped weights, or a checkpoint's path.
    device
        cpu, cuda, cuda:1, ...; CUDA if there is any, else the CPU.
    engine
        What runs the network: eager (PyTorch and native code), compile, onnxruntime, openvino, on a CUDA
        device cudagraph; or auto, the fastest on this machine: on a CPU raced once among eager, onnxruntime
        and openvino, which takes a minute, and remembered.
    precision
        bfloat16 on a CPU and float16 on a CUDA device are faster, at differences too small to see.
    rate
        Frames per second of IN where that is images; 24 if not given.
    cuts
        Look for cuts between scenes, and make nothing across them.
    repeats
        What becomes of frames that repeat the one before (cartoons drawn on twos, screen recordings, film in
        video): "keep" leaves their timing as its makers drew it and moves on in the last gap before a new
        picture, "smooth" moves through up to 6 of them, as if each picture had been drawn in its own time.
    tile
        Run frames in overlapping tiles of so many pixels a side, so that memory has a bound; "auto" where
        whole frames would take much of it, "none" never.
    stream
        Which video of IN, in ffprobe's count of streams; if not given the one marked as default, or the
        largest that has frames.
    strict
        Refuse an IN that is damaged or cut short.
    overwrite
        Replace OUT if it exists.
    as_json
        Print the summary as one JSON object, with warnings and the times that are damaged or missing.

    """
    from tweenlet.runtime.dtypes import DTYPES

    origin, target = _source_and_target(
        [source, *more], f"{fps}fps" if fps else f"slow{slow}" if slow else f"{factor}x" if factor else "2x"
    )
    chosen: dict[str, Any] = {"model": model, "device": device, "engine": engine}
    chosen["dtype"] = DTYPES[precision]
    chosen |= {"tile": tile, "overwrite": overwrite}
    if isinstance(origin, list) and len(origin) == 2:
        if fps or slow:
            raise ValueError("--fps and --slow are for videos: between two images say --factor")
        before, after = origin
        factor = 2 if factor is None else factor
        images = tweenlet.interpolate_pair(before, after, target, factor=factor, **chosen)
        print(
            json.dumps({"outputs": [str(path) for path in images]})
            if as_json
            else "\n".join(map(str, images))
        )
        return
    chosen |= {"factor": factor, "fps": fps, "slow": slow, "depth": depth, "rate": rate, "cuts": cuts}
    chosen |= {"repeats": repeats, "stream": stream, "strict": strict}
    with (
        _overheard() as overheard,
        bar(Path(target).name if target != "-" else "stdout", "frames") as progress,
    ):
        done = tweenlet.interpolate_video(origin, target, progress=progress, **chosen)
    for notice in done.notices:
        print(f"tweenlet: warning: {notice}", file=sys.stderr)
    if as_json:
        print(_json(done, target, overheard), file=sys.stderr if target == "-" else sys.stdout)
    elif target != "-":
        print(f"{target}: {_sentence(done)}{f'; engine: {done.engine}' if engine == 'auto' else ''}")
    if any(notice.is_damage for notice in done.notices):
        sys.exit(DAMAGED)


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
    from tweenlet.interpolation.demo import demo as make

    with bar("tweenlet-demo.mp4", "frames") as progress:
        done = make(folder, model=model, device=device, overwrite=overwrite, progress=progress)
    print(f"{done.video}: {_sentence(done.summary)}")
    print(
        f"{done.picture}: a frame before, the frame made, the frame after; below, what moves most, enlarged"
    )


def _source_and_target(paths: list[str], suffix: str) -> tuple[Any, str]:
    """What the paths of `interpolate` mean: (one source or a list of images, the target).

    Without a target that is the source's name with the suffix: clip.2x.mp4, frames-2x; clip.2x.mkv for a kind
    of file that is not written.
    """
    from tweenlet.video.codecs import KINDS
    from tweenlet.video.container import is_url
    from tweenlet.video.images import is_glob, is_image

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
    if is_url(paths[0]):
        raise ValueError("say where the frames of a URL go: tweenlet interpolate https://... OUT")
    place = Path(paths[0])
    if is_glob(place):
        raise ValueError("say where the frames of a glob go: tweenlet interpolate 'frames/*.png' OUT")
    suffix = suffix.replace(".", "_").replace("/", "_")
    if place.is_dir():
        return paths[0], str(place.resolve().with_name(f"{place.resolve().name}-{suffix}"))
    kind = place.suffix if place.suffix.lower() in KINDS else ".mkv"
    return paths[0], str(place.with_name(f"{place.stem}.{suffix}{kind}"))


@contextmanager
def _overheard() -> Iterator[list[str]]:
    """The warnings that are shown meanwhile, as a list."""
    messages: list[str] = []
    show = warnings.showwarning

    def both(message: Warning | str, *rest: Any, **named: Any) -> None:
        messages.append(str(message))
        show(message, *rest, **named)

    warnings.showwarning = both
    try:
        yield messages
    finally:
        warnings.showwarning = show


def _json(done: tweenlet.Summary, target: str, messages: Sequence[str]) -> str:
    values = {k: float(v) if isinstance(v, Fraction) else v for k, v in asdict(done).items()}
    del values["notices"]
    spans = [notice.as_json() for notice in done.notices]
    left_out = [{"kind": "other", "start": None, "end": None, "message": text} for text in messages]
    return json.dumps({"output": target, **values, "warnings": spans + left_out})


def _sentence(done: tweenlet.Summary) -> str:
    speed = done.frames_out / done.seconds if done.seconds else 0.0
    counts = {"repeat": done.repeats, "cut": done.cuts}
    seen = "".join(f", {count} {name}{'s' * (count != 1)}" for name, count in counts.items() if count)
    shown = f" ({done.frames_kept} of them as they came)" if done.frames_kept < done.frames_in else ""
    return (
        f"{done.frames_in} frames at {float(done.rate_in):g}/s became "
        f"{done.frames_out} at {float(done.rate_out):g}/s{shown}{seen}; "
        f"{done.width}x{done.height}, {done.seconds:.1f} s, {speed:.1f} frames/s{_damage(done)}"
    )


def _damage(done: tweenlet.Summary) -> str:
    """Which times of the source are damaged or missing: the first few of them."""
    spans = [notice for notice in done.notices if notice.is_damage and notice.start is not None]
    words = [
        f"{n.kind} {float(n.start or 0):.2f}-{'end' if n.end is None else f'{float(n.end):.2f}'} s"
        for n in spans[:4]
    ]
    more = [f"and {len(spans) - 4} more"] if len(spans) > 4 else []
    return "".join(f"; {word}" for word in words + more)
