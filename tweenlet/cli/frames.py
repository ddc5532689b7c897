"""Commands around interpolation: info, demo, app."""

from __future__ import annotations

import json
import webbrowser
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from tweenlet.cli.app import FRAMES, PathText, app
from tweenlet.cli.interpolate_options import Whole
from tweenlet.cli.interpolate_summary import sentence
from tweenlet.cli.progress import bar, time_code

if TYPE_CHECKING:
    from tweenlet.interpolation.inspection import Inspection

CUTS_SHOWN = 12
"""Number of cuts listed with their times; the others are only counted."""


@app.command(group=FRAMES, sort_key=1)
def info(
    source: PathText,
    /,
    *,
    start: Annotated[str, Parameter(name="--from")] = "0",
    end: Annotated[str | None, Parameter(name="--to")] = None,
    stream: Annotated[int | None, Whole] = None,
    as_json: Annotated[bool, Parameter(name="--json", negative=())] = False,
) -> None:
    """Describe a video: frame rate, repeated frames, cuts, colours, tracks, damage.

    Parameters
    ----------
    source
        A video, or a folder or quoted glob of images.
    start
        Time to begin at, such as 90.5 or 1:30.5.
    end
        Time to end before.
    stream
        Index of the video stream; default: as for interpolate.
    as_json
        Print one JSON object.

    """
    from tweenlet.interpolation.inspection import inspect
    from tweenlet.video.container import Clip
    from tweenlet.video.retiming import parse_time

    clip = Clip(parse_time(start), None if end is None else parse_time(end))
    with bar(Path(source).name, "frames") as progress:
        info = inspect(source, stream=stream, clip=clip, progress=progress)
    print(json.dumps(_as_json(info)) if as_json else _page(info))


def _as_json(info: Inspection) -> dict[str, Any]:
    values = {k: float(v) if isinstance(v, Fraction) else v for k, v in asdict(info).items()}
    notices = [notice.as_json() for notice in info.notices]
    return {**values, "cuts": [float(time) for time in info.cuts], "notices": notices}


def _page(info: Inspection) -> str:
    """Format the description as text, one property per line."""
    rate = "unknown" if info.rate is None else f"{float(info.rate):.6g} frames/s"
    cuts = ", ".join(time_code(time) for time in info.cuts[:CUTS_SHOWN])
    more = f" and {len(info.cuts) - CUTS_SHOWN} more" if len(info.cuts) > CUTS_SHOWN else ""
    lines = {
        "pictures": f"{info.width}x{info.height}, {info.codec}, {info.pixels} ({info.bits} bits)",
        "rate": f"{rate}, {'constant' if info.constant else 'variable'}",
        "length": f"{info.frames} frames, {time_code(info.duration)}",
        "repeats": f"{info.repeats} frames repeat the one before, {info.longest_run} in a row at most"
        if info.repeats
        else "none",
        "cuts": f"{len(info.cuts)}: {cuts}{more}" if info.cuts else "none",
        "colours": ", ".join(f"{name} {value}" for name, value in info.colours.items()),
        "tracks": "; ".join(info.tracks) or "none",
    }
    page = [info.name, *(f"  {name:9} {text}" for name, text in lines.items())]
    page += [f"  {'notice':9} {notice}" for notice in info.notices]
    return "\n".join(page + ([f"  {'advice':9} {info.advice}"] if info.advice else []))


@app.command(group=FRAMES, sort_key=2)
def demo(
    folder: Path = Path(), *, model: str = "default", device: str | None = None, overwrite: bool = False
) -> None:
    """Interpolate the bundled clip and write tweenlet-demo.mp4, and a comparison as tweenlet-demo.png.

    Parameters
    ----------
    folder
        Folder for the files; default: the current folder.
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
    print(f"{done.video}: {sentence(done.summary)}")
    print(f"{done.picture}: frame before, interpolated frame, frame after; below, where motion is largest")


@app.command(name="app", group=FRAMES, sort_key=3)
def serve_page(
    *,
    port: Annotated[int, Whole] = 8765,
    browser: bool = True,
    max_megabytes: float = 4000,
    max_minutes: float = 240,
    model: str = "default",
    device: str | None = None,
) -> None:
    """Serve a page for the browser: drop a video or two pictures, choose, watch, compare, download.

    It listens to this machine only. Uploads and results are deleted when the command ends (Ctrl-C).

    Parameters
    ----------
    port
        Port to listen on; 0 = any free port.
    browser
        Open the page in the browser.
    max_megabytes
        Maximum size of an upload.
    max_minutes
        Maximum time for one job.
    model
        Name of bundled weights, or path to a checkpoint.
    device
        cpu, cuda, ...; default: CUDA if available, else the CPU.

    """
    from tweenlet.app.server import serve

    def opened(address: str) -> None:
        print(f"{address} (Ctrl-C ends it)", flush=True)
        if browser:
            webbrowser.open(address)

    serve(
        port, opened, max_bytes=int(max_megabytes * 1e6), max_seconds=max_minutes * 60, model=model,
        device=device,
    )  # fmt: skip
