"""The networks and the film of tests/network, for their copies for inference."""

from __future__ import annotations

from tests.network.conftest import film, golden_weights, lively, official_output

__all__ = ["film", "golden_weights", "lively", "official_output"]
