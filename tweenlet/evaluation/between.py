"""Metrics of a frame relative to both neighbouring frames, as a viewer sees it.

::

    neighbours, output -> grey -> Laplacian -> its energy: of the output / of its neighbours ---> detail_kept
    output, next frame -> flow of DIS -> divergence -> a mask
                                                       `-> squared error of luma where it is set -> psnr_div
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from tweenlet.evaluation.metrics import eight_bit, pair
from tweenlet.evaluation.optical_flow import dis_flow, luma

NO_DETAIL = 0.01
"""Energy added on both sides, so that flat pictures have a ratio; that of footage is in the hundreds."""
DIVERGENT = 0.01
"""Fraction of a frame's largest divergence above which a pixel counts."""
_LAPLACIAN = ((2.0, 0.0, 2.0), (0.0, -8.0, 0.0), (2.0, 0.0, 2.0))
_BT709 = (0.2126, 0.7152, 0.0722)


def detail_kept(output: Tensor, truth: Tensor, neighbours: Tensor) -> float:
    """Energy of a frame's fine detail relative to that of the real frames before and after it.

    The energy is the mean square of the Laplacian (OpenCV's kernel of size 3, the border mirrored) of the
    mean of the three channels, in 8-bit steps. 1.0 is as detailed as the neighbours; a frame with less looks
    softer, so that an interpolated video pulses; one with more is noisy or has false edges. Means over frames
    are geometric. It ignores the truth, and a repeated frame has 1.0, so read it together with an error.

    Args:
        output: the predicted frame, RGB in [0, 1], (3, H, W).
        truth: the true frame, of the same shape.
        neighbours: the real frames before and after it, (2, 3, H, W).

    Raises:
        ValueError: other shapes, or a side under 2 pixels.

    """
    frame, _ = pair(output, truth, "detail", 2)
    before, after = _neighbours(output, neighbours)
    around = (_detail(before) + _detail(after)) / 2
    return (_detail(frame) + NO_DETAIL) / (around + NO_DETAIL)


def psnr_div(output: Tensor, truth: Tensor, neighbours: Tensor) -> float:
    """PSNR of luma, in dB, over the pixels of a frame where motion diverges; equal pictures score 80.

    Where a frame is torn, the flow to the next frame diverges. PSNR-DIV (Daly, Ramsook and Kokaram, 2025,
    arXiv 2510.01361) counts the squared error only where the absolute divergence of that flow, relative to
    the frame's maximum, is above 0.01. The flow is by OpenCV's DIS, from the predicted frame to the real one
    after it; luma is BT.709. If there is no divergence, every pixel counts. The paper averages over a whole
    video; here each frame has a score.

    Args:
        output: the predicted frame, RGB in [0, 1], (3, H, W).
        truth: the true frame, of the same shape.
        neighbours: the real frames before and after it, (2, 3, H, W).

    Raises:
        ValueError: other shapes, or a side under 2 pixels.

    """
    frame, target = pair(output, truth, "psnr_div", 2)
    _, after = _neighbours(output, neighbours)
    flow = dis_flow(luma(frame / 255)[None], luma(after / 255)[None])[0]
    divergence = _divergence(flow.double())
    counted = divergence > DIVERGENT * divergence.max()
    error = torch.einsum("c,chw->hw", torch.tensor(_BT709, dtype=torch.float64), (frame - target).double())
    squares = error.square()[counted] if counted.any() else error.square()
    return float(-10 * torch.log10(squares.mean() / 255**2 + 1e-8))


def _neighbours(output: Tensor, neighbours: Tensor) -> Tensor:
    """The two neighbouring frames in 8 bits, on the CPU."""
    if neighbours.shape != (2, *output.shape):
        got = f"{tuple(neighbours.shape)} for a frame {tuple(output.shape)}"
        raise ValueError(f"expected the frames before and after as (2, 3, H, W), got {got}")
    return eight_bit(neighbours.detach().cpu())


def _detail(picture: Tensor) -> float:
    """Mean square of the Laplacian of a picture (3, H, W)."""
    grey = F.pad(picture.mean(0)[None, None], (1, 1, 1, 1), mode="reflect")
    return F.conv2d(grey, torch.tensor(_LAPLACIAN)[None, None]).square().mean(dtype=torch.float64).item()


def _divergence(flow: Tensor) -> Tensor:
    """|du/dx + dv/dy| of a flow (2, H, W): central differences, one-sided at the border."""
    across, down = flow
    divergence: Tensor = torch.gradient(across, dim=1)[0] + torch.gradient(down, dim=0)[0]
    return divergence.abs()
