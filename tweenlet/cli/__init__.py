"""The command line: each verb parses, loads, calls one function and says what came of it.

    app        the app itself, how it ends, and what verbs share
    frames     interpolate, demo
    networks   convert, cost
    speed      bench, export
    quality    evaluate, judge
    learning   pack, train, sparsify, compact, distill, compress

Results go to stdout, progress and errors to stderr. An error is one line, `tweenlet: ...`, and exit code 1;
2 for a command that cannot be understood, 130 after Ctrl-C, 143 after SIGTERM, 129 after SIGHUP; 130 for a
training that any of them stopped, saved.
torch is imported by the verbs that need it only.
"""

from __future__ import annotations

from tweenlet.cli import frames, learning, networks, quality, speed
from tweenlet.cli.app import app, main

__all__ = ["app", "frames", "learning", "main", "networks", "quality", "speed"]

if __name__ == "__main__":
    main()
