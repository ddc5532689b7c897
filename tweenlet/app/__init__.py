"""App: a local web page: drop a video or two pictures, inspect, interpolate, compare, download.

    page.html ── upload ──> jobs.Job ── inspect ──> what is found
                  start ──>   │  thread ── interpolate_video ──> preview, progress, result
                 cancel ──>   ┘

It listens on localhost only, and loads nothing from the network. It may import interpolation and everything
below it.
"""
