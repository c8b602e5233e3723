"""Results that can be computed again: blocks of bytes by key, and what they hold."""
