"""How long a study takes and which lane trains which run, predicted before anything starts."""
