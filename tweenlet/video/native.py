"""Native: the compiled code for planes of codes, where the process already has it.

    a network runs here by native code ──> tweenlet.ops.cpu.planes
    none does, or not yet              ──> None: numpy gives the same results to the bit, slower

Reading and writing never import PyTorch, nor wait for a compiler, by themselves.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType


def native_planes() -> ModuleType | None:
    """:mod:`tweenlet.ops.cpu.planes`, or None where there is no native code yet."""
    if "tweenlet.ops.dispatch" not in sys.modules:
        return None
    loaded = import_module("tweenlet.ops.dispatch").has_loaded_native()
    return import_module("tweenlet.ops.cpu.planes") if loaded else None
