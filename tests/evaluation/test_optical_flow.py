"""Optical flow of OpenCV's DIS: what it finds in moving textures."""

import pytest
import torch

from tweenlet.evaluation.optical_flow import SMALLEST, dis_flow, luma


def moving(shifts: list[int], size: int = 96) -> torch.Tensor:
    """Luma (n, size, size) of a smooth random texture, moved right by ``shifts`` pixels."""
    noise = torch.rand(1, 3, size // 8 + 2, size // 8 + 7, generator=torch.Generator().manual_seed(3))
    wide = torch.nn.functional.interpolate(noise, (size, size + 40), mode="bicubic").clamp(0, 1)[0]
    return torch.stack([luma(wide[..., 20 - s : 20 - s + size]) for s in shifts])


def test_finds_the_motion_of_each_pair():
    flows = dis_flow(moving([0, 0, 4, 4]), moving([-6, 4, 0, 6]))
    inside = flows[..., 16:-16, 16:-16].mean((-1, -2))
    assert inside == pytest.approx(torch.tensor([[-6.0, 0], [4, 0], [-4, 0], [2, 0]]), abs=0.2)


def test_frames_too_small_for_dis_do_not_move():
    frames = 255 * torch.rand(2, 1, SMALLEST - 1, 40)
    assert dis_flow(*frames).shape == (1, 2, SMALLEST - 1, 40)
    assert not dis_flow(*frames).any()


def test_a_small_frame_changes_nothing_for_those_after_it():
    first, second = moving([0, 3])[:, None]
    before = dis_flow(first, second)
    dis_flow(first[:, :16, :16], second[:, :16, :16])
    assert torch.equal(dis_flow(first, second), before)


def test_what_is_no_number_is_black():
    frame = torch.full((3, 16, 16), 0.5)
    frame[:, 3, 4] = torch.nan
    assert luma(frame)[3, 4] == 0
    assert luma(frame).isfinite().all()


def test_luma_is_of_whole_numbers():
    frame = torch.tensor([1.0, 0, 0]).view(3, 1, 1).expand(3, 16, 16)
    assert (luma(frame) == round(0.299 * 255)).all()
    assert luma(frame.bfloat16()).dtype == torch.float32
