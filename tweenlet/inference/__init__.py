"""Networks as they are run: fused for a CPU, on CUDA, by other engines, and where their time goes."""
