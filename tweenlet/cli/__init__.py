"""Command line: each command parses its arguments, calls one function and prints the result.

    app        the app itself, exit codes, and the new names of old flags
    settings   options from tweenlet.toml
    interpolate, with interpolate_options, interpolate_paths and interpolate_summary
    frames     info, demo, app
    networks   convert, models, push, cost
    speed      bench, export
    quality    evaluate, compare
    training   transcode, train
    compress   the whole compression; stages: sparsify, compact, prune, distill
    budget_options, learning   options shared with train

Results go to stdout, progress and errors to stderr. An error is one line, `tweenlet: ...`, with exit code 1;
2 for an invalid command line, 130 after Ctrl-C, 143 after SIGTERM, 129 after SIGHUP. A training run stopped
by any of these signals saves its state and exits with 130.
Only commands that need torch import it.
"""

from __future__ import annotations

from tweenlet.cli import compress, frames, interpolate, networks, quality, speed, stages, training
from tweenlet.cli.app import app, main

__all__ = [
    "app",
    "compress",
    "frames",
    "interpolate",
    "main",
    "networks",
    "quality",
    "speed",
    "stages",
    "training",
]

if __name__ == "__main__":
    main()
