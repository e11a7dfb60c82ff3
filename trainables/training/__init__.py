"""Training: the one loop, optimiser, precision, checkpoints, and gradients across workers and chunks."""
