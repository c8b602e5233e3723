"""One SLURM job over several nodes that holds a Ray cluster."""
