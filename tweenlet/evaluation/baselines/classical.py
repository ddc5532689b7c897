"""Classical: methods without a network, by name.

    blend          the mean of the two middle frames
    dis            OpenCV's DIS optical flow in both directions, each splatted halfway
    minterpolate   ffmpeg's motion-compensating filter, given the same four frames

For data sets with two input frames, minterpolate gets four as well, the outer ones repeated, because it
produces nothing from two: the stills cost it 0.07 dB on 18 windows of clips9, and a search that needs none
(bilat) 0.16.
"""

from __future__ import annotations

import subprocess

import cv2
import numpy as np
import torch
from torch import Tensor

from tweenlet.evaluation.baselines.method import Baseline, Method
from tweenlet.evaluation.metrics import eight_bit, ffmpeg
from tweenlet.evaluation.optical_flow import dis_flow, luma
from tweenlet.ops.splat import splat_sum
from tweenlet.ops.warp import backwarp

MINTERPOLATE = "minterpolate=fps=2:mi_mode=mci:mc_mode=aobmc:me_mode=bidir:vsbmc=1:scd=none"
"""Filter at its best settings. From 3 fps to 2: of the times 0 to 3, only 0 and 1.5 are produced."""

# Both tuned on clips9, in the baseline's favour.
_STRICTNESS = 10.0  # a pixel whose match differs by d in [0, 1] has weight exp(-10 d)
_BLEND_SHARE = 0.1  # weight of the blend at every pixel; all there is where nothing lands


def blend(frames: Tensor) -> Tensor:
    """Average the two middle frames."""
    return frames[1:3].mean(0)


def dis(frames: Tensor) -> Tensor:
    """Splat both middle frames half-way along OpenCV's DIS flow (medium preset).

    Softmax splatting with brightness constancy as the importance metric (Niklaus and Liu, 2020): a pixel
    unlike its match is probably occluded in the other frame and gets a low weight. Where nothing lands, the
    blend shows.
    """
    pair = frames[1:3].float()
    lumas = torch.stack([luma(picture) for picture in pair])
    flow = dis_flow(lumas, lumas.flip(0))
    mismatch = (pair - backwarp(pair.flip(0), flow)).abs().mean(1, keepdim=True)
    importance = torch.exp(-_STRICTNESS * mismatch)
    landed = splat_sum(torch.cat((pair * importance, importance), 1), flow / 2).sum(0)
    return (landed[:3] + _BLEND_SHARE * blend(frames)) / (landed[3:] + _BLEND_SHARE)


def minterpolate(frames: Tensor) -> Tensor:
    """Run ffmpeg's filter (:data:`MINTERPOLATE`) on the four frames, through the package imageio-ffmpeg.

    The filter does not support RGB, so the planes are passed unchanged as if they were Y'CbCr, with green as
    luma, on which motion is searched. That loses no colour, and scores slightly better on clips9 than
    converting there and back.

    Raises:
        OSError: imageio-ffmpeg is missing, or ffmpeg fails; the message quotes it.

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


BASELINES: dict[str, Method] = {
    "blend": Baseline(blend, "the mean of the two middle frames"),
    "dis": Baseline(dis, f"DIS optical flow of OpenCV {cv2.__version__}, softmax splatting"),
    "minterpolate": Baseline(minterpolate, f"ffmpeg -vf {MINTERPOLATE}"),
}
"""Classical methods by name."""
