"""Where runs are trained. Every place calls the same worker, and the run folders say what is left to do."""
