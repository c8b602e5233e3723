"""Finding the settings with which a model trains best: searches, trials and what they come to."""
