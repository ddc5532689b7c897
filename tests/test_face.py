"""The public names, pinned: a change here is a change for every user."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import tweenlet

NAMES = [
    "MINI",
    "STMFNET",
    "Budget",
    "DataOptions",
    "DistillOptions",
    "Interpolator",
    "ModelConfig",
    "Plan",
    "Recipe",
    "STMFNet",
    "SparsifyOptions",
    "Summary",
    "TrainOptions",
    "compress",
    "distill",
    "interpolate",
    "interpolate_pair",
    "interpolate_video",
    "load",
    "load_pruned",
    "names",
    "save",
    "sparsify",
    "train",
]


def test_the_public_names_are_these() -> None:
    assert tweenlet.__all__ == NAMES
    assert set(NAMES) <= set(dir(tweenlet))


@pytest.mark.parametrize("name", NAMES)
def test_every_name_is_there_and_says_what_it_is(name: str) -> None:
    thing = getattr(tweenlet, name)
    if inspect.isclass(thing) or inspect.isfunction(thing):
        assert inspect.getdoc(thing)
        assert thing.__module__.startswith("tweenlet.")


def test_other_names_are_refused() -> None:
    with pytest.raises(AttributeError, match="no attribute 'interpolate_everything'"):
        tweenlet.interpolate_everything  # noqa: B018
    with pytest.raises(ImportError):
        from tweenlet import nothing  # noqa: F401


def test_the_version_is_that_of_the_package() -> None:
    project = (Path(__file__).parent.parent / "pyproject.toml").read_text()
    assert f'\nversion = "{tweenlet.__version__}"\n' in project


def test_freed_memory_is_kept_unless_the_user_says_otherwise() -> None:
    script = "from tweenlet.runtime.malloc import retain_freed_memory; print(retain_freed_memory())"
    for environment, expected in (
        ({}, b"True"),
        ({"MALLOC_TRIM_THRESHOLD_": "131072"}, b"False"),
        ({"TWEENLET_KEEP_MEMORY": "0"}, b"False"),
    ):
        done = subprocess.run(
            [sys.executable, "-c", script], env=environment, capture_output=True, check=True
        )
        assert done.stdout.strip() == expected


def test_openmp_sleeps_while_it_waits_unless_the_user_says_otherwise() -> None:
    script = "import os, tweenlet; print(os.environ.get('OMP_WAIT_POLICY'))"
    for environment, expected in (({}, b"PASSIVE"), ({"GOMP_SPINCOUNT": "9"}, b"None")):
        done = subprocess.run(
            [sys.executable, "-c", script], env=environment, capture_output=True, check=True
        )
        assert done.stdout.strip() == expected
