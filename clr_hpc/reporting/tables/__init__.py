"""Tables of the report: HTML, CSV and LaTeX."""
