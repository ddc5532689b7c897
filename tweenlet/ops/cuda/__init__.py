"""The CUDA backend: Triton kernels with the names of the ops. Forward only."""
