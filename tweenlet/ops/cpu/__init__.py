"""The CPU backend: C compiled at first use (csrc), its bindings, and kernels with the names of the ops."""
