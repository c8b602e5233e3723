"""Train one model: batches, loop, metrics, checkpoints, run folder. Knows neither ray nor SLURM."""
