"""``--on ray``: the lanes of a Ray cluster. The only package that imports ray."""
