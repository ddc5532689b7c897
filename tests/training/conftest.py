from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from tweenlet.training.harvest import flows_of
from tweenlet.training.motion import moving_scene
from tweenlet.training.store import Samples


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
    flows = [flows_of(scene) for scene in scenes]
    np.save(folder / "frames.npy", np.stack(scenes).transpose(0, 1, 4, 2, 3))
    np.save(folder / "flows.npy", np.stack(flows).astype(np.float16))
    (folder / "sources.json").write_text(json.dumps([f"scene {k}" for k in range(12)]))
    return Samples(folder)
