"""Methods that make the frame in the middle: our networks, and classical peers to hold them against.

A Method takes four frames (4, 3, H, W), RGB in [0, 1], and gives the one between the inner two, (3, H, W).

    blend          the mean of the two
    dis            OpenCV's DIS optical flow both ways, both frames splatted half of the way
    minterpolate   ffmpeg's motion-compensating filter, given the same four frames
    Network        a network of ours, padded and cropped by the Interpolator
"""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from tweenlet import weights
from tweenlet.evaluation.metrics import eight_bit
from tweenlet.interpolate import Interpolator
from tweenlet.ops.dis import dis as dis_flow
from tweenlet.ops.dis import grey
from tweenlet.ops.splat import splat_sum
from tweenlet.ops.warp import sample

Method = Callable[[Tensor], Tensor]

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
    looks = [grey(picture) for picture in pair]
    flow = torch.stack([dis_flow(*looks), dis_flow(*looks[::-1])])
    mismatch = (pair - sample(pair.flip(0), flow)).abs().mean(1, keepdim=True)
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
    command = [_ffmpeg(), "-v", "error", *source.split(), "-vf", MINTERPOLATE, *target.split()]
    planes = eight_bit(frames[:, [1, 2, 0]]).byte().numpy()
    run = subprocess.run(command, input=planes.tobytes(), capture_output=True, check=False)
    if run.returncode or len(run.stdout) != 2 * planes[0].size:
        reason = run.stderr.decode(errors="replace").strip() or f"{len(run.stdout)} bytes came back"
        raise OSError(f"ffmpeg's minterpolate failed on four frames of {width}x{height}: {reason}")
    middle = np.frombuffer(run.stdout, np.uint8).reshape(2, 3, height, width)[1]
    return torch.from_numpy(middle[[2, 0, 1]]).float() / 255


PEERS: dict[str, Method] = {"blend": blend, "dis": dis, "minterpolate": minterpolate}


class Network:
    """A network as a Method; how many ``parameters`` it has, and the ``digest`` (SHA-256) of its weights."""

    def __init__(self, model: nn.Module, device: str | torch.device | None = None) -> None:
        self.interpolator = Interpolator(model, device=device)
        self.parameters = sum(p.numel() for p in model.parameters())
        self.digest = _digest(model)

    def __call__(self, frames: Tensor) -> Tensor:
        """The frame in the middle, not clamped."""
        return self.interpolator.middle(list(frames))


def methods(names: Iterable[str], device: str | torch.device | None = None) -> dict[str, Method]:
    """Peers and models by name, and models by path; ValueError listing what there is for any other."""
    found: dict[str, Method] = {}
    for name in names:
        if name in PEERS:
            found[name] = PEERS[name]
        elif name in weights.names() or Path(name).is_file():
            found[name] = Network(weights.load(name), device)
        else:
            known = ", ".join([*weights.names(), *PEERS])
            raise ValueError(f"expected a checkpoint file or one of {known}; got {name}")
    return found


def _ffmpeg() -> str:
    try:
        from imageio_ffmpeg import get_ffmpeg_exe
    except ImportError:
        raise OSError("minterpolate needs an ffmpeg: pip install imageio-ffmpeg") from None
    path: str = get_ffmpeg_exe()
    return path


def _digest(model: nn.Module) -> str:
    """A fingerprint of all tensors by name: the same for the same weights, whatever file they came from."""
    total = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        total.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()
