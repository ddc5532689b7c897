"""Subjects: as they are typed, and the frames that they are given."""

from __future__ import annotations

import pytest
import torch

from tweenlet.bench.subjects import Subject, moving_picture, subject_of


def test_a_picture_moves_by_whole_pixels() -> None:
    frames = moving_picture((40, 24), 3)
    assert torch.equal(frames[2], frames[0].roll((4, 8), (1, 2)))
    assert all(frame.shape == (3, 24, 40) and frame.min() >= 0 and frame.max() <= 1 for frame in frames)


@pytest.mark.parametrize("text", ["small:steam", ":eager", "a:eager:float32:b"])
def test_a_subject_that_is_not_understood(text: str) -> None:
    with pytest.raises(ValueError, match="expected MODEL, MODEL:ENGINE"):
        subject_of(text)


def test_a_subject_as_it_is_typed() -> None:
    assert subject_of("mini:compile") == Subject("mini", "compile")
    assert subject_of("mini", "bfloat16") == Subject("mini", "eager", "bfloat16")
    assert str(subject_of("nets/a.onnx")) == "nets/a.onnx"
