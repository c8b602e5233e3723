"""Models that learn one class of images from its images alone; a higher score is more anomalous."""
