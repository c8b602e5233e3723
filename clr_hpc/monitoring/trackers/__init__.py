"""Experiment trackers: one module for each, which mirrors run folders into it.

Another package adds one by an entry point of the group ``clr_hpc.trackers`` that leads to its ``Tracker``. A
tracker is imported when it is used.
"""
