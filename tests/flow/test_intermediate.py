"""Readings of the flow: their arithmetic, and that native code does as PyTorch."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tweenlet.flow.intermediate import intermediate_flow

pytestmark = pytest.mark.usefixtures("compiled")


def test_readings_are_quadratic_in_time():
    velocity, acceleration = torch.tensor([8.0, -4.0]), torch.tensor([4.0, 2.0])
    on = velocity + acceleration / 2  # from frame 1 to 2
    back = -velocity + acceleration / 2
    velocity_2 = velocity + acceleration
    on_2, back_2 = velocity_2 + acceleration / 2, -velocity_2 + acceleration / 2
    flows = torch.stack((back, on, back_2, on_2)).view(1, 4, 2, 1, 1).expand(1, 4, 2, 64, 64)
    frame = torch.full((1, 3, 64, 64), 0.5)
    read, reached = intermediate_flow(frame, frame, flows)
    halfway = velocity / 2 + acceleration / 8
    expected = torch.cat((-halfway, on - halfway)).repeat(2) / 2  # in pixels of half the size
    inside = read[0, :, 12:-12, 12:-12]
    torch.testing.assert_close(inside, expected.view(8, 1, 1).expand_as(inside), atol=1e-4, rtol=0)
    assert reached[0, :, 12:-12, 12:-12] == pytest.approx(torch.ones(2, 8, 8), abs=1e-4)


def test_what_one_frame_does_not_reach_is_read_from_the_other():
    flows = torch.zeros(1, 4, 2, 32, 32)
    flows[:, :2] = 1000.0  # before's pixels all leave the frame
    read, reached = intermediate_flow(torch.rand(1, 3, 32, 32), torch.rand(1, 3, 32, 32), flows)
    assert not read.any()
    assert not reached[:, 0].any()
    assert reached[:, 1].all()


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (6, 16), (9, 33)], ids=str)
@pytest.mark.parametrize("spread", [2, 30])
def test_are_those_in_double_precision(size, spread, monkeypatch):
    """Which is PyTorch's alone; whatever the threads, the bits are the same."""
    height, width = 2 * size[0], 2 * size[1]
    before, after = torch.rand(2, 2, 3, height, width)
    flows = spread * torch.randn(2, 4, 2, height, width)
    flows[0, :, 0, 0, 0] = torch.tensor([1e9, -1e9, 1e4, -1e4])
    wanted = intermediate_flow(*(x.double() for x in (before, after, flows)))
    by_threads: list[tuple[Tensor, Tensor]] = []
    for threads in (1, 3, 4):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        by_threads.append(intermediate_flow(before, after, flows))
        for one, other in zip(by_threads[-1], wanted, strict=True):
            # of what hardly anything reaches little is known
            apart = (one.double() - other).abs() / (1 + other.abs())
            assert apart.max() < 1e-3
    for made in by_threads[1:]:
        assert all(map(torch.equal, made, by_threads[0]))
