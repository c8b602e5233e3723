"""Data sets as their publishers ship them: one file per source."""
