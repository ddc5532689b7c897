"""Interpolation: frames or a video in, a denser stream of frames out.

    video.py         files in, files out: a video, or the images between two
    interpolator.py  one network with its padding, tiling and motion
    timeline.py      which frame is shown when; recursive midpoints
    timing.py        output times: factor, frame rate, slow motion
    motion_cache.py  what a network of four frames finds of each frame and pair, found once
    tiling.py        frames in overlapping tiles
    prefetch.py      decoding ahead, encoding behind, copies to a device and back

It may import :mod:`tweenlet.inference`, :mod:`.network`, :mod:`.flow`, :mod:`.video`, :mod:`.ops` and
:mod:`.runtime`, but not evaluation, training or the command line.
"""
