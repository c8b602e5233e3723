"""What lies in a study's folder, as records."""
