"""What one run's scores come to, apart from all others."""
