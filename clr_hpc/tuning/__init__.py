"""Hyperparameter search: searches, trials and their outcome."""
