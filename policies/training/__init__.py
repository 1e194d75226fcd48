"""Training: the loop, its checkpoints, and the losses that models learn by."""
