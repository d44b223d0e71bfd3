"""The training loop: steps, validation, checkpoints, averages, loggers."""
