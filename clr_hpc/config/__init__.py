"""What to run: frozen, validated when made, hashable. Without torch or ray: quick on a login node."""
