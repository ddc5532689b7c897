"""ONNX Runtime: a CPU session whose errors are ValueErrors; needs no PyTorch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray


class Session:
    """A network run by ONNX Runtime.

    Args:
        path: an ONNX file.
        threads: number of threads.
        weights: float32 values of the weights that the file only names.

    Raises:
        ValueError: ONNX Runtime cannot run the file.

    """

    def __init__(self, path: Path, threads: int, weights: Mapping[str, NDArray[Any]] | None = None) -> None:
        import onnxruntime

        self.path = path
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # others may be timed
        options.enable_cpu_mem_arena = False  # malloc retains freed memory
        options.log_severity_level = 4  # errors are raised as well
        if weights:
            values = [onnxruntime.OrtValue.ortvalue_from_numpy(value) for value in weights.values()]
            options.add_external_initializers(list(weights), values)
        try:
            self._session = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # its exceptions share no other base class
            raise ValueError(f"{path} is not an ONNX file that ONNX Runtime can run: {error}") from error
        self.inputs: list[Any] = self._session.get_inputs()
        self.metadata: dict[str, str] = self._session.get_modelmeta().custom_metadata_map

    def run(self, inputs: Mapping[str, Any]) -> list[Any]:
        """Run on inputs by name; returns all outputs as numpy arrays."""
        try:
            outputs: list[Any] = self._session.run(None, dict(inputs))
        except Exception as error:  # as above
            raise ValueError(f"ONNX Runtime cannot run {self.path}: {error}") from error
        return outputs

    def run_first(self, inputs: dict[str, Any]) -> Any:
        """Run on inputs by name; returns the first output."""
        return self.run(inputs)[0]
