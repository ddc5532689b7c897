"""Ops: pure tensor functions, forward and backward, for any batch, height and width, on CPU and GPU."""
