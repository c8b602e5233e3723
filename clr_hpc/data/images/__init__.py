"""Image files: which belongs to which row of a table, and from bytes to a gray square."""
