"""Frames in memory become a smoother clip: arrays in, arrays out, by factor and by frame rate.

python examples/interpolate_arrays.py [OUT.mp4]
"""

import sys

import av
import numpy as np

import tweenlet

# 16 frames (H, W, 3) of 8 bits: rings that move, as a second of a video generator's clip
y, x = np.mgrid[:96, :128]
frames = [np.sin(np.hypot(x - 20 - 5 * t, y - 48) / 6) for t in range(16)]
clip = np.stack([np.repeat((127.5 + 127.5 * f)[..., None], 3, -1) for f in frames]).astype(np.uint8)

twice = tweenlet.interpolate(clip, factor=2)
assert (twice[::2] == clip).all()  # yours come out as they went in

film = tweenlet.interpolate(clip, fps=16, to=24)
print(f"{len(clip)} frames became {len(twice)} by factor=2, and {len(film)} from 16 to 24 per second")

if sys.argv[1:]:
    with av.open(sys.argv[1], "w") as output:
        stream = output.add_stream("libx264", 24)
        stream.height, stream.width = film.shape[1:3]
        for frame in film:
            output.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        output.mux(stream.encode(None))
