"""Profiles: where a run's time goes, and how close it comes to the limits of the device."""
