"""Interpolation: from frames, or a video, to a denser stream.

    video.py         a file in, a file out; two images in, those between them out
    interpolator.py  one network: pads, tiles, finds flow, makes the frame between two
    timeline.py      which frame is shown when; recursive midpoints
    timing.py        the output times that are asked for
    flow_cache.py    classical flow found once for each pair of frames
    motion_cache.py  what a network of four frames finds of each frame and pair, found once
    tiling.py        frames in overlapping tiles
    prefetch.py      decoding ahead, encoding behind, copies to a device and back

It may import networks, engines and `video`; nothing here knows of the command line.
"""
