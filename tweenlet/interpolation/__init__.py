"""Interpolation: frames or a video in, a denser stream of frames out.

    video.py         a video in, a video out; pair.py: the images between two images
    sequences.py     arrays, tensors or PIL images in, the same out
    interpolator.py  one network with its padding, tiling and motion
    lite.py          the same for the default network, without PyTorch; load.py chooses one
    channels.py      pictures of any number of channels, by a network of three
    timeline.py      which frame is shown when; recursive midpoints
    keyframes.py     source frames without their repeats, with cuts
    timing.py        output times: factor, frame rate, slow motion
    motion_cache.py  features of frames and motion estimates of pairs, computed once
    tiling.py        frames in overlapping tiles; spans.py places them
    pictures.py      operations on pictures, arrays or tensors
    frame_stream.py  the source as the timeline takes it: numbers, loops, damaged frames
    prefetch.py      decoding ahead, encoding behind, copies to a device and back
    lanes.py         small frames made side by side
    job.py           a request, as a value
    farm.py          a job on a Ray cluster; segments.py is the part of its workers
    inspection.py    tweenlet info; demo.py tweenlet demo

It may import :mod:`tweenlet.inference`, :mod:`.network`, :mod:`.video`, :mod:`.ops` and :mod:`.runtime`, but
not evaluation, training or the command line.
"""
