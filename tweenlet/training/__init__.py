"""Training: footage into samples, losses, and the one loop."""
