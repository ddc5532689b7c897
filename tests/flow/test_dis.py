"""DIS flow: what it finds in moving textures, and what a window's repeated outer frames mean."""

import pytest
import torch

from tweenlet.flow.dis import dis, luma, opencv, window_flows
from tweenlet.flow.patch_search import SMALLEST, search
from tweenlet.ops import dispatch


def texture(height: int, width: int) -> torch.Tensor:
    """A smooth random picture (3, height, width)."""
    noise = torch.rand(1, 3, height // 8 + 2, width // 8 + 2, generator=torch.Generator().manual_seed(3))
    return torch.nn.functional.interpolate(noise, (height, width), mode="bicubic").clamp(0, 1)[0]


def moving(shifts: list[int], size: int = 96) -> torch.Tensor:
    """A window (1, 4, 3, size, size) of one texture, moved right by ``shifts`` pixels in each frame."""
    wide = texture(size, size + 40)
    return torch.stack([wide[..., 20 - s : 20 - s + size] for s in shifts])[None]


def test_finds_the_motion_of_each_pair():
    flows = window_flows(moving([-6, 0, 4, 6]))[0]
    inside = flows[..., 16:-16, 16:-16].mean((-1, -2))
    assert inside == pytest.approx(torch.tensor([[-6.0, 0], [4, 0], [-4, 0], [2, 0]]), abs=0.2)


def test_a_repeated_outer_frame_is_taken_for_steady_motion():
    back_1, on_1, back_2, on_2 = window_flows(moving([0, 0, 4, 4]))[0]
    assert torch.equal(back_1, -on_1)
    assert torch.equal(on_2, -back_2)
    assert on_1[0, 16:-16, 16:-16].mean() == pytest.approx(4, abs=0.2)


def test_frames_too_small_for_dis_do_not_move():
    frames = torch.rand(1, 4, 3, SMALLEST - 1, 40)
    assert window_flows(frames).shape == (1, 4, 2, SMALLEST - 1, 40)
    assert not window_flows(frames).any()


def test_a_small_frame_changes_nothing_for_those_after_it():
    first, second = (luma(frame)[None] for frame in moving([0, 3, 0, 0])[0][:2])
    before = opencv(first, second)
    opencv(first[:, :16, :16], second[:, :16, :16])
    assert torch.equal(opencv(first, second), before)


def test_what_is_no_number_is_black():
    frame = torch.full((3, 16, 16), 0.5)
    frame[:, 3, 4] = torch.nan
    assert luma(frame)[3, 4] == 0
    assert luma(frame).isfinite().all()


def test_luma_is_of_whole_numbers():
    frame = torch.tensor([1.0, 0, 0]).view(3, 1, 1).expand(3, 16, 16)
    assert (luma(frame) == round(0.299 * 255)).all()
    assert luma(frame.bfloat16()).dtype == torch.float32


def test_without_native_code_flow_is_that_of_opencv():
    lumas = torch.stack([luma(frame) for frame in moving([0, 3, 5, 9])[0]])
    pairs = lumas[:2], lumas[2:]
    assert not dispatch.compiled() or torch.equal(dis(*pairs), search(*pairs))
    with dispatch.override("reference"):
        assert torch.equal(dis(*pairs), opencv(*pairs))
