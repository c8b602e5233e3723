"""Where a run's time goes, and how near it comes to what the device can do."""
