"""Where runs are trained: on this machine, in the lanes of a Ray cluster, on SLURM. Each place is a folder."""
