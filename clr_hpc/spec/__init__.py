"""What to run: frozen, validated when made, hashable. Imports neither torch nor ray, so it is quick on a login node."""
