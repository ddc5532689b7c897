"""Two gloo processes under torchrun train as one process does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = """
import sys
from dataclasses import replace
from pathlib import Path
import torch
from tweenlet.network.config import TINY
from tweenlet.network.stmfnet import STMFNet
from tweenlet.training import distributed
from tweenlet.training.data.batches import BatchSampler
from tweenlet.training.loop import train
from tweenlet.training.options import TrainOptions
from tweenlet.training.data.dataset import CropDataset

torch.set_num_threads(1)
store, out, steps = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
options = TrainOptions(steps=4, learning_rate=0.1, warmup=1, log_every=1, validate_every=2, save_every=1)
with distributed.init_distributed():
    torch.manual_seed(0)
    samples = CropDataset(store)
    def stop(info):
        if info.step == steps:
            raise SystemExit(0)
    model = STMFNet(TINY)
    # not Adam, which makes a full step of a gradient that is nothing but rounding
    optimiser = torch.optim.SGD(model.parameters(), momentum=0.9)
    train(model, BatchSampler(samples, 4, 32, seed=1), samples, options, out, stop, optimiser=optimiser)
"""


def run(folder: Path, store: Path, out: Path, processes: int, steps: int = 0) -> subprocess.CompletedProcess:
    script = folder / "script.py"
    script.write_text(SCRIPT)
    start = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    start = start if processes > 1 else []
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *start, str(script), str(store), str(out), str(steps)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)


def weights_of(out: Path) -> dict[str, torch.Tensor]:
    return torch.load(out / "state.pt", weights_only=True)["model"]


@pytest.mark.long
def test_two_processes_are_as_one(samples, tmp_path):
    store = Path(samples.frames.filename).parent
    for out, processes in (("one", 1), ("two", 2)):
        done = run(tmp_path, store, tmp_path / out, processes)
        assert done.returncode == 0, done.stderr[-2000:]
    one, two = weights_of(tmp_path / "one"), weights_of(tmp_path / "two")
    assert one.keys() == two.keys()
    for name in one:
        torch.testing.assert_close(two[name], one[name], rtol=1e-4, atol=3e-5, msg=name)
    logs = [(tmp_path / out / "log.jsonl").read_text().splitlines() for out in ("one", "two")]
    assert len(logs[0]) == len(logs[1]) == 6
    for first, second in zip(*([json.loads(line) for line in log] for log in logs), strict=True):
        assert first.keys() == second.keys()
        for name in first.keys() & {"loss", "laplacian", "gradient", "psnr"}:
            assert second[name] == pytest.approx(first[name], rel=1e-3)


def test_a_batch_that_cannot_be_shared(samples, monkeypatch):
    from tweenlet.training import distributed

    monkeypatch.setattr(distributed, "world_size", lambda: 3)
    with pytest.raises(ValueError, match="3 processes can share equally, got 4"):
        distributed.local_slice(4)
