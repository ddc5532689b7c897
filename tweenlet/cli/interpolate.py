"""The command interpolate: one video, the images between two, or many videos one after the other."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from threading import Event
from typing import Annotated, Any

from cyclopts import CycloptsError, Parameter

import tweenlet
from tweenlet.cli.app import FRAMES, PathText, app, describe_error, is_out_of_memory, unknown_option
from tweenlet.cli.interpolate_options import (
    NetworkOptions,
    OutputOptions,
    RateOptions,
    SourceOptions,
    TimeOptions,
    WatchOptions,
)
from tweenlet.cli.interpolate_paths import expand, find_target, name_in, suffix_of
from tweenlet.cli.interpolate_summary import as_json, record_warnings, sentence
from tweenlet.cli.progress import Watch, print_line
from tweenlet.cli.settings import save_settings

DAMAGED = 3
"""Exit code of `interpolate` when it wrote OUT, but IN is damaged or truncated."""


def _check_path(_: object, values: Any) -> None:
    for value in [values] if isinstance(values, str) else values:
        if value.startswith("-") and value != "-":
            arguments = app["interpolate"].assemble_argument_collection()
            raise unknown_option(value, [name for argument in arguments for name in argument.names])
        if not value:
            raise ValueError("Empty path.")


InArgument = Annotated[PathText, Parameter(name="IN", allow_leading_hyphen=True, validator=_check_path)]
OutArgument = Annotated[PathText, Parameter(name="OUT", allow_leading_hyphen=True, validator=_check_path)]
RATE, TIMES, OUTPUT, SOURCE, NETWORK, WATCH = (
    RateOptions(), TimeOptions(), OutputOptions(), SourceOptions(), NetworkOptions(), WatchOptions()
)  # fmt: skip


@app.command(usage="Usage: tweenlet interpolate [OPTIONS] IN [OUT]", group=FRAMES, sort_key=0)
def interpolate(
    source: InArgument,
    /,
    *more: OutArgument,
    rate: RateOptions = RATE,
    times: TimeOptions = TIMES,
    output: OutputOptions = OUTPUT,
    reading: SourceOptions = SOURCE,
    network: NetworkOptions = NETWORK,
    watch: WatchOptions = WATCH,
) -> None:
    """Make a video smoother or slower.

    Audio and subtitles are kept. --factor keeps every frame of IN; --fps keeps those whose times coincide
    with the new rate (every second one from 24 to 60) and reports how many. Without OUT, the result is
    written next to IN: holiday.mp4 gives holiday.2x.mp4, old.avi gives old.2x.mkv. Two images give the image
    between them; with --out-dir, several videos run one after the other.

    Damaged or missing parts of IN are bridged and reported, with exit code 3. The exit code is 1 if OUT could
    not be written, and 2 for an invalid command line.

    Parameters
    ----------
    source
        A video, a folder of frames, a quoted glob, an image, a URL (scheme://...), or "-" to read a pipe,
        such as y4m. Put -- before names that begin with a dash.
    more
        A video, a folder or numbered pattern (out/%05d.png) for images, or "-" for stdout. More input
        images may come before it.

    """
    if rate.factor is not None and rate.fps is not None:
        raise CycloptsError(msg="--factor and --fps exclude each other: give one of them")
    paths, groups = [str(path) for path in (source, *more)], (rate, times, output, reading, network, watch)
    if network.on is not None and watch.preview is not None:
        raise CycloptsError(msg="--preview and --on exclude each other: the frames are on other machines")
    if watch.save_config:
        save_settings("interpolate", _differing(groups))
    if output.out_dir is not None:
        sys.exit(_run_all(paths, output.out_dir, groups))
    origin, target = find_target(paths, suffix_of(rate, times))
    if isinstance(origin, list) and len(origin) == 2:
        _interpolate_pair(origin, target, groups)
        return
    summary = _run(origin, target, groups)
    if any(notice.is_damage for notice in summary.notices):
        sys.exit(DAMAGED)


Groups = tuple[RateOptions, TimeOptions, OutputOptions, SourceOptions, NetworkOptions, WatchOptions]


def _interpolate_pair(pair: list[str], target: str, groups: Groups) -> None:
    """Write the images between two others."""
    rate, times, output, reading, network, watch = groups
    if network.on is not None:
        raise ValueError("between two images, leave out --on: a farm takes a video")
    if rate.fps or times != TIMES:
        raise ValueError("between two images, say --factor: other times are those of videos")
    if (unused := sorted(_differing([output, reading]))) and not watch.quiet:
        flags = ", ".join(f"--{name}" for name in unused)
        print_line(f"tweenlet: between two images, no use is made of {flags}", sys.stderr)
    before, after = pair
    images = tweenlet.interpolate_pair(
        before, after, target, factor=rate.factor or 2, overwrite=output.overwrite, **_network(network)
    )
    if watch.as_json:
        print(json.dumps({"event": "summary", "outputs": [str(path) for path in images]}))
    elif not watch.quiet:
        print("\n".join(map(str, images)))


def _network(options: NetworkOptions) -> dict[str, Any]:
    chosen = asdict(options)
    del chosen["on"]
    return {"dtype": chosen.pop("precision"), **chosen}


def _run(
    origin: Any, target: str, groups: Groups, check: Callable[[int, int | None], None] | None = None
) -> tweenlet.Summary:
    """Interpolate one video, and print its summary.

    ``check``: called after each frame when several videos run at once; it ends the run by raising.
    """
    from tweenlet.video import Encoding

    rate, times, output, reading, network, watch = groups
    encoding = Encoding(output.codec, output.encoder, output.crf, output.preset, output.pix_fmt, output.audio)
    stream = sys.stderr if target == "-" else sys.stdout
    title = Path(target).name if target != "-" else "stdout"
    with (
        record_warnings(check is None) as warned,
        Watch(
            title, watch.quiet, watch.as_json, stream, watch.preview, watch.preview_every,
            lines=check is not None,
        ) as observe,
    ):  # fmt: skip
        summary = tweenlet.interpolate_video(
            origin, target, overwrite=output.overwrite, resume=output.resume, encoding=encoding,
            observe=observe, progress=check, on=network.on,
            **asdict(rate), **asdict(times), **asdict(reading), **_network(network),
        )  # fmt: skip
    if not watch.quiet:
        for notice in summary.notices:
            print_line(f"tweenlet: warning: {notice}", sys.stderr)
    if watch.as_json:
        print_line(as_json(summary, target, warned), stream)
    elif target != "-" and not watch.quiet:
        engine = f"; engine: {summary.engine}" if network.engine == "auto" else ""
        print_line(f"{target}: {sentence(summary)}{engine}", sys.stdout)
    return summary


@dataclass
class _Outcome:
    source: str
    result: str
    """"done", "skipped", "damaged" or "failed"."""
    text: str = ""


def _run_all(sources: Sequence[str], folder: Path, groups: Groups) -> int:
    """Interpolate several videos into a folder; returns the exit code."""
    output, network, watch = groups[2], groups[4], groups[5]
    paths = list(expand(sources))
    names = [name_in(folder, path, "") for path in paths]
    if duplicates := {name.name for name in names if names.count(name) > 1}:
        raise ValueError(f"several INs would be written as {', '.join(sorted(duplicates))}: rename one")
    folder.mkdir(parents=True, exist_ok=True)

    def run(number: int, check: Callable[[int, int | None], None] | None = None) -> _Outcome:
        path, target = paths[number], names[number]
        is_own_source = target.exists() and Path(path).exists() and target.samefile(path)
        if target.exists() and not (output.overwrite or is_own_source):  # which is an error, below
            return _Outcome(path, "skipped")
        if not (watch.quiet or watch.as_json):
            print_line(f"[{number + 1}/{len(paths)}] {path}", sys.stderr)
        try:
            summary = _run(path, str(target), groups, check)
        except (ValueError, OSError, MemoryError, RuntimeError) as error:
            if isinstance(error, RuntimeError) and not is_out_of_memory(error):
                raise
            text = " ".join(describe_error(error).split())
            name = "" if text.startswith(path) else f"{path}: "
            print_line(f"tweenlet: {name}{text}", sys.stderr)
            return _Outcome(path, "failed", text)
        damaged = any(notice.is_damage for notice in summary.notices)
        return _Outcome(path, "damaged" if damaged else "done")

    if network.on is None:
        outcomes = [run(number) for number in range(len(paths))]
    else:
        outcomes = _run_together(run, len(paths))
    results = [outcome.result for outcome in outcomes]
    counts = {name: results.count(name) for name in ("done", "damaged", "skipped", "failed")}
    if watch.as_json:
        print(json.dumps({"event": "batch", **counts, "videos": [asdict(o) for o in outcomes]}))
    elif not watch.quiet:
        words = {"damaged": "damaged, but done"}
        results = [f"{count} {words.get(name, name)}" for name, count in counts.items() if count]
        print(f"{len(paths)} videos: {', '.join(results)}")
    return 1 if counts["failed"] else DAMAGED if counts["damaged"] else 0


def _run_together(run: Callable[..., _Outcome], count: int) -> list[_Outcome]:
    """Run several videos at once on a farm, one per core of this machine."""
    from tweenlet.interpolation.farm import connect

    stopped = Event()

    def check(*_: object) -> None:
        if stopped.is_set():
            raise KeyboardInterrupt

    with connect(), ThreadPoolExecutor(os.cpu_count()) as pool:
        futures = [pool.submit(run, number, check) for number in range(count)]
        try:
            return [future.result() for future in futures]
        except BaseException:
            stopped.set()
            pool.shutdown(cancel_futures=True)
            raise


def _differing(groups: Sequence[Any]) -> dict[str, Any]:
    """Options that differ from their defaults, by their names on the command line; not --overwrite."""
    renamed = {"start": "from", "end": "to", "as_json": "json"}
    return {
        renamed.get(field.name, field.name).replace("_", "-"): getattr(group, field.name)
        for group in groups
        for field in fields(group)
        if field.name not in ("save_config", "overwrite") and getattr(group, field.name) != field.default
    }
