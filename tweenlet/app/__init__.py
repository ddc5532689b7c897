"""App: a page on this machine: drop a video or two pictures, see what is found, interpolate, compare, keep.

    page.html ── upload ──> jobs.Job ── inspect ──> what is found
                  start ──>   │  thread ── interpolate_video ──> preview, progress, result
                 cancel ──>   ┘

It listens to this machine only, and asks nothing of any other.
"""
