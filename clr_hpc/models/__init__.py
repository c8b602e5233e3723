"""The networks, and what each kind of task makes of them."""
