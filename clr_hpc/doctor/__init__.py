"""What is checked of an environment before it trains anything."""
