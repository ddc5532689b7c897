"""Pure tensor functions: forward and backward, any batch, height and width, on a CPU or a GPU."""
