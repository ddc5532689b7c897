"""Classical: methods that no network takes part in, by name.

    blend          the mean of the two middle frames
    dis            OpenCV's DIS optical flow both ways, both splatted half of the way
    minterpolate   ffmpeg's motion-compensating filter, given the same four frames

Where a set has two frames only, minterpolate is given four as well, the outer ones repeated, since it makes
nothing of two: the stills cost it 0.07 dB on 18 windows of clips9, a search that needs none (bilat) 0.16.
"""

from __future__ import annotations

import subprocess

import cv2
import numpy as np
import torch
from torch import Tensor

from tweenlet.evaluation.baselines.method import Method, Peer
from tweenlet.evaluation.metrics import eight_bit, ffmpeg
from tweenlet.flow.dis import luma, opencv
from tweenlet.ops.splat import splat_sum
from tweenlet.ops.warp import backwarp

MINTERPOLATE = "minterpolate=fps=2:mi_mode=mci:mc_mode=aobmc:me_mode=bidir:vsbmc=1:scd=none"
"""At its best. Three frames a second in and two out: of the times 0 to 3, only 0 and 1.5 are asked."""

# Both chosen on clips9, that is in the peer's favour.
_STRICTNESS = 10.0  # a pixel that differs from its match by d of 1 counts exp(-10 d)
_BLEND_SHARE = 0.1  # of a full pixel, everywhere; where nothing lands, it is all there is


def blend(frames: Tensor) -> Tensor:
    """The mean of the two middle frames."""
    return frames[1:3].mean(0)


def dis(frames: Tensor) -> Tensor:
    """Linear motion from OpenCV's DIS flow (medium), splatted half-way from both middle frames.

    Softmax splatting with brightness constancy for importance (Niklaus and Liu, 2020): a pixel whose match
    is unlike it is probably hidden in the other frame, and gives way. Where nothing lands, the blend shows.
    """
    pair = frames[1:3].float()
    lumas = torch.stack([luma(picture) for picture in pair])
    flow = opencv(lumas, lumas.flip(0))
    mismatch = (pair - backwarp(pair.flip(0), flow)).abs().mean(1, keepdim=True)
    importance = torch.exp(-_STRICTNESS * mismatch)
    landed = splat_sum(torch.cat((pair * importance, importance), 1), flow / 2).sum(0)
    return (landed[:3] + _BLEND_SHARE * blend(frames)) / (landed[3:] + _BLEND_SHARE)


def minterpolate(frames: Tensor) -> Tensor:
    """The filter of ffmpeg (:data:`MINTERPOLATE`) on the four frames, by way of the package imageio-ffmpeg.

    It knows no RGB: the planes travel untouched as if they were Y'CbCr, green in the place of luma, on which
    motion is searched. That loses no colour, and on clips9 scores a little better than a conversion there and
    back. OSError without imageio-ffmpeg, and with ffmpeg's own words if it fails.
    """
    height, width = frames.shape[-2:]
    source = f"-f rawvideo -pix_fmt yuv444p -s {width}x{height} -r 3 -i -"
    target = "-fps_mode passthrough -f rawvideo -pix_fmt yuv444p -"
    order = [ffmpeg(), "-v", "error", *source.split(), "-vf", MINTERPOLATE, *target.split()]
    planes = eight_bit(frames[:, [1, 2, 0]]).byte().numpy()
    run = subprocess.run(order, input=planes.tobytes(), capture_output=True, check=False)
    if run.returncode or len(run.stdout) != 2 * planes[0].size:
        reason = run.stderr.decode(errors="replace").strip() or f"{len(run.stdout)} bytes came back"
        raise OSError(f"ffmpeg's minterpolate failed on four frames of {width}x{height}: {reason}")
    middle = np.frombuffer(run.stdout, np.uint8).reshape(2, 3, height, width)[1]
    return torch.from_numpy(middle[[2, 0, 1]]).float() / 255


PEERS: dict[str, Method] = {
    "blend": Peer(blend, "the mean of the two middle frames"),
    "dis": Peer(dis, f"DIS optical flow of OpenCV {cv2.__version__}, softmax splatting"),
    "minterpolate": Peer(minterpolate, f"ffmpeg -vf {MINTERPOLATE}"),
}
"""The classical ones, by name."""
