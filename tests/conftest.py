"""One seed and one thread for every test: on tiny pictures, threads that wait cost more than they give.

Slow tests run where -m says so, or where their file is named.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from tweenlet.ops import dispatch
from tweenlet.training.data.dataset import CropDataset
from tweenlet.training.data.synthetic import moving_scene

if not torch.cuda.is_available():  # Triton asks once, when it is first imported, by whatever test
    os.environ["TRITON_INTERPRET"] = "1"
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # as where a shell runs pytest in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)
torch.set_num_threads(1)
cv2.setNumThreads(1)

GOLDEN = Path(__file__).parents[1].parent / "shared" / "golden"


@pytest.hookimpl(tryfirst=True)  # before -m looks at the markers
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is slow or long, unless it was asked for; whatever opens a browser is long."""
    for item in items:
        if "browser" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.long)
    if config.option.markexpr:
        return
    named = {Path(arg.split("::")[0]).resolve() for arg in config.args}
    tiers = {"slow", "long"}
    later = [item for item in items if tiers & {*item.keywords} and item.path not in named]
    config.hook.pytest_deselected(items=later)
    items[:] = [item for item in items if item not in later]


@pytest.fixture(autouse=True)
def seeded():
    """The same random numbers in every run, alone or after other tests: what fails once fails again."""
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def golden_file():
    """The path of a file of ../shared/golden; skips the test where there is none beside this checkout."""

    def find(name: str) -> Path:
        if not (GOLDEN / name).exists():
            pytest.skip(f"{GOLDEN / name} is not beside this checkout")
        return GOLDEN / name

    return find


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request) -> str:
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device here")
    return request.param


@pytest.fixture(params=["cpu", "reference"])
def compiled(request):
    """Whether native code does what it can, or PyTorch all of it."""
    if request.param == "cpu" and not dispatch.has_native():
        pytest.skip("no C compiler")
    with contextlib.ExitStack() as stack:
        if request.param == "reference":
            stack.enter_context(dispatch.override("reference"))
        yield request.param == "cpu"


@pytest.fixture(scope="session")
def stills():
    """Three pictures (160, 160, 3) uint8 of soft noise."""
    noise = np.random.default_rng(5).uniform(0, 255, (3, 40, 40, 3)).astype(np.float32)
    return [
        cv2.resize(n, (160, 160), interpolation=cv2.INTER_CUBIC).clip(0, 255).astype(np.uint8) for n in noise
    ]


@pytest.fixture
def samples(stills, tmp_path: Path):
    """A stored part of twelve samples of 64x64."""
    folder = tmp_path / "samples"
    folder.mkdir()
    scenes = [moving_scene(stills, 64, np.random.default_rng(k)) for k in range(12)]
    np.save(folder / "frames.npy", np.stack(scenes).transpose(0, 1, 4, 2, 3))
    (folder / "sources.json").write_text(json.dumps([f"scene {k}" for k in range(12)]))
    return CropDataset(folder)
