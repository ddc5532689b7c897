"""Options in files of earlier versions."""

from __future__ import annotations

from tweenlet.training.options import RENAMED, Plan, TrainOptions, rename_options


def test_options_of_earlier_versions_get_their_present_names():
    old = {"alpha": 0.1, "confident": True, "distill": {"hold": 0.5, "loss": {"psnr": 1.0}, "steps": 3}}
    new = {
        "alpha": 0.1,
        "filter_teacher": True,
        "distill": {"plateau": 0.5, "loss": {"psnr": 1.0}, "steps": 3},
    }
    assert rename_options(old) == new
    assert rename_options(new) == new


def test_every_option_that_was_renamed_is_there():
    for name in RENAMED.values():
        assert hasattr(Plan(), name) or hasattr(TrainOptions(), name)
