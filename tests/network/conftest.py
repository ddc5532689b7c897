from __future__ import annotations

import gzip
import hashlib
import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tweenlet.network.config import ModelConfig
from tweenlet.network.official import from_official
from tweenlet.network.stmfnet import STMFNet
from tweenlet.ops.resample import EIGHT_TAPS, gaussian_kernel

EXPECTED = Path(__file__).parents[1] / "expected"
CONSTANTS = {
    "gauss_kernel": gaussian_kernel().expand(3, 1, 5, 5).clone(),
    "upsampler.filter": torch.tensor(EIGHT_TAPS).expand(3, 1, 1, 8).clone(),
}


def fill(key: str, shape: tuple[int, ...]) -> np.ndarray:
    """The golden rule: a weight is a function of its official name and its shape."""
    leaf = key.rsplit(".", 1)[-1]
    if leaf == "num_batches_tracked":
        return np.zeros(shape, np.int64)
    seed = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big")
    random = np.random.Generator(np.random.PCG64(seed))
    if leaf == "beta":  # RIFE's residual blocks
        return np.asarray(random.uniform(0.2, 0.6, shape), np.float32)
    if leaf == "running_mean":
        value = 0.05 * random.standard_normal(shape)
    elif leaf == "running_var":
        value = random.uniform(0.8, 1.2, shape)
    elif len(shape) >= 2:
        value = np.sqrt(1 / np.prod(shape[1:])) * random.standard_normal(shape)
        if key.endswith("lastconv.0.weight"):  # RIFE's corrections of the flow
            value = value.astype(np.float32) * np.float32(2)
    elif leaf == "bias":
        value = 0.02 * random.standard_normal(shape)
    elif shape == (1,):
        value = random.uniform(0.1, 0.4, shape)  # PReLU
    else:
        value = random.uniform(0.8, 1.2, shape)  # batch norm
    return np.asarray(value, np.float32)


def moment(t: float, height: int, width: int) -> Tensor:
    """The golden film at time ``t``: (3, H, W)."""
    y = np.arange(height)[:, None] + 2.0 * t
    x = np.arange(width)[None] - 3.0 * t
    out = [
        0.5
        + 0.22 * np.sin(2 * np.pi * (x / 37 + y / 53) + 1.3 * c)
        + 0.14 * np.sin(2 * np.pi * (x / 11 - y / 17) + 0.7 * c)
        + 0.08 * np.cos(2 * np.pi * x * y / 4096 + 0.4 * c)
        for c in range(3)
    ]
    noise = np.random.Generator(np.random.PCG64(round(1000 * t) + 7)).standard_normal((3, height, width))
    return torch.from_numpy(np.clip(np.stack(out) + 0.01 * noise, 0, 1).astype(np.float32))


@cache
def expected_json(name: str):
    """A packed extract in tests/expected."""
    return json.loads(gzip.decompress((EXPECTED / f"{name}.json.gz").read_bytes()))


@pytest.fixture
def golden_weights():
    """Build the network of a golden manifest ("mini", "teacher", "rife"), weights by the golden rule."""

    def build(net: str) -> STMFNet:
        state = {
            key: CONSTANTS[key] if key in CONSTANTS else torch.from_numpy(fill(key, tuple(shape)))
            for key, shape, _ in expected_json(f"manifest_{net}")
        }
        return from_official(state)

    return build


@pytest.fixture(scope="session")
def lively():
    """The network of a config with weights and batch statistics by the golden rule, by our names."""

    def build(config: ModelConfig) -> STMFNet:
        model = STMFNet(config)
        state = {
            name: torch.from_numpy(fill(name, tuple(tensor.shape)))
            for name, tensor in model.state_dict().items()
        }
        model.load_state_dict(state)
        return model.eval()

    return build


@pytest.fixture(scope="session")
def film():
    """Moments of the golden film: (B=1, times, 3, H, W)."""
    return lambda times, height, width: torch.stack([moment(t, height, width) for t in times])[None]


@pytest.fixture(scope="session")
def training_step():
    """The golden numbers of one training step of "mini" or "teacher"."""
    return lambda net: expected_json(f"train_step_{net}")


@pytest.fixture(scope="session")
def official_output():
    """Every fourth row and column of the golden outputs at 128x160, and of those of the training step."""
    with np.load(EXPECTED / "outputs.npz") as file:
        return {name: torch.from_numpy(file[name]) for name in file.files}
