"""Ops: pure tensor functions, forward and backward, for any batch, height and width, on CPU and GPU.

A file here holds an op's signature, checks and docs, and plain PyTorch, the reference. ``cpu/`` (C) and
``cuda/`` (Triton) hold kernels in files of the same names, and ``dispatch`` alone chooses between the three.

It may import :mod:`tweenlet.runtime` only.
"""
