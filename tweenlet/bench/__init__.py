"""Bench: how fast a network makes frames here, part by part, beside what this machine can do at all.

::

    subjects ── a moving picture, window by window ──> run, clock: seconds, CPU seconds, by part ──┐
             ── the same in a fresh process ─────────> memory: the peak ───────────────────────────┼─> report
    a convolution, a copy ───────────────────────────> roofline: the two ceilings ─────────────────┘

On a busy machine only ratios mean something: :func:`~tweenlet.bench.run.race` lets several subjects take
turns, window by window, and compares them pair by pair. On a CUDA device the frames lie there already, as
those of a stream do; whole frames are waited for, and parts timed by events on the device.
"""
