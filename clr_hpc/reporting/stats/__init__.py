"""Measures, intervals, tests and comparisons."""
