"""What a run that is done keeps, and how the rest is freed."""
