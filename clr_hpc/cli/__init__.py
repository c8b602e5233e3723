"""The command clr-hpc: one file per group of commands, and what the terminal shows."""
