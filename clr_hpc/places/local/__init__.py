"""``--on here``: this machine."""
