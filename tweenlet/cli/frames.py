"""Verbs that generate frames: interpolate, demo."""

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
"""Exit code of `interpolate` when it wrote OUT, but IN is damaged or truncated."""

MORE_FRAMES = Group(
    "How many frames (one of these; --factor 2 if none)",
    validator=validators.mutually_exclusive,
    sort_key=1,
)
TIMES = Group("Times", sort_key=2)


def _check_path(_: object, values: Any) -> None:
    for value in [values] if isinstance(values, str) else values:
        if value.startswith("-") and value != "-":
            raise ValueError(f"Unknown option: {value}.")
        if not value:
            raise ValueError("Empty path.")


PathArgument = Annotated[str, Parameter(allow_leading_hyphen=True, validator=_check_path)]
"""A path, or "-" for a pipe."""


def _parse_integer(_: object, tokens: Sequence[Token]) -> int:
    if not re.fullmatch(r"[-+]?\d+", tokens[0].value):  # cyclopts would accept 2.5 as 2
        raise ValueError(f"expected a whole number, got {tokens[0].value}")
    return int(tokens[0].value)


@app.command(usage="Usage: tweenlet interpolate [OPTIONS] IN [OUT]")
def interpolate(
    source: PathArgument,
    /,
    *more: PathArgument,
    factor: Annotated[int | None, Parameter(group=MORE_FRAMES, converter=_parse_integer)] = None,
    fps: Annotated[str | None, Parameter(group=MORE_FRAMES)] = None,
    slow: Annotated[str | None, Parameter(group=TIMES)] = None,
    speed: Annotated[str | None, Parameter(group=TIMES)] = None,
    start: Annotated[str, Parameter(group=TIMES, name="--from")] = "0",
    end: Annotated[str | None, Parameter(group=TIMES, name="--to")] = None,
    loop: Annotated[bool, Parameter(group=TIMES, negative=())] = False,
    keep_frames: Annotated[bool, Parameter(group=TIMES, negative=())] = False,
    shutter: Annotated[float, Parameter(group=TIMES)] = 0,
    replace: Annotated[str, Parameter(group=TIMES)] = "",
    max_recursion: int = 3,
    model: str = "default",
    device: str | None = None,
    engine: str = "eager",
    precision: Literal["float32", "bfloat16", "float16"] = "float32",
    rate: str | None = None,
    cuts: bool = True,
    repeats: Literal["keep", "smooth"] = "keep",
    tile: str = "auto",
    stream: Annotated[int | None, Parameter(converter=_parse_integer)] = None,
    strict: bool = False,
    overwrite: bool = False,
    as_json: Annotated[bool, Parameter(name="--json", negative=())] = False,
) -> None:
    """Make a video smoother or slower.

    Audio and subtitles are kept. --factor keeps every frame of IN; --fps keeps those whose times coincide
    with the new rate (every second one from 24 to 60) and reports how many. Without OUT, the result is
    written next to IN: holiday.mp4 gives holiday.2x.mp4, old.avi gives old.2x.mkv. Two images give the image
    between them.

    Damaged or missing parts of IN are bridged and reported, with exit code 3. The exit code is 1 if OUT could
    not be written, and 2 for a command line that is not understood.

    Parameters
    ----------
    source
        IN: a video, a folder of frames, a quoted glob, an image, a URL (scheme://...), or "-" to read a pipe,
        such as y4m. Put -- before names that begin with a dash.
    more
        OUT: a video, a folder or numbered pattern (out/%05d.png) for images, or "-" for stdout. More input
        images may come before it.
    factor
        How many times as many frames, 2 or more; powers of 2 are exact with every network.
    fps
        Target frame rate, such as 60, 59.94 or 60000/1001; not below that of IN.
    slow
        Slow-motion factor, such as 4 or 2.5, at the same frame rate or at --fps. Sound keeps its pitch.
    speed
        Speeds over time, such as "0:1 2.5:0.25 4:1" (seconds of IN, counted from --from : speed), or a file
        of such points. Between two points the speed changes evenly.
    start
        Time of IN to begin at, such as 90.5 or 1:30.5.
    end
        Time of IN to end before.
    loop
        Make the last frame lead back to the first, for clips that repeat.
    keep_frames
        With --fps, show every frame of IN, in the new frame nearest to its time.
    shutter
        Motion blur of a shutter open for so many degrees, such as 180: each frame is the mean of 8 made ones.
        The frame rate stays, or is that of --fps, which may then be lower.
    replace
        Numbers of damaged frames, counted from 0, to be remade from their neighbours, such as 117,240-243.
        The frame rate stays unless --factor or --fps is given.
    max_recursion
        For networks that only predict the midpoint, such as the default: how often the gap between two frames
        may be halved for --fps, and for a --factor or --slow that is not a power of 2.
    model
        Name of bundled weights, or path to a checkpoint.
    device
        cpu, cuda, cuda:1, ...; default: CUDA if available, else the CPU.
    engine
        What runs the network: eager (PyTorch and native code), compile, onnxruntime, openvino, or, on a CUDA
        device, cudagraph. With auto, the fastest on this machine: on a CPU, a one-minute race of eager,
        onnxruntime and openvino decides once, and the result is cached.
    precision
        bfloat16 on a CPU and float16 on a CUDA device are faster; the differences are too small to see.
    rate
        Frame rate of IN if it is images; default: 24.
    cuts
        Detect scene changes and do not interpolate across them.
    repeats
        How to treat frames that repeat the previous one (animation on twos, screen recordings, telecined
        film): "keep" preserves their timing and interpolates only in the last gap before a new picture;
        "smooth" spreads the motion over up to 6 of them.
    tile
        Side of overlapping tiles in pixels, which bound memory; "auto" tiles frames that would need much
        memory as a whole, "none" never tiles.
    stream
        Index of the video stream in IN, as ffprobe counts; default: the stream marked as default, or the
        largest one that has frames.
    strict
        Fail if IN is damaged or truncated.
    overwrite
        Replace OUT if it exists.
    as_json
        Print the summary as one JSON object, with warnings and the times of damaged or missing parts.

    """
    from tweenlet.runtime.dtypes import DTYPES

    pace = f"slow{slow}" if slow else "retimed" if speed else f"{factor}x" if factor else ""
    kind = "remade" if replace else "blurred" if shutter else "2x"
    origin, target = _source_and_target([source, *more], pace or (f"{fps}fps" if fps else kind))
    chosen: dict[str, Any] = {"model": model, "device": device, "engine": engine}
    chosen["dtype"] = DTYPES[precision]
    chosen |= {"tile": tile, "overwrite": overwrite}
    if isinstance(origin, list) and len(origin) == 2:
        if fps or slow or speed or replace or shutter or loop:
            raise ValueError("between two images, say --factor: other times are those of videos")
        before, after = origin
        factor = 2 if factor is None else factor
        images = tweenlet.interpolate_pair(before, after, target, factor=factor, **chosen)
        print(
            json.dumps({"outputs": [str(path) for path in images]})
            if as_json
            else "\n".join(map(str, images))
        )
        return
    chosen |= {
        "factor": factor,
        "fps": fps,
        "slow": slow,
        "speed": speed,
        "start": start,
        "end": end,
        "loop": loop,
        "keep_frames": keep_frames,
        "shutter": shutter,
        "replace": replace,
        "max_recursion": max_recursion,
        "rate": rate,
        "cuts": cuts,
    }
    chosen |= {"repeats": repeats, "stream": stream, "strict": strict}
    with (
        _record_warnings() as warned,
        bar(Path(target).name if target != "-" else "stdout", "frames") as progress,
    ):
        done = tweenlet.interpolate_video(origin, target, progress=progress, **chosen)
    for notice in done.notices:
        print(f"tweenlet: warning: {notice}", file=sys.stderr)
    if as_json:
        print(_json(done, target, warned), file=sys.stderr if target == "-" else sys.stdout)
    elif target != "-":
        print(f"{target}: {_sentence(done)}{f'; engine: {done.engine}' if engine == 'auto' else ''}")
    if any(notice.is_damage for notice in done.notices):
        sys.exit(DAMAGED)


@app.command
def demo(
    folder: Path = Path(), *, model: str = "default", device: str | None = None, overwrite: bool = False
) -> None:
    """Interpolate an embedded clip: writes tweenlet-demo.mp4 and, with a comparison, tweenlet-demo.png.

    Parameters
    ----------
    folder
        Where to write them; default: the current folder.
    model
        Name of bundled weights, or path to a checkpoint.
    device
        cpu, cuda, ...; default: CUDA if available, else the CPU.
    overwrite
        Replace the files if they exist.

    """
    from tweenlet.interpolation.demo import demo as make

    with bar("tweenlet-demo.mp4", "frames") as progress:
        done = make(folder, model=model, device=device, overwrite=overwrite, progress=progress)
    print(f"{done.video}: {_sentence(done.summary)}")
    print(f"{done.picture}: frame before, interpolated frame, frame after; below, where motion is largest")


def _source_and_target(paths: list[str], suffix: str) -> tuple[Any, str]:
    """Split the paths of `interpolate` into (one source or a list of images, the target).

    The default target is the source's name with the suffix: clip.2x.mp4, frames-2x; or clip.2x.mkv if the
    source's container cannot be written.
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
def _record_warnings() -> Iterator[list[str]]:
    """Collect the text of warnings in a list while still showing them."""
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
    """The first few damaged or missing time spans of the source, for the summary line."""
    spans = [notice for notice in done.notices if notice.is_damage and notice.start is not None]
    words = [
        f"{n.kind} {float(n.start or 0):.2f}-{'end' if n.end is None else f'{float(n.end):.2f}'} s"
        for n in spans[:4]
    ]
    more = [f"and {len(spans) - 4} more"] if len(spans) > 4 else []
    return "".join(f"; {word}" for word in words + more)
