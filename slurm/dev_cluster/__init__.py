"""A real SLURM on one machine. ``slurm/dev-cluster`` is its command."""
