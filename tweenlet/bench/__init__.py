"""Bench: time networks on this machine, part by part, and compare them with the machine's limits.

::

    targets ── frames of a moving picture ─────> run, clock: wall and CPU seconds, by part ──┐
            ── the same in a separate process ─> memory: peak ───────────────────────────────┼─> report
    a convolution, a copy ─────────────────────> roofline: the two ceilings ─────────────────┘

On a busy machine only ratios are meaningful: :func:`~tweenlet.bench.run.race` alternates between targets
frame by frame and compares them pair by pair. On a CUDA device, frames are on the device before the clock
starts, as in a stream, and parts are timed by events on the device.

It may import everything below the command line.
"""
