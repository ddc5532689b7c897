"""Cuts and repeats on the tests' footage, whose own are known, beside PySceneDetect's detectors.

    pip install scenedetect --no-deps -c constraints.txt
    python scripts/scene_detectors.py

Prints a Markdown table: true cuts, and for each detector those it finds and those that are none. Its scenes
may be as short as a frame, since some here are; all else is as PySceneDetect ships it.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from tweenlet.runtime.tables import table

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests/video"))

Detector = Callable[[Path], set[int]]


def peers() -> dict[str, Detector]:
    """PySceneDetect's detectors by name; none where it is not installed."""
    try:
        import scenedetect
    except ImportError:
        print("scenedetect is not installed: only tweenlet's own is shown", file=sys.stderr)
        return {}

    def detector(kind: type) -> Detector:
        return lambda path: {
            start.frame_num
            for start, _ in scenedetect.detect(str(path), kind(min_scene_len=1), start_in_scene=True)[1:]
        }

    names = ("ContentDetector", "AdaptiveDetector", "HistogramDetector", "HashDetector")
    return {name: detector(getattr(scenedetect, name)) for name in names}


def score(detected: set[int], true: set[int]) -> str:
    """Such as "2 of 2" or "2 of 2, 7 false"."""
    false = len(detected - true)
    return f"{len(detected & true)} of {len(true)}" + (f", {false} false" if false else "")


def main() -> None:
    """Print the table."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    from test_scene_detection import KINDS, find  # the tests' own footage

    others = peers()
    rows = []
    totals = {name: [0, 0, 0] for name in ("repeats", "tweenlet", *others)}
    with tempfile.TemporaryDirectory() as folder:
        for number, (kind, make) in enumerate(KINDS.items()):
            footage, path = make(), Path(folder) / f"{number}.mp4"
            repeats, cuts = find(footage, path)
            columns = {"repeats": (repeats, footage.repeats), "tweenlet": (cuts, footage.cuts)}
            columns |= {name: (detect(path), footage.cuts) for name, detect in others.items()}
            for name, (detected, true) in columns.items():
                counts = (len(detected & true), len(detected), len(true))
                totals[name] = [a + b for a, b in zip(totals[name], counts, strict=True)]
            rows.append((kind, *(score(*column) for column in columns.values())))
    rates = [
        f"{right / max(detected, 1):.2f}, {right / max(true, 1):.2f}"
        for right, detected, true in totals.values()
    ]
    head = ("footage", "repeats", "cuts: tweenlet", *others)
    print(table(head, [*rows, ("precision, recall", *rates)], names=len(head)))


if __name__ == "__main__":
    main()
