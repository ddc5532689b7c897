"""The CUDA backend of classical flow: Triton kernels with the names of the files beside this folder."""
