"""Train chest X-ray classifiers under constant, decaying and cyclical learning rates, and compare them.

Importing this package imports nothing heavy: torch, pandas and the rest come in where they are used.
"""

__version__ = "0.1.0"
