"""Latency table: milliseconds of a network's parts, measured once per machine and cached.

    dense network, narrow network --measure--> ms of each part --line through multiply-adds--> ms of a config

A search needs the times of hundreds of configs, and clocks on a busy machine are noisy. Time is therefore CPU
time over threads, the minimum of several runs, as on an idle machine. Two networks are measured, and those
between them are interpolated by multiply-adds. Measurements are cached, so that the same question gets the
same answer. The network that a search chooses is measured itself.
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch

from tweenlet.compression.densities import STEPS, widths_of, with_widths
from tweenlet.inference.latency import latency_runs
from tweenlet.inference.machine import describe_machine
from tweenlet.inference.onnx import write as write_onnx
from tweenlet.network.config import ModelConfig
from tweenlet.network.cost import cost
from tweenlet.network.stmfnet import STMFNet
from tweenlet.runtime.atomic import write_bytes_atomically
from tweenlet.runtime.cache import cache_folder, source_hash
from tweenlet.runtime.json_file import read_json
from tweenlet.runtime.programs import split_command

RUNS = 7
"""Timed runs of each network."""
LEAST_GAP = 0.05
"""Smallest relative difference of a part's multiply-adds from which a slope is fitted."""


@dataclass(frozen=True)
class Timing:
    """Milliseconds of one network per new frame."""

    parts: dict[str, float]
    """Minimum CPU time over threads, by part and for "all"."""
    runs: tuple[float, ...]
    """Time of each run."""

    @property
    def milliseconds(self) -> float:
        """Minimum of the runs."""
        return self.parts["all"]

    def __str__(self) -> str:
        middle, most = median(self.runs), max(self.runs)
        spread = f", {middle:,.0f} in the median of {len(self.runs)} runs, {most:,.0f} at most"
        return f"{self.milliseconds:,.0f} ms" + (spread if len(self.runs) > 1 else "")


class LatencyTable:
    """Times of a network and of every narrower one.

    Args:
        config: config of the full network.
        height: height of the frame, in pixels.
        width: width of the frame, in pixels.
        device: "cpu", or a device with its own clock, such as "cuda".
        command: measures on another device instead: ``{onnx}`` in it becomes the path of a network, and the
            last number that it prints is the milliseconds.

    Raises:
        ValueError: a command that has no ``{onnx}``, fails or prints no number.

    """

    def __init__(
        self, config: ModelConfig, height: int, width: int, device: str = "cpu", command: str = ""
    ) -> None:
        if command and "{onnx}" not in command:
            raise ValueError(f"expected {{onnx}} in the command that measures latency, got {command!r}")
        self._height, self._width, self._device, self._command = height, width, device, command
        folder = cache_folder("latency")
        self._path = folder / f"{_digest(describe_machine(), source_hash())}.json"
        self._anchors = [(c, self._time(c), self._multiply_adds(c)) for c in (config, _narrow(config))]
        self._factor = 1.0
        if command:
            self._factor = self.measure(config).milliseconds / self._anchors[0][1].milliseconds

    def measure(self, config: ModelConfig) -> Timing:
        """Measure a network, or return the cached measurement."""
        return self._run_command(config) if self._command else self._time(config)

    def estimate(self, config: ModelConfig) -> float:
        """Estimate the milliseconds of a config between the two measured ones."""
        (_, dense, most), (_, narrow, least) = self._anchors
        total = dense.parts["all"] - sum(dense.parts.get(part, 0.0) for part in most)  # outside the parts
        for part, count in self._multiply_adds(config).items():
            high, low = dense.parts.get(part, 0.0), narrow.parts.get(part, 0.0)
            gap = most.get(part, 0) - least.get(part, 0)
            if gap > LEAST_GAP * most.get(part, 0) and high > low:
                total += max(0.0, low + (high - low) * (count - least.get(part, 0)) / gap)
            elif most.get(part):
                total += high * count / most[part]
        return self._factor * total

    def _multiply_adds(self, config: ModelConfig) -> dict[str, int]:
        parts = cost(config, self._height, self._width).parts
        return {name: part.multiply_adds for name, part in parts.items()}

    def _time(self, config: ModelConfig) -> Timing:
        key = _digest(config.to_json(), self._height, self._width, self._device, torch.get_num_threads())
        entries = read_json(self._path) if self._path.exists() else {}
        if key not in entries:
            model = STMFNet(config).to(self._device)
            cpu = self._device == "cpu"
            clock, shared = (time.process_time, torch.get_num_threads()) if cpu else (time.perf_counter, 1)
            runs = latency_runs(model, self._height, self._width, RUNS, clock)
            parts = {name: min(taken) / shared for name, taken in runs.items()}
            entry = {"parts": parts, "runs": [taken / shared for taken in runs["all"]]}
            entries = {**(read_json(self._path) if self._path.exists() else {}), key: entry}
            write_bytes_atomically(self._path, json.dumps(entries).encode(), shared=True)
        entry = entries[key]
        return Timing(entry["parts"], tuple(entry["runs"]))

    def _run_command(self, config: ModelConfig) -> Timing:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "network.onnx"
            write_onnx(STMFNet(config).eval(), path, (self._width, self._height))
            words = [word.replace("{onnx}", str(path)) for word in split_command(self._command)]
            try:
                run = subprocess.run(
                    words, capture_output=True, encoding="utf-8", errors="replace", check=False
                )
            except OSError as error:
                raise ValueError(f"{self._command} cannot be run: {error.strerror}") from error
        numbers = re.findall(r"\d+(?:\.\d+)?(?:e-?\d+)?", run.stdout)
        if run.returncode or not numbers:
            reason = (run.stderr.strip() or run.stdout.strip() or "nothing printed").splitlines()[-1]
            raise ValueError(
                f"{self._command} gave no milliseconds (it ended with {run.returncode}): {reason}"
            )
        milliseconds = float(numbers[-1])
        return Timing({"all": milliseconds}, (milliseconds,))


def _narrow(config: ModelConfig) -> ModelConfig:
    """The config with half of every width, as far as that is valid."""

    def half(name: str, width: int) -> int:
        step = STEPS.get(name.partition(".")[0], 2)
        return min(width, max(step, step * round(width / 2 / step)))

    return with_widths(config, {name: half(name, width) for name, width in widths_of(config).items()})


def _digest(*values: Any) -> str:
    return hashlib.sha256(repr(values).encode()).hexdigest()[:24]
