"""``--on slurm``: job arrays and allocations. The only package that imports submitit."""
