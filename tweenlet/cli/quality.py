"""Commands for quality: evaluate, compare."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from tweenlet.cli.app import QUALITY, Several, app
from tweenlet.cli.progress import bar
from tweenlet.runtime.folders import check_free

if TYPE_CHECKING:
    from tweenlet.evaluation import Benchmark, Method, Report

Baselines = Annotated[tuple[str, ...], Parameter(name="--baseline", negative="")]
WORST = 10
"""Number of samples shown on a page, the worst first."""


@app.command(group=QUALITY, sort_key=1)
def evaluate(
    model: str,
    /,
    *against: str,
    benchmarks: Annotated[Several, Parameter(name="--benchmark")],
    subset: str = "1/1",
    baselines: Baselines = (),
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
    """Score models and other methods on the same held-out frames.

    The first method is compared with each other one, with confidence intervals and a significance test.

    Parameters
    ----------
    model
        Name of bundled weights, checkpoint (the authors' .pth files too), ONNX file, or one of blend, dis and
        minterpolate; LABEL=FILE sets its label.
    against
        More methods, in the same form as MODEL.
    benchmarks
        Benchmarks as KIND:PATH, where KIND is ucf101, ucf101-dvf, davis, snufilm-easy, -medium, -hard or
        -extreme, vfitex, vimeo, middlebury, xiph-2k or xiph-4k; clips:PATH for any videos or folders of
        frames. Or FILE.json, a list of clips by URL and SHA-256: clips9.json and public.json are included.
    subset
        1/3 takes every third sample, starting with the first.
    baselines
        NAME="COMMAND {0} {1} {2} {3} {out}", run once per frame with four PNG files as input; it writes the
        frame halfway between {1} and {2}. Or NAME=FILE.py:FUNCTION or NAME=package.module:FUNCTION, from
        (4, 3, H, W) to (3, H, W). May be repeated.
    metrics
        Any of psnr, detail, features, ssim, psnr_div, ssim_3d, ms_ssim, vmaf, flip, lpips; default: the first
        six. ssim_3d is the SSIM of ST-MFNet's official evaluation, detail compares a frame's fine detail with
        that of its real neighbours, features is a distance in the features of a trained network.
    lpips
        Weights of AlexNet, SqueezeNet or VGG for the LPIPS metric, as torchvision publishes them.
    published
        Show published results too, and whether a method of the same name reproduces them.
    skip_bad
        Skip samples that cannot be read, and list them; by default the first one ends the run.
    footage
        Folder in which to look for the clips of a list, by their hashes.
    download
        Download missing clips of a list and check their hashes. Nothing is downloaded without this flag.
    device
        cpu, cuda, ...; default: cpu.
    out
        Folder for the report as a page, Markdown and JSON, with a subfolder per benchmark. With it, the same
        command resumes a run that was killed.
    overwrite
        Start over and replace what the folder holds.

    """
    from tweenlet.evaluation import benchmark, methods
    from tweenlet.evaluation.catalogue import resolve_metrics
    from tweenlet.evaluation.document import write_files
    from tweenlet.evaluation.published import published_results
    from tweenlet.evaluation.run import evaluate as run

    functions = resolve_metrics(metrics or _default_metrics(), lpips)
    with bar("downloading", "bytes") as progress:
        data = [
            benchmark(name, subset, footage=footage, download=download, progress=progress)
            for name in benchmarks
        ]
    folders = [re.sub(r"[^\w.-]+", "-", samples.name) for samples in data]
    if out and len(set(folders)) < len(folders):
        raise ValueError(
            f"two benchmarks are called {max(folders, key=folders.count)}: give each an --out of its own"
        )
    entrants = methods([model, *against], device, baselines)
    for name, samples, subfolder in zip(benchmarks, data, folders, strict=True):
        folder = out / subfolder if out else None
        ledger = folder / "scores.jsonl" if folder else None
        with bar(samples.name, "samples") as progress:
            report = run(
                entrants, samples, functions,
                ledger=ledger, overwrite=overwrite, skip_bad=skip_bad, progress=progress,
            )  # fmt: skip
        if published:
            report = replace(report, published=published_results(name.partition(":")[0], samples.two_frames))
        print(report.markdown(), end="")
        if published and not report.published:
            print(f"\nThere are no published results for {samples.name}.")
        if folder:
            worst = report.worst(report.names[0], WORST)
            page = _page(report, entrants, samples, worst, f"{samples.name}: {', '.join(report.names)}")
            files = {"report.json": report.dumps(), "report.md": report.markdown(), "report.html": page}
            write_files(folder, {name: text.encode(errors="replace") for name, text in files.items()})
            print(f"\n{folder / 'report.html'}")


@app.command(group=QUALITY, sort_key=0)
def compare(
    clip: Path,
    page: Path | None = None,
    /,
    *,
    model: Several = ("default",),
    against: Several = ("blend", "minterpolate", "dis"),
    baselines: Baselines = (),
    frames: int = 50,
    metrics: Several = (),
    lpips: Path | None = None,
    device: str | None = None,
    overwrite: bool = False,
) -> None:
    """Compare methods on a clip of your own, to see whether a network is worth its time.

    Every other frame is hidden, interpolated by each method and compared with the original. The result is a
    table, and a page that shows the frames on which each method fails. The input frames are twice as far
    apart as in real use, so the test is harder than interpolating the clip.

    Parameters
    ----------
    clip
        Video, or folder of frames.
    page
        HTML file to write; default: holiday.compare.html next to holiday.mp4.
    model
        Names of bundled weights, checkpoints or ONNX files.
    against
        Simple methods to compare with: any of blend, minterpolate and dis.
    baselines
        More methods, as in tweenlet evaluate.
    frames
        Maximum number of hidden frames, spread evenly over the clip; frames at cuts, among repeated frames
        and at uneven intervals are left out.
    metrics
        As in tweenlet evaluate.
    lpips
        As in tweenlet evaluate.
    device
        cpu, cuda, ...; default: cpu.
    overwrite
        Replace the page if it exists.

    """
    from tweenlet.evaluation import compare as comparison
    from tweenlet.evaluation import methods
    from tweenlet.evaluation.catalogue import resolve_metrics
    from tweenlet.evaluation.document import write_files
    from tweenlet.evaluation.run import evaluate as run

    clip = comparison.resolve_clip(clip)
    page = page or clip.parent / f"{clip.stem if clip.is_file() else clip.name}.compare.html"
    if page.suffix.lower() not in (".html", ".htm") or page.is_dir():
        raise ValueError(f"expected the name of a page to write, such as {clip.stem}.html; got {page}")
    check_free(page, overwrite)
    functions = resolve_metrics(metrics or _default_metrics(), lpips)
    entrants = methods([*model, *against], device, baselines)
    with bar("choosing frames to hide", "frames") as progress:
        hidden = comparison.hide_frames(clip, frames, progress)
    with bar(clip.name, "frames") as progress:
        report = run(entrants, hidden.benchmark, functions, progress=progress)
    verdict = comparison.verdict(report)
    weaknesses = comparison.weakness_table(report, hidden.moment)
    print(
        f"{verdict}\n\n{report.summary()}\n\n{weaknesses}\n\n{report.protocol}\n{report.origin}", flush=True
    )
    html = _page(
        report, entrants, hidden.benchmark, comparison.failures(report, WORST),
        f"Which is best on {clip.name}?", verdict, [("Where each fails", weaknesses)], hidden.moment,
    )  # fmt: skip
    write_files(page.parent, {page.name: html.encode(errors="replace")})
    print(f"\n{page}")


def _page(
    report: Report,
    entrants: Mapping[str, Method],
    samples: Benchmark,
    names: Sequence[str],
    title: str,
    verdict: str = "",
    tables: Sequence[tuple[str, str]] = (),
    note: Callable[[str], str] | None = None,
) -> str:
    """Render the report as a page, with pictures of the named samples."""
    from tweenlet.evaluation.page import page
    from tweenlet.evaluation.pictures import render_samples

    with bar("rendering pictures", "samples") as progress:
        images = render_samples(report, entrants, samples, names, note, progress)
    return page(report, images, title=title, verdict=verdict, extra_tables=tables)


def _default_metrics() -> tuple[str, ...]:
    """The default metrics; prints a note if the package of one is missing."""
    from tweenlet.evaluation.catalogue import FEATURES, default_metrics

    names = default_metrics()
    if FEATURES not in names:
        print(
            "the feature distance is left out because it needs a package: pip install 'tweenlet[evaluate]'",
            file=sys.stderr,
        )
    return names
