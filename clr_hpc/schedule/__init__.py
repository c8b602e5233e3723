"""How the rate moves: every policy as a pure function of progress, and as a torch scheduler for anybody's loop."""
