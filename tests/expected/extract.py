"""Make the small extracts in this folder from the golden fixtures in ../shared/golden."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
GOLDEN = HERE.parents[2] / "shared" / "golden"


FLOAT32_TWINS = [f"softsplat_softmax/{name}" for name in ("out", "grad_input", "grad_flow", "grad_metric")]
"""Splatting in float32, which is there in float64 too."""


def main() -> None:
    ops = {}
    for op in ("resample", "backwarp", "softsplat_softmax"):
        with np.load(GOLDEN / f"op_{op}.npz") as file:
            ops |= {f"{op}/{name}": file[name] for name in file.files}
    np.savez_compressed(HERE / "ops.npz", **{name: ops[name] for name in ops if name not in FLOAT32_TWINS})
    with np.load(GOLDEN / "op_metrics.npz") as file:  # two of its four pictures
        metrics = {name: file[name] if name == "gt" else file[name][::2] for name in file.files}
    np.savez_compressed(HERE / "op_metrics.npz", **metrics)
    outputs = {}
    for net in ("mini", "teacher"):
        with np.load(GOLDEN / f"{net}_base_128x160.npz") as file:
            outputs[net] = file["output"][..., ::4, ::4]
        with np.load(GOLDEN / f"train_step_{net}_base_128x128.npz") as file:
            outputs[f"{net}_in_training"] = file["output"][..., ::4, ::4]
        manifest = json.loads((GOLDEN / f"manifest_{net}.json").read_text())
        step = json.loads((GOLDEN / f"train_step_{net}_base_128x128.json").read_text())
        pack(f"manifest_{net}", manifest)
        pack(f"train_step_{net}", step)
    pack("manifest_rife", json.loads((GOLDEN / "manifest_rife.json").read_text()))
    with np.load(GOLDEN / "rife_base.npz") as file:
        outputs |= {
            f"rife_{time}": file[f"128x192_{time}_output"].squeeze()[..., ::4, ::4]
            for time in ("t0.5", "t0.25")
        }
    np.savez_compressed(HERE / "outputs.npz", **outputs)


def pack(name: str, content: object) -> None:
    (HERE / f"{name}.json.gz").write_bytes(gzip.compress(json.dumps(content).encode(), mtime=0))


if __name__ == "__main__":
    main()
