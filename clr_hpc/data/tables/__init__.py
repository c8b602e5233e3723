"""Tables as people write them: text, columns, values, rows."""
