"""Interpolation: frames or a video in, a denser stream of frames out.

    video.py         files in, files out: a video, or the images between two
    interpolator.py  one network with its padding, tiling and motion
    lite.py          the same for the default network, without PyTorch; load.py starts one of both
    timeline.py      which frame is shown when; recursive midpoints
    timing.py        output times: factor, frame rate, slow motion
    motion_cache.py  what a network of four frames finds of each frame and pair, found once
    tiling.py        frames in overlapping tiles; spans.py says where those lie
    pictures.py      what is done to pictures, arrays or tensors
    prefetch.py      decoding ahead, encoding behind, copies to a device and back

It may import :mod:`tweenlet.inference`, :mod:`.network`, :mod:`.flow`, :mod:`.video`, :mod:`.ops` and
:mod:`.runtime`, but not evaluation, training or the command line.
"""
