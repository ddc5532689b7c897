"""Running networks: fused for a CPU, on CUDA, by other engines; and the time of each part."""
