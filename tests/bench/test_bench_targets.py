"""Subjects: as they are typed, and the frames that they are given."""

from __future__ import annotations

import pytest
import torch

from tweenlet.bench.targets import Target, make_interpolate, moving_picture, parse_target


def test_a_picture_moves_by_whole_pixels() -> None:
    frames = moving_picture((40, 24), 3)
    assert torch.equal(frames[2], frames[0].roll((4, 8), (1, 2)))
    assert all(frame.shape == (3, 24, 40) and frame.min() >= 0 and frame.max() <= 1 for frame in frames)


@pytest.mark.parametrize("text", ["small:steam", ":eager", "a:eager:float32:b"])
def test_a_subject_that_is_not_understood(text: str) -> None:
    with pytest.raises(ValueError, match="expected MODEL, MODEL:ENGINE"):
        parse_target(text)


@pytest.mark.optional
def test_the_lite_engine_makes_the_frame_that_eager_makes() -> None:
    pytest.importorskip("onnxruntime", reason="the extra lite is not installed")
    frames = moving_picture((48, 40), 4)
    lite, eager = (make_interpolate(parse_target(text))(frames) for text in ("default:lite", "default"))
    torch.testing.assert_close(lite, eager, atol=1e-4, rtol=0)


def test_a_subject_as_it_is_typed() -> None:
    assert parse_target("mini:compile") == Target("mini", "compile")
    assert parse_target("mini", "bfloat16") == Target("mini", "eager", "bfloat16")
    assert str(parse_target("nets/a.onnx")) == "nets/a.onnx"
