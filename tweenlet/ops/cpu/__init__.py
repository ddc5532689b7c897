"""The CPU backend: C code (csrc), its bindings, and kernels with the names of the ops."""
