"""Warm processes of one machine, which this machine and each SLURM array task train in."""
