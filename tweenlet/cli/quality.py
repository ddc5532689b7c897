"""Verbs that say how good: evaluate, judge."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from tweenlet.cli.app import app
from tweenlet.cli.progress import bar
from tweenlet.runtime.atomic import check_free

if TYPE_CHECKING:
    from tweenlet.evaluation import Benchmark, Method, Report

Several = Annotated[tuple[str, ...], Parameter(consume_multiple=True, negative="")]
Peers = Annotated[tuple[str, ...], Parameter(name="--peer", negative="")]
WORST = 10
"""Samples that a page shows."""


@app.command
def evaluate(
    model: str,
    /,
    *against: str,
    on: Several,
    part: str = "1/1",
    peers: Peers = (),
    metrics: Several = (),
    lpips: Path | None = None,
    published: bool = False,
    skip_bad: Annotated[bool, Parameter(negative="")] = False,
    footage: Path | None = None,
    download: Annotated[bool, Parameter(negative="")] = False,
    device: str | None = None,
    out: Path | None = None,
    overwrite: bool = False,
) -> None:
    """Score models and other methods on frames that are hidden from them, all on the same frames.

    The first of them is held against the others: how far apart they are, and whether that may be chance.

    Parameters
    ----------
    model
        A name of shipped weights, a checkpoint (the authors' .pth too), an ONNX file, or one of blend, dis,
        minterpolate; LABEL=FILE gives it a name of its own.
    against
        More of them.
    on
        Benchmarks, each KIND:PATH; the kinds: ucf101, ucf101-dvf, davis, snufilm-easy, -medium, -hard and
        -extreme, vfitex, vimeo, middlebury, xiph-2k, xiph-4k; clips:PATH for any videos or folders of frames.
        Or FILE.json, a list of clips by URL and SHA-256: clips9.json and public.json come with tweenlet.
    part
        1/3 takes every third sample, beginning with the first.
    peers
        NAME="COMMAND {0} {1} {2} {3} {out}", run once a frame, four PNG files in, one out; what is wanted
        lies half-way between {1} and {2}. Or NAME=FILE.py:FUNCTION or NAME=package.module:FUNCTION, from
        (4, 3, H, W) to (3, H, W). May be given several times.
    metrics
        Of psnr, detail, features, ssim, psnr_div, ssim_3d, ms_ssim, vmaf, flip, lpips; the first six if not
        given. ssim_3d is the SSIM of ST-MFNet's official evaluation, detail how detailed a frame is beside
        its real neighbours, features a distance in the features of a trained network.
    lpips
        A file of AlexNet's, SqueezeNet's or VGG's weights as torchvision publishes them, for that metric.
    published
        Show what others have published beside it, and whether a method of the same name agrees.
    skip_bad
        Leave out samples that cannot be read, and list them; otherwise the first one ends the run.
    footage
        A folder in which the clips of a list are looked for, by their hash.
    download
        Fetch the clips of a list that are not there, and check their hashes. Nothing is fetched without it.
    device
        cpu, cuda, ...; the CPU if not given.
    out
        A folder for the report as a page, Markdown and JSON, one folder in it per benchmark. With it a run
        that was killed goes on where it was when the same is typed again.
    overwrite
        Begin anew, whatever the folder holds.

    """
    from tweenlet.evaluation import benchmark, methods
    from tweenlet.evaluation.document import write_files
    from tweenlet.evaluation.metrics import chosen
    from tweenlet.evaluation.published import published as entries_of
    from tweenlet.evaluation.run import evaluate as run

    measured = chosen(metrics or _default_metrics(), lpips)
    with bar("fetching", "bytes") as progress:
        found = [benchmark(name, part, footage=footage, download=download, progress=progress) for name in on]
    folders = [re.sub(r"[^\w.-]+", "-", samples.name) for samples in found]
    if out and len(set(folders)) < len(folders):
        raise ValueError(
            f"two benchmarks are called {max(folders, key=folders.count)}: give each an --out of its own"
        )
    entrants = methods([model, *against], device, peers)
    for name, samples, own in zip(on, found, folders, strict=True):
        folder = out / own if out else None
        ledger = folder / "scores.jsonl" if folder else None
        with bar(samples.name, "samples") as progress:
            report = run(
                entrants, samples, measured,
                ledger=ledger, overwrite=overwrite, skip_bad=skip_bad, progress=progress,
            )  # fmt: skip
        if published:
            report = replace(report, published=entries_of(name.partition(":")[0], samples.two_frames))
        print(report.markdown(), end="")
        if published and not report.published:
            print(f"\nNothing published is known of {samples.name}.")
        if folder:
            worst = report.worst(report.names[0], WORST)
            page = _page(report, entrants, samples, worst, f"{samples.name}: {', '.join(report.names)}")
            files = {"report.json": report.dumps(), "report.md": report.markdown(), "report.html": page}
            write_files(folder, {name: text.encode(errors="replace") for name, text in files.items()})
            print(f"\n{folder / 'report.html'}")


@app.command
def judge(
    clip: Path,
    page: Path | None = None,
    /,
    *,
    model: Several = ("default",),
    against: Several = ("blend", "minterpolate", "dis"),
    peers: Peers = (),
    frames: int = 50,
    metrics: Several = (),
    lpips: Path | None = None,
    device: str | None = None,
    overwrite: bool = False,
) -> None:
    """Tell whether a network is worth its time on a clip of yours.

    Every other frame of it is hidden, made again by each method, and held against what was hidden. What comes
    out is a table, and a page on which to look at the frames that each method fails on. What is given is
    twice as far apart as when the whole clip is interpolated, so that real use is easier than this.

    Parameters
    ----------
    clip
        A video, or a folder of frames.
    page
        The page to write, an .html file; holiday.judge.html beside holiday.mp4 if not given.
    model
        Names of shipped weights, checkpoints or ONNX files.
    against
        What to hold them against, of blend, minterpolate and dis.
    peers
        More methods, as in tweenlet evaluate.
    frames
        At most so many hidden frames are made again, spread evenly over the clip; those at cuts, among
        repeated frames and in uneven time are left out.
    metrics
        As in tweenlet evaluate.
    lpips
        As in tweenlet evaluate.
    device
        cpu, cuda, ...; the CPU if not given.
    overwrite
        Replace the page if it exists.

    """
    from tweenlet.evaluation import judge as judging
    from tweenlet.evaluation import methods
    from tweenlet.evaluation.document import write_files
    from tweenlet.evaluation.metrics import chosen
    from tweenlet.evaluation.run import evaluate as run

    clip = judging.located(clip)
    page = page or clip.parent / f"{clip.stem if clip.is_file() else clip.name}.judge.html"
    if page.suffix.lower() not in (".html", ".htm") or page.is_dir():
        raise ValueError(f"expected the name of a page to write, such as {clip.stem}.html; got {page}")
    check_free(page, overwrite)
    measured = chosen(metrics or _default_metrics(), lpips)
    entrants = methods([*model, *against], device, peers)
    with bar("looking for frames to hide", "frames") as progress:
        hidden = judging.hidden(clip, frames, progress)
    with bar(clip.name, "frames") as progress:
        report = run(entrants, hidden.benchmark, measured, progress=progress)
    said, where = judging.verdict(report), judging.where(report, hidden.moment)
    print(f"{said}\n\n{report.summary()}\n\n{where}\n\n{report.protocol}\n{report.origin}", flush=True)
    html = _page(
        report, entrants, hidden.benchmark, judging.failures(report, WORST),
        f"Which is best on {clip.name}?", said, [("Where each fails", where)], hidden.moment,
    )  # fmt: skip
    write_files(page.parent, {page.name: html.encode(errors="replace")})
    print(f"\n{page}")


def _page(
    report: Report,
    entrants: Mapping[str, Method],
    samples: Benchmark,
    names: Sequence[str],
    title: str,
    said: str = "",
    tables: Sequence[tuple[str, str]] = (),
    note: Callable[[str], str] | None = None,
) -> str:
    """The report as a page, with pictures of the samples of these names."""
    from tweenlet.evaluation.page import page
    from tweenlet.evaluation.pictures import pictures

    with bar("looking again", "samples") as progress:
        shown = pictures(report, entrants, samples, names, note, progress)
    return page(report, shown, title=title, verdict=said, extra_tables=tables)


def _default_metrics() -> tuple[str, ...]:
    """The metrics of a command that names none; what is left out for want of a package is told."""
    from tweenlet.evaluation.features import PACKAGE
    from tweenlet.evaluation.metrics import FEATURES, default

    names = default()
    if FEATURES not in names:
        print(f"the feature distance is left out, it needs a package: pip install {PACKAGE}", file=sys.stderr)
    return names
