"""Commands that need no study yet: what is installed, whether it works, and something to begin with."""
